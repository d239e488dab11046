"""The pictures of a study: win rates beside each other, over γ and η, and strengths of many sets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from steer.report.comparison.pictures import slug
from steer.report.drawing import Figure, short
from steer.report.heat import Cell, heat_map
from steer.report.pictures import Picture
from steer.report.study.curves import Panel, Rate, over_dial
from steer.report.study.forest import Block, Line, Sides, forest
from steer.report.study.rows import Row
from steer.report.study.voted import Group, Ranking, Voted
from steer.report.study.words import asks, called, level, logits, marked, name, over, told
from steer.report.tradeoffs import Place, Score
from steer.report.tuning.panels import panels

LINES = 30  # of a figure
SIDE, SHORT = 40, 20  # characters of a set's name beside a figure, and of a group's in its legend

Dials = Mapping[tuple[float | None, float | None], str]


@dataclass(frozen=True)
class Shown:
    """first: one of those to see first; the others are folded away."""

    picture: Picture
    first: bool = True


def places(found: Voted) -> dict[str, int]:
    """What decides the looks of each group, in all figures."""
    return {group.name: i for i, group in enumerate(found.ordered)}


def _named(names: Iterable[str]) -> dict[str, str]:
    """Of each a part of a file's name, no two alike."""
    made: dict[str, str] = {}
    for one in names:
        plain = slug(one)[:40] or "group"
        taken = made.values()
        made[one] = plain if plain not in taken else f"{plain}-{len(made) + 1}"
    return made


# -- win rates -------------------------------------------------------------------------------------------------------


def win_rates(found: Voted) -> list[Shown]:
    """One figure where there is room for all rates; else one for each question, or for each question and group."""
    groups, questions = found.ordered, [question.name for question in found.questions]
    rows = [row for row in found.rows if row.question in questions]
    if not any(row.rate.known for row in rows):
        return []
    if len(found.comparisons) == 1 or len(rows) <= LINES:
        title = over(found.comparisons[0]) if len(found.comparisons) == 1 else "All comparisons"
        blocks = [block for one in questions for block in _blocks(found, one, groups, len(questions) > 1)]
        return [Shown(Picture("winrates", _forest(found, title, blocks, groups)))]
    made = []
    files, parts = _named(questions), _named([group.name for group in groups])
    for one in questions:
        whole = sum(row.question == one for row in rows) <= LINES
        for some in [groups] if whole else [[group] for group in groups]:
            title = f"{asks(found, one)} Win rates" + ("" if whole else f" by {called(found, some[0])}")
            blocks = _blocks(found, one, some, False)
            picture = f"winrates-{files[one]}" + ("" if whole else f"-{parts[some[0].name]}")
            made.append(Shown(Picture(picture, _forest(found, title, blocks, some)), whole or some[0] is found.lead))
    return made


def _blocks(found: Voted, question: str, groups: Sequence[Group], headed: bool) -> list[Block]:
    """Of one comparison the groups; of several with one group the comparisons; else groups below each comparison."""
    rows = [row for group in groups for row in found.of(question, group.name)]
    heading = asks(found, question) if headed else ""
    if len(found.comparisons) == 1:
        return [Block(asks(found, question), [_line(found, row, called(found, row.group)) for row in rows])]
    if len(groups) == 1:
        lines = [_line(found, row, name(row.a, SIDE) if found.rival else over(row.sets)) for row in rows]
        return [Block(heading, lines)]
    of = {sets: [row for row in rows if row.sets == sets] for sets in found.comparisons}
    return [
        Block(
            f"{heading} {name(sets[0]) if found.rival else over(sets)}".strip(),
            [_line(found, row, called(found, row.group)) for row in some],
        )
        for sets, some in of.items()
        if some
    ]


