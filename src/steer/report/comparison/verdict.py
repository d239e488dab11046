"""The verdict of a comparison: is the run's own decoder better than plain sampling, and what ranks best?

Only differences beyond chance count: from plain nucleus sampling and from plain sampling at the same entropy a p below
.05, corrected over all decoders, score by score; from any other decoder, intervals that do not overlap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan

from steer.report.answers import Answer, joined, range_of
from steer.report.comparison.compared import NUCLEUS, Compared, Rival, Row, Scored, Standing, head
from steer.report.comparison.tables import TABLE1, counted, mean_rank
from steer.report.kinds import kind
from steer.report.readings import against_real, percent, two

QUESTIONS = {
    "ngram_diversity": "diversity",
    "adversarial_auroc": "fidelity",
    "coverage": "coverage",
    "calibrated_authenticity": "authenticity",
    "downstream_accuracy": "usefulness",
}
ALWAYS = 4  # of them are asked even where nothing was measured
DIVERSITY, FIDELITY = "ngram_diversity", "adversarial_auroc"
CURVE = "plain sampling at the same entropy"
RIVALS: tuple[Rival, ...] = ("nucleus", "curve")


@dataclass(frozen=True)
class Sentence:
    """What can be said, and the numbers that it rests on."""

    words: str
    numbers: str = ""


def asked(found: Compared) -> list[str]:
    """The scores that stand for the questions."""
    return [name for i, name in enumerate(QUESTIONS) if i < ALWAYS or found.known([name])]


def verdict(found: Compared) -> list[Sentence]:
    return [*_against_both(found), _dominated(found), _best_ranked(found), *_front(found), *_flattered(found)]


def _against_both(found: Compared) -> list[Sentence]:
    """The run's own decoder against plain nucleus sampling, and against plain sampling at its entropy."""
    names, own = asked(found), found.own
    by_nucleus, by_curve = ({name: found.standing(own, name, rival) for name in names} for rival in RIVALS)
    first = _against(found, "nucleus", by_nucleus)
    if all(own.score(name).from_curve is None for name in names):
        return [first, Sentence(f"At the same entropy the two cannot be compared: {_beyond(found, own)}.")]
    if by_nucleus == by_curve:
        numbers = _numbers(found, own, "curve", by_curve)
        return [first, Sentence("The same holds against plain sampling at the same entropy", numbers)]
    return [first, _against(found, "curve", by_curve)]


def _against(found: Compared, rival: Rival, standings: Mapping[str, Standing]) -> Sentence:
    own, other = found.own, NUCLEUS if rival == "nucleus" else CURVE
    by = {side: [QUESTIONS[name] for name, one in standings.items() if one == side] for side in standings.values()}
    good, bad = predicates(by.get("better", []), "more", "better"), predicates(by.get("worse", []), "less", "worse")
    alike, unknown = joined(by.get("alike", [])), joined(by.get("unknown", []))
    if good or bad:
        words = f"Against {other}, {own.label} is {', but '.join(filter(None, [good, bad]))}"
        words += f"; in {alike} the two cannot be told apart" if alike else ""
    elif alike:
        words = f"In {alike}, {own.label} cannot be told apart from {other}"
    else:
        return Sentence(f"How {own.label} stands to {other} cannot be said: nothing was measured of both.")
    words += f"; about {unknown} nothing can be said" if unknown else ""
    return Sentence(words, _numbers(found, own, rival, standings))


def _numbers(found: Compared, own: Row, rival: Rival, standings: Mapping[str, Standing]) -> str:
    """Of what differs; the rest stands on the cards."""
    differs = [name for name, one in standings.items() if one in ("better", "worse")]
    numbers = [f"{head(name)} {two(own.score(name).value)}, not {two(_other(own, name, rival))}" for name in differs]
    return f"{joined(numbers)}." if numbers else ""


def predicates(questions: Sequence[str], more: str, better: str) -> str:
    """To be more varied is no merit by itself, and is called what it is."""
    rest = [one for one in questions if one != QUESTIONS[DIVERSITY]]
    said = [f"{more} varied"] * (len(rest) < len(questions)) + [f"{better} in {joined(rest)}"] * bool(rest)
    return joined(said)


def _other(row: Row, name: str, rival: Rival) -> float:
    apart = row.score(name).from_nucleus if rival == "nucleus" else row.score(name).from_curve
    return row.score(name).value - apart.value if apart else nan


