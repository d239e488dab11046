"""95% intervals: how far would the value move, had other texts been drawn from the same source?

A resample of one set is the same whatever it is compared with, as each set draws from a generator of its own: so the
resamples of two rivals against the same real texts are **paired**, and what the real texts contribute to the noise
cancels in their `difference`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isnan, nan, sqrt
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 1000
SUBSAMPLES = 200

Counts = NDArray[np.int64]
Mask = NDArray[np.bool_]
Values = Mapping[str, float]
Bounds = Mapping[str, tuple[float, float]]
Key = TypeVar("Key")


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; NaN where one or both are undefined, with the reason.

    p: chance of a value at least as extreme if both sides came from one source; NaN where that was not asked.
    draws: (R,) the value as resamples would have had it, for `difference`.
    """

    value: float
    low: float = nan
    high: float = nan
    reason: str | None = None
    p: float = nan
    draws: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


def undefined(names: Sequence[str] | Mapping[str, object], reason: str) -> dict[str, Estimate]:
    """NaN for each of the names, for one reason."""
    return {name: Estimate(nan, reason=reason) for name in names}


def bootstrap(
    statistic: Callable[..., Values],
    sizes: tuple[int, ...],
    bounds: Bounds,
    *,
    seed: int = 0,
    draws: int = RESAMPLES,
) -> dict[str, Estimate]:
    """Resample units with replacement (Efron 1979); of several sets, each on its own.

    statistic: takes, per set, how often each of its units is counted (sizes[i],), and gives values by name; NaN where
        that leaves one undefined. A unit is a text, or a cluster of texts that are not independent.
    bounds: the range of each value.
    """

    def drawn(rng: np.random.Generator, size: int) -> Counts:
        return np.bincount(rng.integers(size, size=size), minlength=size)

    return _resampled(statistic, sizes, bounds, drawn, seed, draws, np.int64)


