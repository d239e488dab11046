"""Win rates over one dial, a curve for each value of the other and a panel for each group, as in figures 2 and 6 of the
STEER paper (arXiv:2308.07645)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import nan

from steer.report.drawing import (
    WIDTH,
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    Swatch,
    curve,
    figure,
    joined,
    known,
    labels,
    legend,
    mark,
    marked_line,
    nothing,
    whisker,
)

ACROSS, SIDE, APART, TALL = 2, 48, 16, 210  # panels in a row; px: numbers at the side, gaps, and the plot of a panel
STRIDE = (WIDTH - 8 + APART) / ACROSS
INSET = 14  # px; keeps marks off the edges
HALF = 0.5  # no preference


@dataclass(frozen=True)
class Rate:
    """At a value of the dial. mark: stars. words: for where the mouse rests on it."""

    x: float
    y: float
    low: float = nan
    high: float = nan
    mark: str = ""
    words: str = ""

    @property
    def up(self) -> tuple[float, float]:
        return (self.low, self.high) if known(self.low) and known(self.high) else (self.y, self.y)


Panel = Mapping[str, Sequence[Rate]]  # name of a curve -> its points


@dataclass(frozen=True)
class _Plot:
    """Where in px a panel lies; all have one scale upwards, moved down with the panel."""

    left: float
    top: float
    xs: Sequence[float]
    rates: Sequence[float] = field(repr=False)

    @property
    def right(self) -> float:
        return self.left + STRIDE - SIDE - APART

    @property
    def across(self) -> Scale:
        return Scale.over(self.xs, self.left + INSET, self.right - INSET)

    @property
    def up(self) -> Scale:
        return Scale.around([*self.rates, HALF], self.top + TALL, self.top + INSET)


def over_dial(title: str, dial: str, panels: Mapping[str, Panel], caption: str, y_name: str) -> Figure:
    """panels: name of a group -> curves."""
    rates = [rate for panel in panels.values() for points in panel.values() for rate in points if known(rate.y)]
    if not rates:
        return nothing(title)
    place = {name: i for i, name in enumerate(dict.fromkeys(name for panel in panels.values() for name in panel))}
    swatches: list[tuple[str, Swatch]] = [(name, partial(marked_line, i)) for name, i in place.items()]
    swatches.append(("no preference", lambda x, y: [Shape(f"M{x - 14:g} {y:g}h28", "dashed")]))
    items, top = legend(swatches)
    bottom = top
    for i, (name, panel) in enumerate(panels.items()):
        top = bottom if not i % ACROSS else top
        left = SIDE + (i % ACROSS) * STRIDE
        plot = _Plot(
            left, top + 30, sorted({one.x for one in rates}), [end for one in rates for end in (one.y, *one.up)]
        )
        items += [*_frame(plot, name, dial), *_curves(plot, panel, place, dial)]
        bottom = max(bottom, top + 30 + TALL + 50)
    said = "; ".join(
        f"{name}, {of}: {', '.join(f'{one.x:g} {one.y:.2f}{one.mark}' for one in points if known(one.y))}"
        for name, panel in panels.items()
        for of, points in panel.items()
    )
    return figure(title, f"{y_name} over {dial}. {said}.", caption, items, bottom)


def _frame(plot: _Plot, name: str, dial: str) -> list[Item]:
    left, right, bottom = round(plot.left, 1), round(plot.right, 1), plot.top + TALL
    items = labels(name, left, plot.top - 4, right - left, kind="bold")
    for y, words in plot.up.ticks(lambda value: f"{100 * value:.0f}%", 6):
        items += [Shape(f"M{left:g} {y:g}H{right:g}", "grid"), Label(left - 7, y + 4, words, "tick", "end")]
    half = plot.up(HALF)
    items.append(Shape(f"M{left:g} {half:g}H{right:g}", "dashed", "no preference"))
    items.append(Shape(f"M{left:g} {bottom:g}H{right:g}", "axis"))
    free = left
    for x in plot.xs:
        at, words = plot.across(x), f"{x:g}"
        items.append(Shape(f"M{at:g} {bottom:g}v5", "axis"))
        if at - 4 * len(words) >= free:
            items.append(Label(at, bottom + 19, words, "tick", "middle"))
            free = at + 4 * len(words) + 6
    return [*items, Label((left + right) / 2, bottom + 36, dial, "tick", "middle")]


def _curves(plot: _Plot, panel: Panel, place: Mapping[str, int], dial: str) -> list[Item]:
    """Curves stand a little beside each other, or their intervals would hide each other."""
    lines: list[Item] = []
    marks: list[Item] = []
    step = min(7, 24 / max(1, len(place)))
    for name, points in panel.items():
        i, aside = place[name], step * (place[name] - (len(place) - 1) / 2)
        at = [(round(plot.across(one.x) + aside, 1), plot.up(one.y)) if known(one.y) else None for one in points]
        lines.append(curve(i, joined(at), name))
        for one, here in zip(points, at, strict=True):
            if here is None:
                continue
            low, high = map(plot.up, one.up)
            words = f"{name}, {dial} {one.x:g}\n{one.words}"
            lines += [whisker(i, here[0], low, high, words)] * (low != high)
            marks.append(mark(i, *here, words))
            if one.mark:
                marks.append(Label(here[0], min(low, high) - 1, one.mark, "name", "middle"))
    return [*lines, *marks]