def _beyond(found: Compared, row: Row) -> str:
    """Why there is no plain sampling at the entropy of a decoder."""
    reached = sorted(one.entropy for one in rivals(found) if not isnan(one.entropy))
    if isnan(row.entropy) or len(reached) < 2:
        return "plain sampling was not drawn at two temperatures or more"
    if reached[0] <= row.entropy <= reached[-1]:
        return "it was not measured"
    between = f"{two(reached[0])} and {two(reached[-1])}"
    return f"it draws at {two(row.entropy)} nats, and plain sampling was drawn between {between}"


def rivals(found: Compared) -> list[Row]:
    """Plain nucleus sampling at one temperature after the other, the coldest first."""
    rows = [row for row in found.compared if row.family == "temperature" or row is found.rival(found.own)]
    return sorted(rows, key=lambda row: row.temperature)


def _dominated(found: Compared) -> Sentence:
    """By any plain sampling, in both scores of the trade-off."""
    own = found.own
    if not (own.score(DIVERSITY).known and own.score(FIDELITY).known):
        return Sentence(
            "Whether some plain sampling is both more varied and harder to tell from real texts is not known."
        )
    plain = [row for row in found.compared if row.plain and row is not own]
    by_value = [row for row in plain if all(_ahead(found, row, own, name) for name in (DIVERSITY, FIDELITY))]
    surely = [row for row in by_value if all(_clear(found, row, own, name) for name in (DIVERSITY, FIDELITY))]
    ahead = f"both more varied and harder to tell from real texts than {own.label}"
    if not by_value:
        return Sentence(f"No plain sampling that was measured is {ahead}.")
    chance = "beyond chance" if surely else "though not beyond chance"
    if any(row is not found.rival(own) for row in by_value):
        chance += f" (other than {NUCLEUS}, by intervals that do not overlap only)"
    numbers = [f"{row.label} ({_both(row)})" for row in surely or by_value]
    return Sentence(
        f"Some plain sampling is {ahead}, {chance}",
        f"{joined(numbers)}; its own {_both(own)}.",
    )


def _both(row: Row) -> str:
    return f"diversity {two(row.score(DIVERSITY).value)}, AUROC {two(row.score(FIDELITY).value)}"


def _ahead(found: Compared, row: Row, other: Row, name: str) -> bool:
    mine, theirs = (counted(name, one.score(name).value) for one in (row, other))
    return mine > theirs if found.about[name].higher else mine < theirs


def _clear(found: Compared, row: Row, own: Row, name: str) -> bool:
    """Whether the row is ahead beyond chance: by the test against nucleus sampling, or by intervals that lie apart."""
    if row is found.rival(own):
        return found.standing(own, name, "nucleus") == "worse"
    return _ahead(found, row, own, name) and apart(row.score(name), own.score(name))


def apart(one: Scored, other: Scored) -> bool:
    """Whether the intervals do not overlap: more than it takes to differ beyond chance."""
    return one.interval and other.interval and (one.low > other.high or one.high < other.low)


def _best_ranked(found: Compared) -> Sentence:
    names, own = found.known(TABLE1), found.own
    ranked = [(row, *mean_rank(row, names)) for row in found.compared]
    means = sorted((one for one in ranked if not isnan(one[1])), key=lambda one: one[1])
    if not means:
        return Sentence("Which decoder ranks best cannot be said: no scores of Table 1 are known of any.")
    best, value, low, high = means[0]
    others = [row.label for row, _, least, _ in means[1:] if not least > high]
    words = f"Over the {len(names)} scores of Table 1, {best.label} ranks best on average, "
    words += f"and cannot be told apart from {_few(others, len(means) - 1)}" if others else "ahead of all others"
    numbers = [f"mean rank {value:.1f} of {len(means)}{_range(low, high)}"]
    numbers += [f"{own.label} {mean:.1f}{_range(*ends)}" for row, mean, *ends in means[1:] if row is own]
    return Sentence(words, f"{joined(numbers)}.")


def _range(low: float, high: float) -> str:
    return "" if isnan(low) or isnan(high) else f" ({low:.1f} to {high:.1f})"


def _few(labels: Sequence[str], of: int) -> str:
    return joined(labels) if len(labels) <= 3 else f"{len(labels)} of the {of} others"


def _front(found: Compared) -> list[Sentence]:
    """Where to stand."""
    rows = front(found, DIVERSITY, FIDELITY)
    if len(rows) < 2:
        return []
    names = joined([f"{row.label} ({_both(row)})" for row in rows])
    words = "Where to stand: by its values nothing is ahead of these in both, from the most varied to the most faithful"
    return [Sentence(words, f"{names}.")]


