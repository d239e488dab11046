"""95% intervals: how far would the value move, had other texts been drawn from the same source?"""

from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 1000
SUBSAMPLES = 200

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where one or both are undefined, with the reason."""

    value: float
    low: float = nan
    high: float = nan
    reason: str | None = None


def bootstrap(
    value: float,
    statistic: Callable[..., float],
    sizes: tuple[int, ...],
    bounds: tuple[float, float],
    *,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> Estimate:
    """Resample units with replacement (Efron 1979); of several samples, each on its own.

    statistic: takes, per sample, how often each of its units was drawn (sizes[i],), and gives the statistic; NaN where
        that draw leaves it undefined. A unit is a text, or a cluster of texts that are not independent.
    bounds: the range of the statistic.
    """
    if min(sizes) < 2:
        return Estimate(value, reason="no interval: it takes at least two independent texts")
    rng = np.random.default_rng(seed)
    values = [
        statistic(*(np.bincount(rng.integers(size, size=size), minlength=size) for size in sizes)) for _ in range(draws)
    ]
    return _spread(value, np.array(values), bounds)


def subsample(
    value: float,
    statistic: Callable[[Mask], float],
    size: int,
    bounds: tuple[float, float],
    *,
    seed: int = 0,
    draws: int = SUBSAMPLES,
) -> Estimate:
    """Draw half of the units without replacement (Politis, Romano and Wolf 1999), for statistics that count repeats.

    A bootstrap would plant repeats of its own, and call every corpus less diverse than it is.

    statistic: takes which units were drawn (size,), and gives the statistic of those.
    bounds: the range of the statistic.
    """
    if size < 2:
        return Estimate(value, reason="no interval: it takes at least two independent texts")
    rng = np.random.default_rng(seed)
    part = size // 2
    values = np.array([statistic(rng.permutation(np.arange(size) < part)) for _ in range(draws)])
    # With σ² / n the variance that is sought, a part of m out of n varies, around the whole, by σ² (1/m - 1/n): less
    # than a fresh sample of m would, as it overlaps with the whole. The ratio of the two is m / (n - m), which is 1 at
    # the half: so this rescaling only corrects for odd n. The argument is one for means; of n-gram scores on 90 and on
    # 500 English sentences, the intervals were 0.8 to 1.25 times as wide as the scores of 60 fresh corpora varied.
    return _spread(value, values, bounds, scale=(part / (size - part)) ** 0.5)


def proportion(successes: int, total: int) -> Estimate:
    """A share and its Wilson score interval, which keeps its width at 0 of n and n of n (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, total).proportion_ci(confidence_level=LEVEL, method="wilson")
    return Estimate(successes / total, float(interval.low), float(interval.high))


def _spread(value: float, values: NDArray[np.float64], bounds: tuple[float, float], scale: float = 1.0) -> Estimate:
    values = values[np.isfinite(values)]
    if not len(values):
        return Estimate(value, reason="no interval: every resample left the score undefined")
    low, middle, high = np.quantile(values, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    # Only the spread is taken: the level of resamples is off (two noisier means are less alike, half a corpus is more
    # diverse), and quantiles as they are would miss the value itself.
    return Estimate(
        value,
        float(max(bounds[0], value + scale * (low - middle))),
        float(min(bounds[1], value + scale * (high - middle))),
    )
