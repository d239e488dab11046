"""The verdict of a search: where to stand, and whether steering beats plain sampling for these data.

What the recommended point is worth is said by the test split alone: of what chose it, every number flatters.
"""

from collections.abc import Sequence

from steer.report.answers import joined
from steer.report.comparison.compared import Standing, head
from steer.report.comparison.verdict import Sentence
from steer.report.scores import text
from steer.report.tuning.files import Choice, Point, Row, Search, Tested, is_plain
from steer.report.tuning.words import by, called, capitalised, listed, plural, told, words

OTHERS = {"plain": "the best plain sampling", "default": "the run's own settings"}
PREDICATES: dict[Standing, str] = {
    "better": "is better in",
    "worse": "is worse in",
    "alike": "cannot be told apart from it in",
    "unknown": "was not compared with it in",
}


def verdict(found: Search) -> list[Sentence]:
    if not found.recommended.point:
        return [Sentence("No point is recommended."), *_against_front(found)]
    mine = [_recommended(found), *_missed(found), *_against(found, "plain"), *_against(found, "default")]
    return [*mine, *_against_front(found)]


def _recommended(found: Search) -> Sentence:
    one = found.recommended
    if is_plain(one.point):
        lead = f"The recommended point is plain sampling ({words(one.point)}), with steering switched off"
    elif one.point == found.default.point:
        lead = f"The recommended point is the run's own: {words(one.point)}"
    else:
        lead = f"The recommended point is {words(one.point)}"
    return Sentence(lead, _sentence(one.why))


def _missed(found: Search) -> list[Sentence]:
    """What it does not keep of what chose it."""
    test = found.recommended.test
    if not test:
        return [Sentence("On the test split it was not measured, so nothing is known of it that does not flatter it.")]
    missed = [goal for goal in found.constraints if goal.met(test) == "no"]
    numbers = [f"{head(goal.score)} {told(goal.score, test[goal.score])}" for goal in missed]
    said = f"On the test split it misses {joined([str(goal) for goal in missed])}"
    return [Sentence(said, _sentence(joined(numbers)))] if missed else []


def _sentence(numbers: str) -> str:
    return f"{numbers}." if numbers else ""


# -- against the two others, on the test split -----------------------------------------------------------------------


def other(found: Search, over: str) -> Choice | None:
    """What the recommended point is held against; None where that is itself, or there is none."""
    one = found.plain if over == "plain" else found.default
    return one if one.point and one.point != found.recommended.point else None


def _against(found: Search, over: str) -> list[Sentence]:
    mine, beside = found.recommended, other(found, over)
    if beside is None or not mine.test:
        return []
    who = f"{OTHERS[over]} ({words(beside.point)})"
    standings = {name: gain.standing for name in found.scores if (gain := found.gains.get((over, name)))}
    if all(standing == "unknown" for standing in standings.values()):
        return [Sentence(f"How it stands to {who} cannot be said: they were not both measured on the test split.")]
    said = [
        f"{predicate} {joined(names)}"
        for side, predicate in PREDICATES.items()
        if (names := [called(name) for name, standing in standings.items() if standing == side])
    ]
    numbers = [
        f"{head(name)} {text(name, mine.test[name].value)}, not {text(name, beside.test[name].value)}"
        for name, standing in standings.items()
        if standing in ("better", "worse") and name in mine.test and name in beside.test
    ]
    return [Sentence(f"On the test split, beside {who}, it {joined(said)}", _sentence(joined(numbers)))]


# -- all that was confirmed, against the front of plain sampling -------------------------------------------------------


def equal(found: Search) -> str:
    """What plain sampling is held at, so that it is no matter of a temperature: "at equal diversity"."""
    return f"at equal {called(found.objectives[0].score)}" if len(found.objectives) > 1 else ""


def _against_front(found: Search) -> list[Sentence]:
    """On fresh samples, p corrected for all points that were tested."""
    if found.tested is None or not found.objectives:
        return []
    known = [one for one in found.tested if one.gain.standing != "unknown"]
    return [_answer(found, _ask(found), known), *_outside(found)]


def _ask(found: Search) -> str:
    names = [called(goal.score) for goal in found.objectives]
    if len(names) == 1:
        return f"Is steering better than the best plain sampling in {names[0]}?"
    aside = f" ({joined(names[2:])} left aside)" if names[2:] else ""
    return f"{capitalised(equal(found))}, is steering better than plain sampling in {names[1]}{aside}?"


def _answer(found: Search, ask: str, known: Sequence[Tested]) -> Sentence:
    if not found.steered:
        return Sentence(f"{ask} It cannot be said: no STEER point did well enough in the search to be confirmed.")
    if not known:
        count = plural(len(found.steered), "confirmed STEER point")
        return Sentence(f"{ask} It cannot be said: none of {count} could be held against it.")
    better = [one for one in known if one.number in found.beyond]
    worse = [one for one in known if one.gain.standing == "worse"]
    of = f"{plural(len(known), 'point')} tested on fresh samples"
    if better:
        rest = f"; it is worse at {len(worse)}" * bool(worse)
        return Sentence(f"{ask} Yes, at {len(better)} of {of}{rest}", _sized(found, better))
    if len(worse) == len(known):
        return Sentence(f"{ask} No, it is worse{' at all' * (len(worse) > 1)} ({of})", _sized(found, worse))
    rest = f", at {len(worse)} of which it is worse" * bool(worse)
    return Sentence(f"{ask} It cannot be told apart from it ({of}{rest}).")


def _sized(found: Search, rows: Sequence[Tested]) -> str:
    """The largest differences first."""
    ordered = sorted(rows, key=lambda one: -abs(one.gain.value))
    said = [f"{words(point_of(found.steered, one.number))}: {by(one.score, one.gain)}" for one in ordered]
    return f"{listed(said)}."


def _outside(found: Search) -> list[Sentence]:
    if not found.outside:
        return []
    lies, them = ("lies", "it") if len(found.outside) == 1 else ("lie", "them")
    said = f"{plural(len(found.outside), 'STEER point')} {lies} outside what the front of plain sampling spans in "
    said += f"{called(found.objectives[0].score)}, so nothing stands beside {them} and nothing is claimed of {them}"
    return [Sentence(said, f"{listed([words(point_of(found.steered, number)) for number in found.outside])}.")]


def point_of(rows: Sequence[Row], number: int | None) -> Point:
    """{} where there is no such row."""
    return next((row.point for row in rows if row.number == number), {})


# -- what flatters ---------------------------------------------------------------------------------------------------


def looked(found: Search) -> str:
    """How often by searches: of other looks nothing is known."""
    return "once by this search" if found.looks == 1 else f"{found.looks} times by searches in this folder"


def cautions(found: Search) -> list[str]:
    """How often the test split was looked at, and what became of the numbers of the search."""
    said = []
    if found.looks:
        said.append(
            f"The test split was looked at {looked(found)}. The run's own report and “steer compare” look at the same "
            "split; with every look it says less."
        )
    mine = found.recommended
    stages = ((mine.search, "in the search"), (mine.validation, "on fresh samples"), (mine.test, "on the test split"))
    numbers = []
    for goal in found.objectives:
        name = goal.score
        values = [f"{text(name, scores[name].value)} {where}" for scores, where in stages if name in scores]
        numbers += [f"{head(name)} {', '.join(values)}"] if len(values) > 1 else []
    if numbers:
        said.append(f"Numbers of the search flatter what it chose: {'; '.join(numbers)}.")
    return said
