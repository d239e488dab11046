"""The verdict of a search: where to stand, and whether steering beats plain sampling for these data.

What the recommended point is worth is said by the test split alone: of what chose it, every number flatters.
"""

from collections.abc import Sequence

from steer.report.answers import joined
from steer.report.comparison.compared import Standing, head
from steer.report.comparison.verdict import Sentence
from steer.report.scores import text
from steer.report.tuning.files import Choice, Domination, Point, Row, Search, is_plain
from steer.report.tuning.words import called, listed, p_value, plural, told, words

OTHERS = {"plain": "the best plain sampling", "default": "the run's own settings"}
PREDICATES: dict[Standing, str] = {
    "better": "is better in",
    "worse": "is worse in",
    "alike": "cannot be told apart from it in",
    "unknown": "was not compared with it in",
}
ANY = "Is there a STEER point that no plain sampling dominates?"
SURELY = "Is any surely better in all objectives at once?"


def verdict(found: Search) -> list[Sentence]:
    if not found.recommended.point:
        return [Sentence("No point is recommended."), *_undominated(found)]
    mine = [_recommended(found), *_missed(found), *_against(found, "plain"), *_against(found, "default")]
    return [*mine, *_undominated(found), *_dominations(found)]


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
    by = {name: gain.standing for name in found.scores if (gain := found.gains.get((over, name)))}
    if all(standing == "unknown" for standing in by.values()):
        return [Sentence(f"How it stands to {who} cannot be said: they were not both measured on the test split.")]
    said = [
        f"{predicate} {joined(names)}"
        for side, predicate in PREDICATES.items()
        if (names := [called(name) for name, standing in by.items() if standing == side])
    ]
    numbers = [
        f"{head(name)} {text(name, mine.test[name].value)}, not {text(name, beside.test[name].value)}"
        for name, standing in by.items()
        if standing in ("better", "worse") and name in mine.test and name in beside.test
    ]
    return [Sentence(f"On the test split, beside {who}, it {joined(said)}", _sentence(joined(numbers)))]


# -- all that was confirmed, against all plain sampling --------------------------------------------------------------


def _undominated(found: Search) -> list[Sentence]:
    """By value, on fresh samples."""
    if found.undominated is None:
        return []
    count, plain = plural(len(found.steered), "confirmed STEER point"), plural(len(found.rivals), "plain setting")
    if not found.steered:
        return [Sentence(f"{ANY} None did well enough in the search to be confirmed.")]
    if not found.undominated:
        return [Sentence(f"{ANY} No: on fresh samples none of {count} is on the front beside {plain}.")]
    points = [words(point_of(found.confirmed, number)) for number in found.undominated]
    are = "is" if len(points) == 1 else "are"
    said = f"{ANY} Yes, by value: on fresh samples, {len(points)} of {count} {are} on the front beside {plain}"
    return [Sentence(said, f"{listed(points)}.")]


def _dominations(found: Search) -> list[Sentence]:
    """Beyond chance, over all pairs of a steered point and a plain one."""
    if found.undominated is None or not found.steered:
        return []
    pairs = f"p corrected for {plural(found.pairs, 'pair')} of a STEER point and a plain one"
    beaten = {one.rival for one in found.dominations}
    if not beaten:
        return [Sentence(f"{SURELY} No ({pairs}).")]
    rest = len(found.rivals) - len(beaten)
    others = "" if not rest else "; than the other one, no" if rest == 1 else f"; than the other {rest}, no"
    said = f"{SURELY} Than {len(beaten)} of {plural(len(found.rivals), 'plain setting')}, yes{others} ({pairs})"
    return [Sentence(said, f"{listed(_beating(found), 2)}.")]


def _beating(found: Search) -> list[str]:
    """The steered points that beat plain ones, those that beat most first; p is the largest of their pairs."""
    by: dict[int, list[Domination]] = {}
    for one in found.dominations:
        by.setdefault(one.number, []).append(one)
    return [
        f"{words(point_of(found.confirmed, number))} is better than "
        + (words(point_of(found.rivals, of[0].rival)) if len(of) == 1 else f"{len(of)} of them")
        + f" ({p_value(max(one.p for one in of))})"
        for number, of in sorted(by.items(), key=lambda pair: -len(pair[1]))
    ]


def point_of(rows: Sequence[Row], number: int | None) -> Point:
    """{} where there is no such row."""
    return next((row.point for row in rows if row.number == number), {})


# -- what flatters ---------------------------------------------------------------------------------------------------


def cautions(found: Search) -> list[str]:
    """How often the test split was looked at, and what became of the numbers of the search."""
    said = []
    if found.looks:
        often = "once, for this" if found.looks == 1 else f"{found.looks} times from this folder, this one included"
        said.append(f"The test split was looked at {often}; with every look it says less.")
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
