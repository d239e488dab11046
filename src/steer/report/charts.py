"""Numbers as places on a page, in percent of a drawing's width and height: so a drawing fits any screen."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, both round numbers."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float], bounds: tuple[float, float] = (-math.inf, math.inf)) -> "Axis":
        """The narrowest round axis that holds the values (NaN left out) with a little air, within the bounds."""
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        span = max(max(known) - min(known), 0.04)
        step = _round_up(span / 4)
        low = math.floor((min(known) - span / 12) / step) * step
        high = math.ceil((max(known) + span / 12) / step) * step
        return cls(max(low, bounds[0]), min(high, bounds[1]), step)

    def percent(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Percent and label of each step."""
        count = round((self.high - self.low) / self.step)
        values = [self.low + i * self.step for i in range(count + 1)]
        return [(self.percent(value), self.label(value)) for value in values]

    def label(self, value: float) -> str:
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value + 0.0:.{digits}f}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))


@dataclass(frozen=True)
class Line:
    """One curve: points in percent from the left and from the top, and the values as text."""

    name: str
    points: list[tuple[float, float]]
    values: list[str]

    @property
    def path(self) -> str:
        return " ".join(f"{x},{y}" for x, y in self.points)


@dataclass(frozen=True)
class LineChart:
    """Curves over the same x; ticks are (percent, label), y from the top."""

    title: str
    x_name: str
    x_labels: list[str]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: list[Line]


def line_chart(
    title: str,
    x_name: str,
    x: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    bounds: tuple[float, float] = (-math.inf, math.inf),
) -> LineChart:
    """Curves: name -> a value for each x, of which there are at least two, growing."""
    axis = Axis.around([value for values in curves.values() for value in values], bounds)
    places = [round(100 * (value - x[0]) / (x[-1] - x[0]), 2) for value in x]
    every = math.ceil(len(x) / 8)
    lines = [
        Line(
            name,
            [(place, round(100 - axis.percent(value), 2)) for place, value in zip(places, values, strict=True)],
            [f"{value:.3f}" for value in values],
        )
        for name, values in curves.items()
    ]
    return LineChart(
        title=title,
        x_name=x_name,
        x_labels=[str(value) for value in x],
        x_ticks=[(place, str(value)) for place, value in zip(places, x, strict=True)][::every],
        y_ticks=[(round(100 - place, 2), label) for place, label in axis.ticks],
        lines=lines,
    )
