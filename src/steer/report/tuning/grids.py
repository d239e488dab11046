"""Scores over grids of two dials or more: each form of STEER, as in figure 3 of the paper, and the user's own grid."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

from steer.report.answers import joined
from steer.report.comparison.compared import head
from steer.report.comparison.pictures import slug
from steer.report.drawing import Figure, short
from steer.report.heat import Cell, heat_map
from steer.report.kinds import rank
from steer.report.pictures import Picture
from steer.report.tradeoffs import Place
from steer.report.tuning.dials import AUROC, DIVERSITY, Told, explained, score_of, single_picture, sweep_picture
from steer.report.tuning.files import Grid, Tuned
from steer.report.tuning.panels import panels
from steer.report.tuning.texts import GRID, Links
from steer.report.tuning.trends import clipped, of_score, reversals, sentence
from steer.report.tuning.words import FORMS, capitalised, dial, form, listed, plural

FIRST = 2  # scores of a grid that are open
MOST = 12  # panels of a figure


def form_pictures(tuned: Tuned, links: Links) -> list[Told]:
    """Each score over γ and η, the forms of STEER beside each other."""
    files = {form(name): name for name in sorted(tuned.forms, key=_place)}
    grids = {who: tuned.forms[name] for who, name in files.items()}
    made = []
    for i, score in enumerate(_scores(tuned, list(grids.values()))):
        cells = {who: _cells(grid, score, files[who], links) for who, grid in grids.items()}
        figure = panels(f"{capitalised(head(score))} over γ and η", "γ", "η", cells, score_of(tuned, score))
        said = [sentence(f"{capitalised(who)}: {head(score)}", grid, of_score(score)) for who, grid in grids.items()]
        picture = Picture(slug(f"heat-{score}"), explained(figure, score))
        made.append(Told(picture, [*said, *reversals(grids, score)], i < FIRST))
    return made


def _place(name: str) -> int:
    return list(FORMS).index(name) if name in FORMS else len(FORMS)


def grid_pictures(tuned: Tuned, links: Links) -> list[Told]:
    """Of grid.json: a curve for one dial, a map for two, and of more a map for each of the others' values."""
    grid = tuned.grid
    if grid is None or not grid.axes:
        return []
    if len(grid.axes) == 1:
        (axis,) = grid.axes
        both = [sweep_picture(axis, grid, links, GRID)] if {DIVERSITY, AUROC} & set(grid.scores) else []
        others = [name for name in _scores(tuned, [grid]) if name not in (DIVERSITY, AUROC)]
        return [*both, *(single_picture(tuned, axis, grid, name, links) for name in others)]
    made = []
    for i, score in enumerate(_scores(tuned, [grid])):
        picture = Picture(slug(f"grid-{score}"), explained(_map(tuned, grid, score, links), score))
        made.append(Told(picture, [sentence(capitalised(head(score)), grid, of_score(score))], i < FIRST))
    return made


def _map(tuned: Tuned, grid: Grid, score: str, links: Links) -> Figure:
    x, y, *rest = grid.axes
    title, how = f"{capitalised(head(score))} over {joined([dial(axis) for axis in grid.axes])}", score_of(tuned, score)
    if not rest:
        return heat_map(title, dial(x), dial(y), _cells(grid, score, GRID, links), how)
    fixed = list(product(*(grid.axes[axis] for axis in rest)))
    parts = {
        ", ".join(f"{dial(axis)} {short(value)}" for axis, value in zip(rest, values, strict=True)): Grid(
            {x: grid.axes[x], y: grid.axes[y]},
            {at[:2]: row for at, row in grid.cells.items() if at[2:] == values},
        )
        for values in fixed[:MOST]
    }
    made = panels(
        title, dial(x), dial(y), {name: _cells(part, score, GRID, links) for name, part in parts.items()}, how
    )
    more = f" {plural(len(fixed) - MOST, 'further map')} of these are in grid.json." if len(fixed) > MOST else ""
    return replace(made, caption=made.caption + more)


def _cells(grid: Grid, score: str, file: str, links: Links) -> dict[Place, Cell]:
    made = {}
    for (x, y), row in grid.cells.items():
        reading = clipped(score, row.score(score))
        made[x, y] = Cell(reading.value, reading.low, reading.high, links.link(file, row.point))
    return made


def _scores(tuned: Tuned, grids: Sequence[Grid]) -> list[str]:
    """Diversity and fidelity first, then what decides the search."""
    names = {name for grid in grids for name in grid.scores}
    first = [DIVERSITY, AUROC, *(tuned.search.scores if tuned.search else [])]
    return sorted(names, key=lambda name: (first.index(name) if name in first else len(first), rank(name)))


# -- what could not be measured --------------------------------------------------------------------------------------


def failures(grids: Mapping[str, Grid]) -> list[str]:
    """A sentence for each grid with points that could not be measured."""
    return [
        f"{name}: {plural(len(grid.failed), 'point')} of {len(grid.cells)} could not be measured "
        f"({listed(dict.fromkeys(row.reason or row.state for row in grid.failed), 2)})."
        for name, grid in grids.items()
        if grid.failed
    ]
