"""A score over a grid of two dials, as in figure 3 of the STEER paper (arXiv:2308.07645). Intervals are of 95%."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from steer.report.drawing import (
    HEAT,
    LEFT,
    Box,
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    Swatch,
    figure,
    known,
    labels,
    left_out,
    legend,
    minus,
    nothing,
    number,
    outline,
    short,
    told,
    width,
    wrapped,
)
from steer.report.tradeoffs import Place, Score

WIDEST, HIGHEST, ACROSS, DOWN = 104, 52, 520, 416  # px at most: a cell, and all cells together


@dataclass(frozen=True)
class Cell:
    """A score at a point of a grid, with its interval. link: to its texts on the page, such as "#texts-3"."""

    value: float
    low: float = math.nan
    high: float = math.nan
    link: str | None = None


@dataclass(frozen=True)
class _Grid:
    """Cells in px: a column for each x from the left, a row for each y from the bottom up."""

    xs: Sequence[float]
    ys: Sequence[float]
    top: float

    @property
    def wide(self) -> float:
        return min(WIDEST, ACROSS / len(self.xs))

    @property
    def high(self) -> float:
        return min(HIGHEST, DOWN / len(self.ys))

    @property
    def right(self) -> float:
        return round(LEFT + self.wide * len(self.xs), 1)

    @property
    def bottom(self) -> float:
        return round(self.top + self.high * len(self.ys), 1)

    def boxes(self) -> dict[Place, Box]:
        gap = min(5, self.wide / 5, self.high / 5)
        wide, high = round(self.wide - gap, 1), round(self.high - gap, 1)
        lefts = {x: round(LEFT + i * self.wide + gap / 2, 1) for i, x in enumerate(self.xs)}
        tops = {y: round(self.bottom - (i + 1) * self.high + gap / 2, 1) for i, y in enumerate(self.ys)}
        return {(x, y): (left, top, wide, high) for x, left in lefts.items() for y, top in tops.items()}


def heat_map(title: str, x_name: str, y_name: str, cells: Mapping[Place, Cell], score: Score) -> Figure:
    """A score over a grid: (x, y) -> cell, such as (γ, η) of figure 3; what the grid lacks is hatched.

    Outlined is the best cell. A dot marks those that cannot be told from it, their intervals holding its value.
    """
    # Dials that were counted up in steps have 0.3 and 0.30000000000000004 for the same.
    placed = {(float(f"{x:.9g}"), float(f"{y:.9g}")): c for (x, y), c in cells.items() if known(x) and known(y)}
    found = {at: cell for at, cell in placed.items() if known(cell.value)}
    if not found:
        return nothing(title)
    best = (max if score.higher_is_better else min)(cell.value for cell in found.values())
    alike = {at for at, cell in found.items() if cell.value != best and cell.low <= best <= cell.high}
    xs, ys = (sorted(set(numbers)) for numbers in zip(*placed, strict=True))
    gaps = len(found) < len(xs) * len(ys)

    heading = labels(score.words, 8, 18, 700, 2)
    keys, top = _keys(bool(alike), gaps, 26 + 16 * len(heading))
    grid, scale = _Grid(xs, ys, top + 28), colours(list(found.values()), score)
    write = _writer([cell.value for cell in found.values()])
    written = grid.high >= 20 and max(width(write(cell.value)) for cell in found.values()) + 8 <= grid.wide
    items = [*heading, *keys, *_sides(grid, x_name, y_name), *_ramp(grid, write(scale.low), write(scale.high))]
    boxes = grid.boxes()
    for at, box in boxes.items():
        here = f"{x_name} {at[0]:g}, {y_name} {at[1]:g}"
        if at in found:
            standing = "best" if found[at].value == best else "cannot be told from the best" if at in alike else ""
            shade = min(HEAT - 1, int(HEAT * (found[at].value - scale.low) / (scale.high - scale.low)))
            text = write(found[at].value) if written else ""
            items += _cell(box, found[at], shade, f"{here}\n{score.name}", standing, text)
        else:
            why = "not defined" if at in placed else "not measured"
            items.append(Shape(_hatched(box), "hatch", f"{here}\n{why}"))
    items += [Shape(outline(boxes[at], 1.5), "best") for at, cell in found.items() if cell.value == best]
    where = "; ".join(f"{x_name} {x:g}, {y_name} {y:g}" for (x, y), cell in found.items() if cell.value == best)
    description = f"{score.words}: of {len(found):,} values the best is {number(best)}, at {where}."
    caption = f"In each cell, {score.words}; the more a colour stands out, the better. Outlined is the best."
    caption += " Dotted are those whose 95% interval holds the best value: they cannot be told from it." * bool(alike)
    caption += " Hatched: no value." * gaps
    notes = left_out(sum(not (known(x) and known(y)) for x, y in cells))
    return figure(title, description, caption, items, grid.bottom + 42, notes)


def _cell(box: Box, cell: Cell, shade: int, what: str, standing: str, text: str) -> list[Item]:
    """standing: "best", or that it cannot be told from the best, or nothing. text: its value, where that has room."""
    words = f"{what} {told(cell.value, cell.low, cell.high)}\n{standing}".rstrip()
    items: list[Item] = [Shape(outline(box), f"heat{shade}", words, cell.link)]
    if standing and standing != "best":
        items.append(_dotted(box, f"dot on{shade}"))
    if text:
        x, y = round(box[0] + box[2] / 2, 1), round(box[1] + box[3] / 2 + 4.5, 1)
        items.append(Label(x, y, text, f"value on{shade}{' bold' * (standing == 'best')}", "middle"))
    return items


def colours(cells: Sequence[Cell], score: Score) -> Scale:
    """From the value of the first colour to that of the last."""
    low, high = min(cell.value for cell in cells), max(cell.value for cell in cells)
    sure = [cell for cell in cells if known(cell.low) and known(cell.high)]
    # Values that lie closer together than one interval is wide must not look as if they differed.
    if sure and high - low < median(cell.high - cell.low for cell in sure):
        low, high = min(low, *(cell.low for cell in sure)), max(high, *(cell.high for cell in sure))
    scale = Scale.over((low, high), 0, 1)
    return scale if score.higher_is_better else scale.reversed()


def _keys(alike: bool, gaps: bool, y: float) -> tuple[list[Item], float]:
    swatches: list[tuple[str, Swatch]] = [("best", lambda x, y: [Shape(outline((x - 9, y - 6, 18, 12)), "best")])]
    if alike:
        swatches.append(("cannot be told from the best", lambda x, y: [_dotted((x - 8, y - 5, 15, 15), "dot")]))
    if gaps:
        swatches.append(("no value", lambda x, y: [Shape(_hatched((x - 9, y - 6, 18, 12)), "hatch")]))
    return legend(swatches, y)


def _sides(grid: _Grid, x_name: str, y_name: str) -> list[Item]:
    """The numbers of the columns and rows, as many as have room, and their names."""
    items: list[Item] = labels(y_name, 8, grid.top - 10, 600, kind="tick")
    for k in range(0, len(grid.xs), math.ceil((max(width(short(x)) for x in grid.xs) + 6) / grid.wide)):
        x = round(LEFT + (k + 0.5) * grid.wide, 1)
        items.append(Label(x, grid.bottom + 17, short(grid.xs[k]), "tick", "middle"))
    for k in range(0, len(grid.ys), math.ceil(16 / grid.high)):
        y = round(grid.bottom - (k + 0.5) * grid.high + 4, 1)
        items.append(Label(LEFT - 8, y, short(grid.ys[k]), "tick", "end"))
    name = wrapped(x_name, 600)[0]
    middle = max((LEFT + grid.right) / 2, 8 + width(name) / 2)
    return [*items, Label(round(middle, 1), grid.bottom + 36, name, "tick", "middle")]


def _ramp(grid: _Grid, worst: str, best: str) -> list[Item]:
    """The colours, from the worst at the bottom to the best, and the values at which they end."""
    x, tall = grid.right + 22, grid.bottom - grid.top
    items: list[Item] = []
    # Each reaches down to the bottom and the next is drawn over it: edges that only meet would show a seam.
    for k in range(HEAT):
        y = round(grid.top + tall * k / HEAT, 1)
        items.append(Shape(outline((x, y, 14, grid.bottom - y)), f"heat{HEAT - 1 - k}"))
    items += [Label(x + 22, grid.top + 10, best, "tick"), Label(x + 22, grid.bottom, worst, "tick")]
    if tall >= 70:
        items += [Label(x + 22, grid.top + 26, "better", "tick"), Label(x + 22, grid.bottom - 16, "worse", "tick")]
    return items


def _writer(values: Sequence[float]) -> Callable[[float], str]:
    """With so many digits that the values differ."""
    apart = max(values) - min(values) or 1.0
    digits = max(0, 1 - math.floor(math.log10(apart)), 2 * (max(map(abs, values)) <= 1))

    def write(value: float) -> str:
        plain = digits <= 4 and abs(value) < 1e5
        return minus(f"{round(value, digits) + 0.0:.{digits}f}" if plain else f"{value:.3g}")

    return write


def _hatched(box: Box) -> str:
    x, y, wide, high = box
    lines = []
    for far in range(7, int(wide + high), 7):  # px from the left and from the top, together
        right, down = min(far, wide), min(far, high)
        lines.append(f"M{x + right:g} {y + far - right:g}L{x + far - down:g} {y + down:g}")
    return outline(box) + "".join(lines)


def _dotted(box: Box, kind: str) -> Shape:
    """A dot in the upper right corner."""
    x, y, wide, high = box
    r = min(2.6, wide / 5, high / 5)
    return Shape(f"M{x + wide - 2.6 * r:g} {y + 1.6 * r:g}a{r:g} {r:g} 0 1 1-.01 0z", kind)
