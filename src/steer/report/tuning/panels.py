"""A score over several grids of the same two dials, on one scale of colours, so that they can be compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from steer.report.drawing import (
    HEAT,
    WIDTH,
    Box,
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    figure,
    known,
    labels,
    minus,
    nothing,
    outline,
    short,
    told,
    width,
)
from steer.report.heat import Cell, colours
from steer.report.tradeoffs import Place, Score

ACROSS, SIDE, APART, HIGHEST = 3, 44, 16, 40  # panels in a row; px: numbers at the side, gaps, a cell
STRIDE = (WIDTH - 16 + APART) / ACROSS  # px from one panel to the next

Grids = Mapping[str, Mapping[Place, Cell]]


@dataclass(frozen=True)
class _Panel:
    """A grid at a place. left, top: px of its first cell."""

    xs: Sequence[float]
    ys: Sequence[float]
    left: float
    top: float

    @property
    def wide(self) -> float:
        return (STRIDE - SIDE - APART) / len(self.xs)

    @property
    def high(self) -> float:
        return min(HIGHEST, 5 * HIGHEST / len(self.ys))

    @property
    def bottom(self) -> float:
        return round(self.top + self.high * len(self.ys), 1)

    def box(self, at: Place) -> Box:
        column, row = self.xs.index(at[0]), self.ys.index(at[1])
        gap = min(3, self.wide / 5, self.high / 5)
        x, y = self.left + column * self.wide, self.bottom - (row + 1) * self.high
        return round(x, 1), round(y, 1), round(self.wide - gap, 1), round(self.high - gap, 1)


def panels(title: str, x_name: str, y_name: str, grids: Grids, score: Score) -> Figure:
    """By name, each grid as in `heat_map`: (x, y) -> cell. Outlined is the best cell of all; crossed: no value."""
    found = {name: [cell for cell in cells.values() if known(cell.value)] for name, cells in grids.items()}
    every = [cell for cells in found.values() for cell in cells]
    if not every:
        return nothing(title)
    best = (max if score.higher_is_better else min)(cell.value for cell in every)
    shades = colours(every, score)
    heading = labels(score.words, 8, 18, 700, 2)
    items: list[Item] = [*heading, *_ramp(shades, 26 + 16 * len(heading))]
    xs, ys = (sorted({at[i] for cells in grids.values() for at in cells}) for i in (0, 1))
    top = bottom = 42.0 + 16 * len(heading)
    for i, (name, cells) in enumerate(grids.items()):
        top = bottom if not i % ACROSS else top
        left = 8 + SIDE + (i % ACROSS) * STRIDE
        panel = _Panel(xs, ys, round(left, 1), top + 46)
        items += [*_sides(panel, name, x_name, y_name), *_cells(panel, cells, score, shades, best, (x_name, y_name))]
        bottom = max(bottom, panel.bottom + 46)
    ranges = "; ".join(f"{name} {_range(cells)}" for name, cells in found.items())
    caption = f"In each cell, {score.words}; the more a colour stands out, the better. All have one scale of colours."
    caption += " Outlined is the best of all cells." + " Crossed out: no value." * _gaps(grids, xs, ys)
    return figure(title, f"{score.words}: {ranges}.", f"{caption} Ranges: {ranges}.", items, bottom - 8)


def _gaps(grids: Grids, xs: Sequence[float], ys: Sequence[float]) -> bool:
    return any(not (at in cells and known(cells[at].value)) for cells in grids.values() for at in _places(xs, ys))


def _places(xs: Sequence[float], ys: Sequence[float]) -> list[Place]:
    return [(x, y) for x in xs for y in ys]


def _cells(
    panel: _Panel, cells: Mapping[Place, Cell], score: Score, shades: Scale, best: float, names: tuple[str, str]
) -> list[Item]:
    items: list[Item] = []
    last: list[Item] = []
    for at in _places(panel.xs, panel.ys):
        box, cell = panel.box(at), cells.get(at)
        where = f"{names[0]} {at[0]:g}, {names[1]} {at[1]:g}"
        if cell is None or not known(cell.value):
            x, y, wide, high = box
            cross = f"{outline(box)}M{x:g} {y:g}l{wide:g} {high:g}m{-wide:g} 0l{wide:g} {-high:g}"
            items.append(Shape(cross, "hatch", f"{where}\n{'not measured' if cell is None else 'no value'}"))
            continue
        share = (cell.value - shades.low) / (shades.high - shades.low)
        shade = min(HEAT - 1, int(HEAT * share))
        words = f"{where}\n{score.name} {told(cell.value, cell.low, cell.high)}"
        items.append(Shape(outline(box), f"heat{shade}", words, cell.link))
        if width(_two(cell.value)) <= box[2]:
            x, y = round(box[0] + box[2] / 2, 1), round(box[1] + box[3] / 2 + 4.5, 1)
            items.append(Label(x, y, _two(cell.value), f"value on{shade}", "middle"))
        last += [Shape(outline(box, 1.5), "best")] * (cell.value == best)
    return items + last


def _range(cells: Sequence[Cell]) -> str:
    values = [cell.value for cell in cells]
    return f"{_two(min(values))} to {_two(max(values))}" if values else "none"


def _two(value: float) -> str:
    return minus(f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}")


def _sides(panel: _Panel, name: str, x_name: str, y_name: str) -> list[Item]:
    """What stands around a panel: its name, the names of the dials and their values."""
    left, right = panel.left, round(panel.left + panel.wide * len(panel.xs), 1)
    items = labels(name, left, panel.top - 26, right - left)
    items.append(Label(max(left - SIDE, left - 8 - width(y_name)), panel.top - 8, y_name, "tick"))
    for x in _apart(panel.xs, panel.wide, max(width(short(x)) for x in panel.xs) + 6):
        at = panel.box((x, panel.ys[0]))
        items.append(Label(round(at[0] + at[2] / 2, 1), panel.bottom + 14, short(x), "tick", "middle"))
    for y in _apart(panel.ys, panel.high, 16):
        at = panel.box((panel.xs[0], y))
        items.append(Label(left - 8, round(at[1] + at[3] / 2 + 4, 1), short(y), "tick", "end"))
    items.append(Label(round((left + right) / 2, 1), panel.bottom + 32, x_name, "tick", "middle"))
    return items


def _apart(values: Sequence[float], step: float, least: float) -> list[float]:
    """As many of them as have room, so many px apart."""
    every = next(k for k in range(1, len(values) + 1) if k * step >= least or k == len(values))
    return list(values[::every])


def _ramp(shades: Scale, y: float) -> list[Item]:
    """The colours from the worst to the best, with the values at which they end."""
    low, high = f"{_two(shades.low)} worse", f"better {_two(shades.high)}"
    start = round(8 + width(low) + 8, 1)
    items: list[Item] = [Label(8, y, low, "tick")]
    edges = [start + 20 * k for k in range(HEAT + 1)]
    for k, (left, _) in enumerate(pairwise(edges)):
        # Each reaches to the end and the next is drawn over it: edges that only meet would show a seam.
        items.append(Shape(outline((left, y - 11, edges[-1] - left, 14)), f"heat{k}"))
    return [*items, Label(edges[-1] + 8, y, high, "tick")]
