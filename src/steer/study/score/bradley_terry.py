"""Which of several sets is preferred? P(i preferred to j) = 1 / (1 + exp(s_j - s_i)) (Bradley and Terry 1952).

Strengths s are in logits and add up to 0; higher is better. A tie is half a win of either. Intervals hold for other
annotators and items, as those of `bootstrap` do.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from steer.evaluate.intervals import LEVEL, Estimate
from steer.study.score.bootstrap import interval, spread
from steer.study.score.rates import Answers, Ids

Matrix = NDArray[np.float64]

# sum(s^2) / (2 PRIOR) is added to the loss, as if strengths were known to be about sqrt(10) logits apart. A set that
# always wins would otherwise be infinitely strong; one that wins 3 of 4 comparisons out of 100 moves by less than 1%.
PRIOR = 10.0


@dataclass(frozen=True, eq=False)
class Strengths:
    """Strengths of K sets, in logits, with intervals; their p is one-sided, of being no stronger than the mean of all.

    values: (K,) the strengths alone. ranks: (K,) 1 is the strongest; equals share the better rank.
    influence: (N, K) how far each vote moves each strength. covariance: (K, K) of strengths, of independent votes.
    """

    values: Matrix  # (K,)
    ranks: tuple[int, ...]
    level: float
    answers: Answers = field(repr=False)
    influence: Matrix = field(repr=False)  # (N, K)
    covariance: Matrix = field(repr=False)  # (K, K)

    @cached_property
    def sets(self) -> tuple[Estimate, ...]:
        """(K,) the strengths with their intervals."""
        # Only differences count: the votes know nothing of what all strengths have in common.
        return tuple(map(self._estimate, np.eye(len(self.values)) - 1 / len(self.values)))

    def beats(self, i: int, j: int) -> Estimate:
        """The probability that set i is preferred to set j; p of the null that it is 0.5 or less."""
        if i == j:
            raise ValueError(f"set {i} is not compared with itself: name two sets")
        apart = self._estimate(np.eye(len(self.values))[i] - np.eye(len(self.values))[j])
        return replace(apart, value=_chance(apart.value), low=_chance(apart.low), high=_chance(apart.high))

    def _estimate(self, contrast: Matrix) -> Estimate:
        # No narrower than if all votes were independent: where a set always wins, annotators and items all agree, and
        # yet do not know by how much it is the stronger one.
        least = float(contrast @ self.covariance @ contrast)
        made = spread(self.influence @ contrast, self.answers.annotators, self.answers.items, least)
        return interval(float(contrast @ self.values), made.variance, made.df, self.level)


def bradley_terry(
    answers: Answers, first: ArrayLike, second: ArrayLike, sets: int | None = None, level: float = LEVEL
) -> Strengths:
    """Strengths from votes on pairs of sets, each vote 1 where the first was preferred and 0 where the second was.

    first, second: (N,) which sets were compared, 0 to sets - 1.
    sets: how many there are; all that are named if not given.
    Raises ValueError where a set is compared with itself, or where no chain of comparisons joins two of the sets.
    """
    one, other = np.asarray(first, np.int64), np.asarray(second, np.int64)
    count = _checked(answers, one, other, sets)
    strengths = _fitted(one, other, answers.values, count)
    design = np.eye(count)[one] - np.eye(count)[other]  # (N, K)
    chance = expit(design @ strengths)  # (N,)
    information = design.T @ (design * (chance * (1 - chance))[:, None]) + np.eye(count) / PRIOR
    covariance = np.linalg.inv(information)
    influence = (design * (answers.values - chance)[:, None]) @ covariance
    # Rounded, as equals differ in their last digits.
    ranks = tuple(int(rank) for rank in rankdata(np.round(-strengths, 6), method="min"))
    return Strengths(strengths, ranks, level, answers, influence, covariance)


def _chance(strength: float) -> float:
    return float(expit(strength))


def _fitted(one: Ids, other: Ids, values: NDArray[np.float64], count: int) -> Matrix:
    """(K,) strengths; votes on the same two sets are put together, a tie as half a win of each."""
    cells, index = np.unique(np.stack([one, other]), axis=1, return_inverse=True)
    wins, votes = np.bincount(index.reshape(-1), values), np.bincount(index.reshape(-1))
    design = np.eye(count)[cells[0]] - np.eye(count)[cells[1]]
    model = LogisticRegression(C=PRIOR, fit_intercept=False, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    outcomes = np.repeat([1, 0], len(wins))
    with warnings.catch_warnings():
        # Where all rates are one half it starts at the end, and warns that it gets no further.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.concatenate([design, design]), outcomes, sample_weight=np.concatenate([wins, votes - wins]))
    strengths: Matrix = model.coef_[0] - model.coef_[0].mean()
    return strengths


def _checked(answers: Answers, one: Ids, other: Ids, sets: int | None) -> int:
    if not one.shape == other.shape == answers.values.shape or not len(answers):
        raise ValueError(
            f"{len(answers)} votes on {one.size} and {other.size} sets: each vote needs a first and a second"
        )
    if (one == other).any():
        raise ValueError(f"set {one[one == other][0]} is compared with itself")
    least, most = int(min(one.min(), other.min())), int(max(one.max(), other.max()))
    count = most + 1 if sets is None else sets
    if least < 0 or most >= count:
        raise ValueError(f"sets are numbered 0 to {count - 1}, not {least} to {most}")
    parts, of = connected_components(coo_array((np.ones(len(one)), (one, other)), shape=(count, count)), directed=False)
    if parts > 1:
        groups = "; ".join(_listed(np.flatnonzero(of == part).tolist()) for part in range(parts))
        raise ValueError(
            f"no comparisons join these sets: {groups}. Compare sets across them, or rank each group alone"
        )
    return count


def _listed(sets: Sequence[int]) -> str:
    return ", ".join(map(str, sets))