def _line(found: Voted, row: Row, label: str) -> Line:
    words = f"{told(row.rate)} {marked(row)}".rstrip() if row.rate.known else "no votes"
    thin = (row.naive.low, row.naive.high)
    return Line(label, places(found).get(row.group, 0), row.rate.value, row.rate.low, row.rate.high, words, thin)


def _forest(found: Voted, title: str, blocks: Sequence[Block], groups: Sequence[Group]) -> Figure:
    caption = (
        f"{_what(found)}, a tie counting half; below 50% it is preferred less. Thick: the {level(found)} interval for "
        "other annotators and other pairs, as far as there are several. Thin: what it would be if every vote were "
        "independent, which votes of one person are not. Stars as in the paper: preferred, with an adjusted p below "
        ".05 (*), .01 (**), .001 (***). ▼: preferred less, p below .05 by the same test the other way round."
    )
    names = [(called(found, group, SHORT), places(found)[group.name]) for group in groups]
    thin = "as if all votes were independent"
    return forest(title, blocks, _sides(found), names, thin, caption)


def _what(found: Voted) -> str:
    a, b = found.comparisons[0]
    if len(found.comparisons) == 1:
        return f"How often {name(a)} is preferred to {name(b)}"
    return f"How often each set is preferred to {name(b)}" if found.rival else "How often the first is preferred"


def _sides(found: Voted) -> Sides:
    sets = found.comparisons[0]
    left = name(sets[1]) if found.rival or len(found.comparisons) == 1 else "the second"
    right = name(sets[0]) if len(found.comparisons) == 1 else "the set" if found.rival else "the first"
    return Sides(0.5, f"{left} preferred", f"{right} preferred", lambda value: f"{100 * value:.0f}%")


# -- over the dials --------------------------------------------------------------------------------------------------


def dials(found: Voted) -> Dials:
    """(γ, η) -> set, of what is held against one rival; empty where the dials do not tell the sets apart."""
    if not found.comparisons or (len(found.comparisons) > 1 and not found.rival):
        return {}
    first = [a for a, _ in found.comparisons]
    sets = [one for one in found.sets if one.name in first and (one.gamma is not None or one.eta is not None)]
    made = {(one.gamma, one.eta): one.name for one in sets}
    return made if len(made) == len(sets) else {}


def dial_pictures(found: Voted) -> list[Shown]:
    """Figures 2 and 6 of the paper: over γ at each η, over η at each γ, and over both."""
    of = dials(found)
    files = _named([question.name for question in found.questions])
    made = []
    for question in found.questions:
        for i, (dial, other) in enumerate((("γ", "η"), ("η", "γ"))):
            curves = _over(of, i, other)
            if curves:
                file = f"{('gamma', 'eta')[i]}-{files[question.name]}"
                made.append(Shown(Picture(file, _dial(found, question.name, dial, curves))))
        if grid := _grid(found, question.name, of):
            made.append(Shown(Picture(f"heat-{files[question.name]}", grid)))
    return made


def _over(of: Dials, i: int, other: str) -> dict[str, list[tuple[float, str]]]:
    """Curves over the i-th dial of two values or more: the other dial's value -> (value, set)."""
    made: dict[float | None, list[tuple[float, str]]] = {}
    for at, one in of.items():
        if (x := at[i]) is not None:
            made.setdefault(at[1 - i], []).append((x, one))
    ordered = sorted(made, key=lambda value: (value is None, value or 0.0))
    return {
        f"{other} {'as it was' if value is None else short(value)}": sorted(made[value])
        for value in ordered
        if len(made[value]) > 1
    }


