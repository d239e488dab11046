"""What the numbers of metrics.json allow to be said, before it is put into words.

Two results are told apart only where their 95% intervals do not overlap.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isnan, nan
from typing import Any, Literal

# Where the interval of the synthetic texts lies, seen from the rival's.
Standing = Literal["above", "below", "overlap", "unknown"]


@dataclass(frozen=True)
class Kind:
    """What a score asks, in words. best "half": 0.5 is best, and less than that is no better."""

    question: str
    group: str
    best: Literal["high", "low", "half", "varied"]


LIKENESS, VARIETY, COPIES, OTHER = "Like the real ones?", "Unlike each other?", "Not copied?", "Further scores"
KINDS = {
    "adversarial_auroc": Kind("How often a classifier picks the synthetic text out of a pair", LIKENESS, "half"),
    "cosine_similarity": Kind("How near the average text is to the average real text", LIKENESS, "high"),
    "ngram_diversity": Kind(
        "Share of word sequences that do not repeat, 2 to 4 words taken together", VARIETY, "varied"
    ),
    "unique_ngram_ratio": Kind("Share of different three-word sequences among all", VARIETY, "varied"),
    "unique_ngram_ratio_1": Kind("Share of different words among all", VARIETY, "varied"),
    "unique_ngram_ratio_2": Kind("Share of different two-word sequences among all", VARIETY, "varied"),
    "unique_ngram_ratio_4": Kind("Share of different four-word sequences among all", VARIETY, "varied"),
    "copied_share": Kind("Share of texts that are near copies of a training text", COPIES, "low"),
}


@dataclass(frozen=True)
class Reading:
    """A value with its 95% interval and the same measure of real texts; NaN where undefined, with the reason.

    absent: nobody asked for it.
    """

    value: float = nan
    low: float = nan
    high: float = nan
    ceiling: float = nan
    reason: str | None = None
    absent: bool = False

    @classmethod
    def of(cls, row: Mapping[str, Any] | None) -> "Reading":
        if row is None:
            return cls(reason="not measured", absent=True)
        value, low, high, ceiling = (
            nan if row[key] is None else row[key] for key in ("value", "low", "high", "ceiling")
        )
        return cls(value, low, high, ceiling, row.get("reason"))

    @property
    def interval(self) -> bool:
        return not (isnan(self.value) or isnan(self.low) or isnan(self.high))


@dataclass(frozen=True)
class Measured:
    """One score of the synthetic texts and of the nucleus rival."""

    name: str
    mine: Reading
    rival: Reading

    @property
    def standing(self) -> Standing:
        """Overlapping intervals make no claim. Of a classifier below a coin toss, only the coin toss counts."""
        if not (self.mine.interval and self.rival.interval):
            return "unknown"
        floor = 0.5 if kind(self.name).best == "half" else -math.inf
        mine, rival = (replace(r, low=max(r.low, floor), high=max(r.high, floor)) for r in (self.mine, self.rival))
        return "above" if mine.low > rival.high else "below" if mine.high < rival.low else "overlap"


def measured(metrics: Mapping[str, Any] | None, name: str) -> Measured:
    metrics = metrics or {}
    rival = metrics.get("rivals", {}).get("nucleus", {}).get("scores", {}).get(name)
    return Measured(name, Reading.of(metrics.get("scores", {}).get(name)), Reading.of(rival))


def kind(name: str, higher_is_better: bool = True) -> Kind:
    """By the name without the embedder in brackets; a score not known here speaks by its name."""
    plain = name.partition("[")[0]
    return KINDS.get(plain) or Kind(plain.replace("_", " "), OTHER, "high" if higher_is_better else "low")


def aurocs(metrics: Mapping[str, Any] | None) -> list[Measured]:
    """The classifiers, the first embedder's first."""
    names = [name for name in (metrics or {}).get("scores", {}) if name.partition("[")[0] == "adversarial_auroc"]
    return [measured(metrics, name) for name in names]


def is_told(reading: Reading) -> bool | None:
    """Whether a classifier beats a coin toss; None where there is no interval to say so."""
    return reading.low > 0.5 if reading.interval else None


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
