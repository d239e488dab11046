"""How often is A preferred? The win rate, ties counting half; range [0, 1], 0.5 is no preference.

What stands here takes every vote for independent. Votes of one annotator, and on one item, are not: `bootstrap` holds
for them. The tests are here since the STEER paper (arXiv 2308.07645) reports them.
"""

from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, norm

from steer.evaluate.intervals import LEVEL

Ids = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Answers:
    """Votes on one question: who gave them, on which item, and what they say; any sequences of one length, also empty.

    annotators, items: (N,) whole numbers, one for each annotator and each item; they need not be consecutive.
    values: (N,) 1 where A was preferred, 0.5 for a tie, 0 where B was.
    """

    annotators: Ids
    items: Ids
    values: Values

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotators", _ids(self.annotators, "annotators"))
        object.__setattr__(self, "items", _ids(self.items, "items"))
        object.__setattr__(self, "values", np.asarray(self.values, np.float64))
        lengths = [len(self.annotators), len(self.items), self.values.size]
        if self.values.ndim != 1 or len(set(lengths)) > 1:
            raise ValueError(f"annotators, items and values are {lengths} long: each vote needs one of each")
        odd = self.values[~np.isin(self.values, (0.0, 0.5, 1.0))]
        if odd.size:
            raise ValueError(f"a vote is 1 (A preferred), 0.5 (tie) or 0 (B preferred), not {odd[0]}")

    def __len__(self) -> int:
        return len(self.values)


def _ids(given: ArrayLike, name: str) -> Ids:
    ids = np.asarray(given)
    if ids.ndim != 1 or (ids.size and not np.issubdtype(ids.dtype, np.integer)):
        raise ValueError(f"{name} are one row of whole numbers, not {ids.dtype} of shape {ids.shape}: number them")
    return ids.astype(np.int64)


def win_rate(answers: Answers) -> float:
    """(wins + ties / 2) / votes; NaN without votes."""
    return float(answers.values.mean()) if len(answers) else nan


def wilson(wins: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """The two-sided score interval of a rate (Wilson 1927); NaN where n is 0.

    wins: in [0, n], not only whole: a tie is half a win. Ties vary less than wins and losses do, so that with many of
    them it is wider than it need be.
    """
    if not 0 <= wins <= n:
        raise ValueError(f"{wins} wins of {n}: there can be neither fewer than none nor more than all")
    return score_interval(wins / n, n, float(norm.ppf((1 + level) / 2))) if n else (nan, nan)


def score_interval(rate: float, n: float, quantile: float) -> tuple[float, float]:
    """The rates p with |rate - p| <= quantile * sqrt(p (1 - p) / n); within [0, 1] (Wilson 1927)."""
    z2 = quantile**2
    middle, half = rate + z2 / (2 * n), sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n)))
    # Rounding may leave 0 of n a hair above 0.
    return max(0.0, min(rate, (middle - half) / (1 + z2 / n))), min(1.0, max(rate, (middle + half) / (1 + z2 / n)))


def z_test(wins: float, n: float) -> float:
    """p of the one-sided z-test, z = (wins / n - 0.5) / sqrt(0.25 / n); null: rate <= 0.5, alternative: rate > 0.5.

    The STEER paper (arXiv 2308.07645) prints as its null hypothesis "that the win rate was above 0.5". A null is what
    a small p speaks against: here it is that A is *not* preferred. NaN where n is 0.
    """
    if not 0 <= wins <= n:
        raise ValueError(f"{wins} wins of {n}: there can be neither fewer than none nor more than all")
    return float(norm.sf((wins / n - 0.5) / sqrt(0.25 / n))) if n else nan


def binomial_test(answers: Answers) -> float:
    """p of the exact one-sided sign test, ties left out; null: rate <= 0.5 (Dixon and Mood 1946). NaN if all tied."""
    decided = answers.values[answers.values != 0.5]
    if not len(decided):
        return nan
    return float(binomtest(int(decided.sum()), len(decided), 0.5, alternative="greater").pvalue)


def stars(p: float) -> str:
    """*** below .001, ** below .01, * below .05, and nothing otherwise or where p is NaN."""
    return "" if isnan(p) else "***" if p < 0.001 else "**" if p < 0.01 else "*" if p < 0.05 else ""
