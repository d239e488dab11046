"""What the numbers of metrics.json allow to be said, before it is put into words."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any, Literal

from steer.report.kinds import kind, rank

# Where a value lies, seen from another one.
Standing = Literal["above", "below", "overlap", "unknown"]
ALARM = 0.05  # chance of a false alarm, over all comparisons together


@dataclass(frozen=True)
class Reading:
    """A value with its 95% interval and the same measure of real texts; NaN where undefined, with the reason.

    absent: nobody asked for it. p: of a test that the texts are from the same source as the real ones.
    """

    value: float = nan
    low: float = nan
    high: float = nan
    ceiling: float = nan
    reason: str | None = None
    absent: bool = False
    p: float = nan

    @classmethod
    def of(cls, row: Mapping[str, Any] | None) -> "Reading":
        if row is None:
            return cls(reason="not measured", absent=True)
        value, low, high, ceiling, p = (_number(row.get(key)) for key in ("value", "low", "high", "ceiling", "p"))
        return cls(value, low, high, ceiling, row.get("reason"), p=p)

    @property
    def known(self) -> bool:
        return not isnan(self.value)

    @property
    def interval(self) -> bool:
        return not (isnan(self.value) or isnan(self.low) or isnan(self.high))


@dataclass(frozen=True)
class Measured:
    """One score of the synthetic texts and of their rivals.

    differences: by rival, the synthetic texts' value less its own, and the p of that, corrected for their number; of
    older files without.
    """

    name: str
    mine: Reading
    rivals: Mapping[str, Reading] = field(default_factory=dict)
    differences: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def embedder(self) -> str:
        """Through which further embedder it looks; "" for the first one."""
        return self.name.partition("[")[2].rstrip("]")

    def standing(self, rival: str) -> Standing:
        """Where the synthetic texts lie, seen from a rival; what cannot be told apart overlaps."""
        mine, theirs = self.mine, self.rivals[rival]
        if isnan(mine.value) or isnan(theirs.value):
            return "unknown"
        side: Standing
        if rival in self.differences:
            apart, p = self.differences[rival]
            if isnan(apart) or isnan(p):
                return "unknown"
            side = "overlap" if p >= ALARM else "above" if apart > 0 else "below"
        elif mine.interval and theirs.interval:
            side = "above" if mine.low > theirs.high else "below" if mine.high < theirs.low else "overlap"
        else:
            return "unknown"
        # Where a coin toss is best, what is no worse than a coin toss is as good as what lies below it.
        worse = {"above": mine, "below": theirs}.get(side)
        return "overlap" if worse and kind(self.name).best == "half" and not worse.low > 0.5 else side


def measured(metrics: Mapping[str, Any] | None, name: str) -> Measured:
    metrics = metrics or {}
    rivals = metrics.get("rivals", {})
    apart = {rival: of.get("differences", {}).get(name) for rival, of in rivals.items()}
    return Measured(
        name,
        Reading.of(metrics.get("scores", {}).get(name)),
        {rival: Reading.of(of["scores"].get(name)) for rival, of in rivals.items()},
        {rival: (_number(row["value"]), _number(row["adjusted"])) for rival, row in apart.items() if row},
    )


def every(metrics: Mapping[str, Any] | None, plain: str) -> list[Measured]:
    """A score as each embedder sees it, the first one first."""
    names = [name for name in (metrics or {}).get("scores", {}) if name.partition("[")[0] == plain]
    return [measured(metrics, name) for name in sorted(names, key=rank)]


def is_told(reading: Reading) -> bool | None:
    """Whether a classifier beats a coin toss; None where interval and permutations do not say the same."""
    if not reading.interval:
        return None
    told = reading.low > 0.5
    return told if isnan(reading.p) or told == (reading.p < ALARM) else None


def against_real(reading: Reading) -> Standing:
    """Where the value lies, seen from real texts. They come without an interval, and are given one of equal width."""
    if not reading.interval or isnan(reading.ceiling):
        return "unknown"
    apart, below, above = reading.value - reading.ceiling, reading.value - reading.low, reading.high - reading.value
    return "above" if apart > below + above else "below" if -apart > below + above else "overlap"


def percent(value: float) -> str:
    return "0%" if value == 0 else f"{value:.1%}" if value < 0.1 else f"{value:.0%}"


def hundred(value: float) -> str:
    """A share as so many of 100: whole, unless that would hide on which side of 50 it lies."""
    whole = f"{100 * value:.0f}"
    return f"{100 * value:.1f}" if whole == "50" and value != 0.5 else whole


def two(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.3g}"


def _number(value: float | None) -> float:
    return nan if value is None else float(value)