def _flattered(found: Compared) -> list[Sentence]:
    """Of many decoders the best owe something to luck."""
    if len(found.compared) < 3 or not found.known([*TABLE1, FIDELITY]):
        return []
    return [
        Sentence(
            f"Which of {len(found.compared)} decoders ranks best, and where to stand, is chosen on the very texts that "
            "it is measured on, and that flatters it; “steer tune” chooses on other texts than it tests on."
        )
    ]


def front(found: Compared, x: str, y: str) -> list[Row]:
    """The decoders than which none has a better value in both scores, the best in x first."""
    rows = [row for row in found.compared if row.score(x).known and row.score(y).known]

    def good(row: Row, name: str) -> float:
        value = counted(name, row.score(name).value)
        return value if found.about[name].higher else -value

    points = {row.name: (good(row, x), good(row, y)) for row in rows}
    kept = [
        row
        for row in rows
        if not any(
            a >= points[row.name][0] and b >= points[row.name][1] and (a, b) != points[row.name]
            for a, b in points.values()
        )
    ]
    return sorted(kept, key=lambda row: -points[row.name][0])


# -- a card for each question ----------------------------------------------------------------------------------------

REPLIES = {"better": "Better", "worse": "Worse", "alike": "Cannot be told apart", "unknown": "It cannot be said"}
UNITS = {
    "ngram_diversity": "n-gram diversity, from 0 to 1: how few sequences of words come again",
    "adversarial_auroc": "AUROC: how often a classifier picks the synthetic text of a pair; a coin gets 0.5",
    "coverage": "of the real texts have a synthetic one nearby",
    "calibrated_authenticity": "of the texts keep the distance from training texts which 95% of other real texts keep",
    "downstream_accuracy": "of real texts are classed rightly by a model that learnt from these alone",
}


def cards(found: Compared) -> list[Answer]:
    return [_card(found, name) for name in asked(found)]


def _card(found: Compared, name: str) -> Answer:
    own, mine = found.own, found.own.score(name)
    question = QUESTIONS[name].capitalize()
    if not mine.known:
        return Answer(question, "", REPLIES["unknown"], "none", mine.reason or "not measured", [], [])
    standing = found.standing(own, name, "nucleus")
    form = two if name in (DIVERSITY, FIDELITY) else percent
    real = found.about[name].ceiling
    reading, beside = mine.reading(real), found.rival(own)
    rows = [("95% interval", range_of(reading, form))]
    if beside is not None and beside is not own:
        theirs = beside.score(name).reading(real)
        rows.append(
            ("nucleus sampling", f"{form(theirs.value)} ({range_of(theirs, form)})" if theirs.known else "none")
        )
    rows += [("same entropy", form(_other(own, name, "curve")))] if mine.from_curve else []
    rows += [] if isnan(real) else [("real texts instead", form(real))]
    return Answer(
        question, "", _reply(name, standing), form(mine.value), UNITS[name], rows, _details(found, name, form)
    )


def _reply(name: str, standing: str) -> str:
    if kind(name).best == "varied" and standing in ("better", "worse"):
        return "More varied" if standing == "better" else "Less varied"
    return REPLIES[standing]


def _details(found: Compared, name: str, form: Callable[[float], str]) -> list[str]:
    own = found.own
    mine = own.score(name)
    said = []
    if mine.from_curve:
        standing = _reply(name, found.standing(own, name, "curve"))
        said.append(f"Against {CURVE}: {standing[0].lower()}{standing[1:]}.")
    beyond = against_real(mine.reading(found.about[name].ceiling))
    if name == DIVERSITY and beyond == "above":
        said.append("More varied than real texts, which can be a sign of noise.")
    if name == DIVERSITY and beyond == "below":
        said.append("Less varied than real texts.")
    if name == FIDELITY and own.score("mauve").known:
        standing = _reply("mauve", found.standing(own, "mauve", "nucleus"))
        said.append(f"By MAUVE: {standing[0].lower()}{standing[1:]} ({two(own.score('mauve').value)}).")
    if name == "calibrated_authenticity" and not isnan(own.copies):
        copies = (
            f"{percent(own.copies)} of its texts are near copies" if own.copies else "None of its texts is a near copy"
        )
        said.append(f"{copies} of a real one.")
    return said