def subsample(
    statistic: Callable[..., Values],
    sizes: tuple[int, ...],
    bounds: Bounds,
    *,
    seed: int = 0,
    draws: int = SUBSAMPLES,
    relative: bool = False,
) -> dict[str, Estimate]:
    """Draw half of each set without replacement (Politis, Romano and Wolf 1999), for statistics that count repeats.

    A bootstrap would plant repeats of its own, and call every corpus less diverse than it is.

    statistic: takes, per set, which units are drawn (sizes[i],), and gives values by name; see `bootstrap`.
    relative: the values grow with the number of units, and so does their spread: it is scaled with them.
    """

    def drawn(rng: np.random.Generator, size: int) -> Mask:
        return rng.permutation(np.arange(size) < size // 2)

    # With σ² / n the variance that is sought, a part of m out of n varies, around the whole, by σ² (1/m - 1/n): less
    # than a fresh sample of m would, as it overlaps with the whole. The ratio of the two is m / (n - m), which is 1 at
    # the half: so this rescaling only corrects for odd n. The argument is one for means; of n-gram scores on 90 and on
    # 500 English sentences, the intervals were 0.8 to 1.25 times as wide as the scores of 60 fresh corpora varied.
    n = min(sizes)
    scale = sqrt((n // 2) / (n - n // 2)) if n else nan
    return _resampled(statistic, sizes, bounds, drawn, seed, draws, np.bool_, scale, relative)


def _resampled(
    statistic: Callable[..., Values],
    sizes: tuple[int, ...],
    bounds: Bounds,
    drawn: Callable[[np.random.Generator, int], NDArray[np.generic]],
    seed: int,
    draws: int,
    dtype: type[np.generic],
    scale: float = 1.0,
    relative: bool = False,
) -> dict[str, Estimate]:
    values = statistic(*(np.ones(size, dtype) for size in sizes))
    if min(sizes) < 2:
        return {
            name: Estimate(value, reason="no interval: it takes at least two independent texts")
            for name, value in values.items()
        }
    generators = [np.random.default_rng([seed, side]) for side in range(len(sizes))]
    rows = [statistic(*(drawn(rng, size) for rng, size in zip(generators, sizes, strict=True))) for _ in range(draws)]
    return {
        name: _spread(value, np.array([row[name] for row in rows], dtype=np.float64), bounds[name], scale, relative)
        for name, value in values.items()
    }


def proportion(successes: int, total: int, independent: int | None = None) -> Estimate:
    """A share and its Wilson score interval, which keeps its width at 0 of n and n of n (Wilson 1927).

    independent: how many of them say something of their own, such as the number of different texts; all if not given.
    """
    share = successes / total
    return at_least_wilson(Estimate(share, share, share), total if independent is None else independent)


def at_least_wilson(estimate: Estimate, n: int) -> Estimate:
    """A share or AUROC with an interval no narrower than that of a share of n (Wilson 1927).

    Where all of n are alike, so are all resamples, and their interval would be a point.
    """
    from scipy.stats import norm

    if isnan(estimate.low) or isnan(estimate.high) or n < 1:
        return estimate
    z2, p = float(norm.ppf((1 + LEVEL) / 2)) ** 2, estimate.value
    middle, half = (p + z2 / (2 * n)) / (1 + z2 / n), sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low, high = max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half))
    return replace(estimate, low=min(estimate.low, low), high=max(estimate.high, high))


@dataclass(frozen=True)
class Difference:
    """One set's value minus another's, with a 95% interval.

    p: two-sided, of no difference; adjusted: the same, corrected for how many differences were looked at (`holm`).
    """

    value: float
    low: float
    high: float
    p: float
    adjusted: float = nan


def difference(mine: Estimate, other: Estimate) -> Difference:
    """Of paired resamples where there are any, and otherwise from the two intervals (Zou and Donner 2008).

    p is that of a normal distribution with the spread of the resamples: few resamples resolve no smaller ones.
    """
    from scipy.stats import norm

    value = mine.value - other.value
    paired = mine.draws is not None and other.draws is not None and mine.draws.shape == other.draws.shape
    apart = _spread(value, mine.draws - other.draws, (-np.inf, np.inf)) if paired else None  # type: ignore[operator]
    spread = float(np.nanstd(apart.draws)) if apart is not None and apart.draws is not None else 0.0
    if apart is not None and spread > 0:
        low, high = apart.low, apart.high
    else:
        # Resamples that are all alike know nothing of the spread; the intervals do.
        low = value - sqrt((mine.value - mine.low) ** 2 + (other.high - other.value) ** 2)
        high = value + sqrt((mine.high - mine.value) ** 2 + (other.value - other.low) ** 2)
        # The half of the interval that reaches towards no difference.
        spread = (value - low if value > 0 else high - value) / norm.ppf((1 + LEVEL) / 2)
    if isnan(value) or isnan(spread) or (spread == 0 and value != 0):
        return Difference(value, low, high, nan)
    return Difference(value, low, high, float(2 * norm.sf(abs(value) / spread)) if value else 1.0)


def between(one: Estimate, other: Estimate, part: float) -> Estimate:
    """The estimate that lies a part, 0 to 1, of the way from one to the other; resamples stay paired."""
    value, low, high = (
        (1 - part) * a + part * b for a, b in ((one.value, other.value), (one.low, other.low), (one.high, other.high))
    )
    if one.draws is None or other.draws is None or one.draws.shape != other.draws.shape:
        return Estimate(value, low, high)
    return Estimate(value, low, high, draws=(1 - part) * one.draws + part * other.draws)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """The p-values, each adjusted so that one false alarm among all of them has the chance it says (Holm 1979).

    NaN stays NaN and is not counted.
    """
    known = sorted((key for key in p if not isnan(p[key])), key=p.__getitem__)
    adjusted, largest = dict.fromkeys(p, nan), 0.0
    for rank, key in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p[key]))
        adjusted[key] = largest
    return adjusted


def _spread(
    value: float, values: NDArray[np.float64], bounds: tuple[float, float], scale: float = 1.0, relative: bool = False
) -> Estimate:
    known = values[np.isfinite(values)]
    if isnan(value):
        return Estimate(value)
    if not len(known):
        return Estimate(value, reason="no interval: every resample left the score undefined")
    low, middle, high = np.quantile(known, [(1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2])
    scale *= value / middle if relative and middle > 0 else 1.0
    # Only the spread is taken: the level of resamples is off (two noisier means are less alike, half a corpus is more
    # diverse), and quantiles as they are would miss the value itself.
    return Estimate(
        value,
        float(max(bounds[0], value + scale * (low - middle))),
        float(min(bounds[1], value + scale * (high - middle))),
        draws=value + scale * (values - middle),
    )
