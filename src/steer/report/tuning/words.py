"""How dials, points and scores are called on the page of a search."""

from collections.abc import Iterable
from math import isnan

from steer.report.comparison.compared import head
from steer.report.comparison.verdict import QUESTIONS
from steer.report.drawing import short
from steer.report.readings import Reading
from steer.report.scores import text
from steer.report.tuning.files import ETA, GAMMA, OFF, TEMPERATURE, TOP_P, Gain, Point, is_plain

DIALS = {
    GAMMA: "γ",
    ETA: "η",
    "guidance.alpha": "α",
    TOP_P: "top-p",
    TEMPERATURE: "temperature",
    "negatives.count": "number of negatives",
    "negatives.real_share": "share of real negatives",
}
# Of STEER: D, B and N are the logits of the domain model, the base model and the domain model shown negatives.
FORMS = {
    "steer": ("balanced", "D + γ(D − B) + η(D − N)"),
    "steer_authors": ("as the authors ran it", "(1 + γ)D − γB − ηN"),
    "steer_printed": ("as it is printed", "(D − γB) + (N + η(D − N))"),
}


def dial(name: str) -> str:
    return DIALS.get(name) or name.rpartition(".")[2].replace("_", " ")


def form(name: str) -> str:
    return FORMS.get(name, (name, ""))[0]


def words(point: Point) -> str:
    """Of plain sampling without the dials of steering, which are off."""
    shown = {name: value for name, value in point.items() if not (is_plain(point) and name in OFF)}
    if is_plain(point):
        shown = {name: value for name, value in shown.items() if not name.startswith("negatives.")}
    return in_full(shown) or "no settings"


def in_full(point: Point) -> str:
    return ", ".join(f"{dial(name)} {short(value)}" for name, value in point.items())


def named(point: Point) -> str:
    """Where it stands among others."""
    return f"plain: {words(point)}" if is_plain(point) else words(point)


def overrides(point: Point) -> str:
    """As arguments of `steer run` and `steer generate`."""
    return " ".join(f"{name}={value:.9g}" for name, value in point.items())


def called(name: str) -> str:
    """What a score stands for, in a sentence."""
    return QUESTIONS.get(name) or head(name)


def told(name: str, reading: Reading) -> str:
    if not reading.known:
        return "none"
    return text(name, reading.value) + (f" ({ends(name, reading)})" if reading.interval else "")


def ends(name: str, reading: Reading) -> str:
    return f"{text(name, reading.low)} to {text(name, reading.high)}" if reading.interval else "no interval"


def p_value(p: float) -> str:
    return "no p" if isnan(p) else "p below .001" if p < 0.001 else f"p {p:.3f}".replace("0.", ".", 1)


def by(name: str, gain: Gain) -> str:
    """ "better by 0.030 (0.020 to 0.040), p .012"."""
    standing = gain.standing
    if standing == "unknown":
        return "it cannot be said"
    sign = -1 if standing == "worse" else 1
    value, one, two = (sign * x for x in (gain.value, gain.low, gain.high))
    size = told(name, Reading(value, min(one, two), max(one, two)))
    return f"{'cannot be told apart,' if standing == 'alike' else f'{standing} by'} {size}, {p_value(gain.adjusted)}"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def listed(words: Iterable[str], most: int = 3) -> str:
    """The first of them, and how many more there are."""
    every = list(words)
    rest = len(every) - most
    return "; ".join(every[:most]) + (f"; and {rest} more" if rest > 0 else "")
