"""A round axis for some numbers: where each lies on it, in percent, so that a drawing fits any screen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, both round numbers."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float]) -> "Axis":
        """The narrowest round axis that holds the values (NaN left out) with a little air; within [0, 1] if they are.

        It does not get so narrow that a difference of no account would look like one.
        """
        known = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
        low, high = min(known), max(known)
        inside = low >= 0 and high <= 1
        span = max(high - low, 0.04 if inside else 0.01)
        step = _round_up(span / 4)
        low, high = math.floor((low - span / 12) / step) * step, math.ceil((high + span / 12) / step) * step
        return cls(max(low, 0.0), min(high, 1.0), step) if inside else cls(low, high, step)

    def percent(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def label(self, value: float) -> str:
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        return f"{value + 0.0:.{digits}f}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, ... times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value * (1 - 1e-9))
