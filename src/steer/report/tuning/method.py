"""How the numbers of a search came about, and what they do not show."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from steer.report.answers import joined
from steer.report.comparison.compared import head
from steer.report.drawing import short
from steer.report.settings import duration
from steer.report.tuning.files import Search, Tuned
from steer.report.tuning.verdict import equal, looked
from steer.report.tuning.words import dial, plural

Plan = Mapping[str, Any]


@dataclass(frozen=True)
class DialRow:
    """A dial: its key in the settings, its range in steps, and where the run itself stands."""

    name: str
    called: str
    low: str
    high: str
    step: str
    own: str


def dial_rows(found: Search) -> list[DialRow]:
    own = found.default.point or found.plan.get("defaults") or {}
    return [
        DialRow(name, dial(name), _short(of, "low"), _short(of, "high"), _short(of, "step"), _short(own, name))
        for name, of in found.dials.items()
    ]


def _short(of: Mapping[str, Any], key: str) -> str:
    return "" if of.get(key) is None else short(float(of[key]))


def method(tuned: Tuned) -> dict[str, str]:
    """Term -> words, without what does not apply."""
    found = tuned.search
    made = {"wanted": found.want, **_searched(found), **_concluded(found)} if found else {}
    sizes = {
        "forms of STEER": [grid.samples for grid in tuned.forms.values()],
        "one dial at a time": [grid.samples for grid in tuned.sweeps.values()],
        "your grid": [tuned.grid.samples] if tuned.grid else [],
    }
    texts = {name: f"{plural(of[0], 'text')} a point, on validation" for name, of in sizes.items() if of and of[0]}
    return {term: words for term, words in {**made, **texts}.items() if words}


def _searched(found: Search) -> dict[str, str]:
    plan, states = found.plan, [trial.state for trial in found.trials]
    ended = [f"{states.count(state):,} {state}" for state in ("complete", "stopped", "failed") if state in states]
    samples, budget = plan.get("samples"), plan.get("budget")
    return {
        "points": f"{len(states):,} ({joined(ended)})" if states else "",
        "texts a point": f"{samples:,}, measured against the validation split" if samples else "",
        "stopped early": _stopped(plan, states.count("stopped"), len(states)),
        "where it looked": _where(plan),
        "seed": _seed(plan),
        "time limit": _limit(budget),
    }


def _limit(budget: float | None) -> str:
    after = "no point of the search was begun later; confirming, plain sampling and the test come after it"
    return f"{duration(budget)}; {after}" if budget else ""


def _stopped(plan: Plan, stopped: int, of: int) -> str:
    if not plan.get("first") or not of:
        return ""
    return (
        f"{stopped:,} of {of:,}: those which by their first {plan['first']:,} texts were surely worse, in all "
        "objectives, than another point that meets the constraints"
    )


def _where(plan: Plan) -> str:
    spread = plan.get("spread")
    filling = f", {spread} points that fill the ranges evenly" if spread else ""
    first = f"plain nucleus sampling, the run's own settings{filling}"
    return f"{first}, and then where a tree-structured Parzen estimator expected most" if plan else ""


def _seed(plan: Plan) -> str:
    derived = "the same draws for every point; fresh samples and the test split have seeds derived from it"
    return "" if plan.get("seed") is None else f"{plan['seed']}, {derived}"


def _concluded(found: Search) -> dict[str, str]:
    temperatures, top_ps = (joined([short(x) for x in found.plan.get(key) or []]) for key in ("temperatures", "top_ps"))
    confirmed = f"the {len(found.confirmed)} on the front in most resamples, again, on fresh samples of validation"
    three = "the recommended point, the run's own settings and the best plain sampling"
    return {
        "confirmed": confirmed if found.confirmed else "",
        "plain sampling": f"temperature {temperatures}, top-p {top_ps}, on the same fresh samples" if top_ps else "",
        "on the test split": f"{three}; looked at {looked(found)}" if found.looks else "",
        equal(found): _interpolated(found),
        "beyond chance": "paired resamples of the texts; p below .05 after Holm's correction, for all gains on the "
        "test split together, and for all STEER points tested against plain sampling together",
        "on the front": "as a share: of resamples in which no other of these points is ahead",
        "time": "" if isnan(found.seconds) else f"{duration(found.seconds)} of drawing and measuring",
    }


def _interpolated(found: Search) -> str:
    if not found.tested or len(found.objectives) < 2:
        return ""
    first, second, *rest = (head(goal.score) for goal in found.objectives)
    others = f"; {joined(rest)} left aside" if rest else ""
    return (
        f"a confirmed STEER point's {second} beside what plain sampling would have at the same {first}, on a straight "
        f"line between two neighbours on its own front, on the same fresh samples{others}"
    )


def limits(tuned: Tuned) -> list[str]:
    said = []
    if found := tuned.search:
        samples = found.plan.get("samples")
        said += [
            "Every number of the search flatters the points that it chose. Fresh samples chose the recommended one and "
            "flatter it a little; only the test split does not, as long as it is seldom looked at.",
            "“Cannot be told apart” does not mean “the same”"
            + (f": it is said of {samples:,} texts a point." if samples else "."),
            "Plain sampling was tried at the settings listed here, and at no others; between them it is interpolated.",
        ]
    if tuned.forms or tuned.sweeps or tuned.grid:
        said.append(
            "Grids have few texts a point, and nothing is corrected for their many cells: they show directions, and "
            "choose nothing."
        )
    return [
        *said,
        "One fine-tuning, one seed: no interval covers another model or another fine-tuning.",
        "Diversity is most easily had by gibberish, and fidelity by copies: read one beside the other, and the texts.",
    ]
