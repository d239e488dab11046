"""Figure 5 of the STEER paper for this search: one score that decides against another, and who reaches furthest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from steer.report.answers import joined
from steer.report.comparison.compared import head
from steer.report.comparison.pictures import slug
from steer.report.drawing import Figure, short
from steer.report.pictures import Picture
from steer.report.tradeoffs import Score, Spot, tradeoff
from steer.report.tuning.files import TEMPERATURE, TOP_P, Goal, Point, Row, Search, is_plain
from steer.report.tuning.texts import SEARCH, Links
from steer.report.tuning.trends import clipped
from steer.report.tuning.verdict import point_of
from steer.report.tuning.words import plural, words

CONFIRMED, SEARCHED, FOUND = "STEER, confirmed", "STEER, in the search", "plain sampling, found by the search"


def tradeoffs(found: Search, links: Links) -> list[Picture]:
    """Of each pair of objectives; of one objective beside each constraint."""
    pairs = list(combinations(found.objectives, 2)) or [
        (limit, goal) for goal in found.objectives for limit in found.constraints if limit.score != goal.score
    ]
    named = {slug(f"tradeoff-{x.score}-{y.score}") if len(pairs) > 1 else "tradeoff": (x, y) for x, y in pairs}
    return [Picture(name, _figure(found, links, x, y)) for name, (x, y) in named.items()]


def named_points(found: Search) -> dict[str, Point]:
    """What has a name in pictures and tables, without what is not there."""
    made = {
        "recommended": found.recommended.point,
        "knee": point_of(found.confirmed, found.knee),
        "own settings": found.default.point,
        "best plain": found.plain.point,
    }
    return {name: point for name, point in made.items() if point}


def roles(found: Search, point: Point) -> str:
    return ", ".join(name for name, one in named_points(found).items() if one == point)


def found_plain(found: Search) -> list[Row]:
    """Plain sampling that was confirmed, and is none of the rivals."""
    rivals = [row.point for row in found.rivals]
    return [row for row in found.confirmed if is_plain(row.point) and row.point not in rivals]


def _figure(found: Search, links: Links, x: Goal, y: Goal) -> Figure:
    def spots(rows: Sequence[Row]) -> list[Spot]:
        return [_spot(row, x.score, y.score, links) for row in rows if row.state == "complete"]

    plain, fresh = _curves(found.rivals), [*found.confirmed, *found.rivals]
    sets = {
        CONFIRMED: found.steered,
        SEARCHED: [row for row in found.trials if not is_plain(row.point)],
        **plain,
        FOUND: found_plain(found),
    }
    chosen = {
        name: _spot(row, x.score, y.score, links)
        for name, point in named_points(found).items()
        if (row := next((row for row in fresh if row.point == point and row.state == "complete"), None))
    }
    made = tradeoff(
        f"{_capital(head(x.score))} against {head(y.score)}",
        Score(head(x.score), x.higher),
        Score(head(y.score), y.higher),
        {name: spots(rows) for name, rows in sets.items() if spots(rows)},
        curves=list(plain),
        front=spots([row for row in fresh if row.on_front]),
        chosen=chosen,
        places={name: i for i, name in enumerate(sets)},
    )
    return replace(made, caption=_caption(found))


def _spot(row: Row, x: str, y: str, links: Links) -> Spot:
    across, up = clipped(x, row.score(x)), clipped(y, row.score(y))
    ends = (across.low, across.high, up.low, up.high)
    return Spot(across.value, up.value, *ends, words(row.point), links.link(SEARCH, row.point))


def _curves(rivals: Sequence[Row]) -> Mapping[str, list[Row]]:
    """Plain sampling over its temperature, for each top-p."""
    made: dict[str, list[Row]] = {}
    for row in sorted(rivals, key=lambda row: (row.point.get(TOP_P, 1.0), row.point.get(TEMPERATURE, 1.0))):
        made.setdefault(f"plain sampling, top-p {short(row.point.get(TOP_P, 1.0))}", []).append(row)
    return made


def _caption(found: Search) -> str:
    """What holds of this figure: not everything that lies beyond the front was measured on fresh samples."""
    said = "Each mark is a point; the further up and to the right, the better. Thin lines are 95% intervals. "
    said += "What was confirmed and plain sampling are measured on the same fresh samples, and the front is theirs; "
    said += "points of the search tend to lie too far up and to the right, since it picked them."
    if found.constraints:
        asked = joined([str(goal) for goal in found.constraints])
        missing = sum(
            row.state == "complete" and any(goal.met(row.scores) in ("no", "unknown") for goal in found.constraints)
            for row in [*found.confirmed, *found.rivals]
        )
        said += f" On the front is only what meets {asked}"
        said += f"; {plural(missing, 'point')} of both {'does' if missing == 1 else 'do'} not." if missing else "."
    return said


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