def _dial(found: Voted, question: str, dial: str, curves: Mapping[str, Sequence[tuple[float, str]]]) -> Figure:
    rival = found.comparisons[0][1]
    by_group: dict[str, Panel] = {}
    for group in found.ordered:
        rows = {row.a: row for row in found.of(question, group.name)}
        panel = {of: [_rate(x, rows.get(one)) for x, one in points] for of, points in curves.items()}
        if any(rate.y == rate.y for points in panel.values() for rate in points):
            by_group[called(found, group)] = panel
    caption = (
        f"The share of votes for STEER's texts over those of {name(rival)}, a tie counting half, with {level(found)} "
        "intervals for other annotators and other pairs; at the dashed line there is no preference. Stars: preferred, "
        "with a p below .05, .01 and .001, adjusted over all sets of the panel."
    )
    title = f"{asks(found, question)} Over {dial}"
    return over_dial(title, dial, by_group, caption, f"Win rate over {name(rival)}")


def _rate(x: float, row: Row | None) -> Rate:
    if row is None:
        return Rate(x, float("nan"))
    words = f"{name(row.a)}: {told(row.rate)} {marked(row)}".rstrip()
    return Rate(x, row.rate.value, row.rate.low, row.rate.high, row.stars, words)


def _grid(found: Voted, question: str, of: Dials) -> Figure | None:
    """A map of win rates, where more than three quarters of its cells are known: a cross of two dials is no map."""
    at = {(x, y): one for (x, y), one in of.items() if x is not None and y is not None}
    xs, ys = ({place[i] for place in at} for i in (0, 1))
    if min(len(xs), len(ys)) < 2 or 4 * len(at) <= 3 * len(xs) * len(ys):
        return None
    grids: dict[str, dict[Place, Cell]] = {}
    for group in found.ordered:
        rows = {row.a: row.rate for row in found.of(question, group.name) if row.rate.known}
        cells = {
            place: Cell(rows[one].value, rows[one].low, rows[one].high) for place, one in at.items() if one in rows
        }
        if cells:
            grids[called(found, group)] = cells
    if not grids:
        return None
    title = f"{asks(found, question)} Win rates over γ and η"
    score = Score(f"win rate over {name(found.comparisons[0][1])}")
    if len(grids) > 1:
        made = panels(title, "γ", "η", grids, score)
    else:
        made = heat_map(title, "γ", "η", next(iter(grids.values())), score)
    return replace(made, caption=made.caption.replace("95%", level(found)) + " At 0.50 there is no preference.")


# -- strengths -------------------------------------------------------------------------------------------------------


def strengths(found: Voted) -> list[Shown]:
    """Of each question the sets by strength; of those who are spoken of first, the others folded away."""
    files, parts = _named([one.name for one in found.questions]), _named([one.name for one in found.groups])
    made = []
    for question in found.questions:
        for group in found.ordered:
            one = ranking(found, question.name, group.name)
            if one and one.sets:
                file = f"strengths-{files[question.name]}-{parts[group.name]}"
                made.append(Shown(Picture(file, _strengths(found, one)), group is found.lead))
    return made


def ranking(found: Voted, question: str, group: str) -> Ranking | None:
    return next((one for one in found.rankings if (one.question, one.group) == (question, group)), None)


def _strengths(found: Voted, one: Ranking) -> Figure:
    place = places(found).get(one.group, 0)
    lines = []
    for ranked in one.sets:
        of = ranked.strength
        words = logits(of.value) + (f" ({logits(of.low)} to {logits(of.high)})" if of.ends else "")
        lines.append(Line(f"{ranked.rank}. {name(ranked.set, SIDE)}", place, of.value, of.low, of.high, words))
    caption = (
        f"Bradley-Terry strengths in logits, with {level(found)} intervals for other annotators and other pairs; the "
        "mean of all sets is 0. A set one logit above another is preferred to it in 73% of votes, two in 88%."
    )
    sides = Sides(0.0, "weaker than the mean", "stronger than the mean")
    title = f"{asks(found, one.question)} Strengths by {called(found, one.group)}"
    return forest(title, [Block("", lines)], sides, [(called(found, one.group, SHORT), place)], "", caption)


def every(found: Voted) -> list[Shown]:
    return [*win_rates(found), *dial_pictures(found), *strengths(found)]
