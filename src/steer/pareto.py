"""What is wanted of the texts, which points of many are the best answers to it, and how sure that is.

    want = Want.parse("calibrated_authenticity >= 0.9, maximise ngram_diversity, minimise adversarial_auroc", known)
    recommended(points, want).why

A point dominates another where no objective is worse and one is better; the front are those that no other dominates.
A point is given by its scores, name -> `Estimate`; one with NaN among its objectives is on no front and dominates
nothing.
"""

import difflib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, isnan
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.catalogue import TOSSED
from steer.evaluate.intervals import Difference, Estimate, difference

Values = Mapping[str, float]
Scores = Mapping[str, Estimate]
Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Chances that a guess is right: at a coin toss nothing is to be told, and below it there is nothing to be gained.
NORMAL_DRAWS = 1000  # where an estimate has none of its own
Z95 = 1.959964  # half of a 95% interval in standard deviations


@dataclass(frozen=True)
class Objective:
    """A score to be as high, or as low, as can be; of an AUROC the lowest that counts is 0.5."""

    score: str
    maximise: bool

    def good(self, values: Array) -> Array:
        """The values so that higher is better."""
        counted = np.maximum(values, 0.5) if self._coin_toss else values
        return counted if self.maximise else -counted

    def difference(self, mine: Scores, other: Scores) -> Difference:
        """Mine minus the other's, of paired resamples; positive is better."""
        return difference(self._good_estimate(mine[self.score]), self._good_estimate(other[self.score]))

    @property
    def _coin_toss(self) -> bool:
        return self.score.partition("[")[0] in TOSSED

    def _good_estimate(self, one: Estimate) -> Estimate:
        ends = self.good(np.array([one.low, one.high]))
        draws = None if one.draws is None else self.good(one.draws)
        value = float(self.good(np.array(one.value)))
        return replace(one, value=value, low=float(ends.min()), high=float(ends.max()), draws=draws)

    def __str__(self) -> str:
        return f"{'maximise' if self.maximise else 'minimise'} {self.score}"


@dataclass(frozen=True)
class Constraint:
    """A score that has to be at least, or at most, the limit."""

    score: str
    at_least: bool
    limit: float

    def violation(self, values: Array) -> Array:
        """By how much the limit is missed, in units of the score; 0 or below where it is met, infinite where NaN."""
        missed = self.limit - values if self.at_least else values - self.limit
        return np.where(np.isnan(missed), np.inf, missed)

    def met(self, one: Estimate, surely: bool = False) -> bool:
        """By the value, or surely: by the pessimistic end of its interval."""
        end = (one.low if self.at_least else one.high) if surely else one.value
        return bool(self.violation(np.array(end)) <= 0)

    def __str__(self) -> str:
        return f"{self.score} {'>=' if self.at_least else '<='} {self.limit:.12g}"


@dataclass(frozen=True)
class Want:
    """One objective or several, for points that meet the constraints."""

    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, text: str, known: Collection[str]) -> Self:
        """Read "maximise NAME, minimise NAME, NAME >= NUMBER, NAME <= NUMBER", in any order, commas between.

        known: the names of the scores there are. Raises ValueError.
        """
        objectives: list[Objective] = []
        constraints: list[Constraint] = []
        for clause in filter(None, (part.strip() for part in re.split("[,;]", text))):
            one = _clause(clause, known)
            if isinstance(one, Constraint):
                constraints.append(one)
            elif one.score in (other.score for other in objectives):
                raise ValueError(f"{one.score!r} is an objective twice: expected each score once")
            else:
                objectives.append(one)
        if not objectives:
            raise ValueError(f"{text!r} names nothing to improve: expected at least one 'maximise NAME'")
        return cls(tuple(objectives), tuple(constraints))

    @property
    def scores(self) -> tuple[str, ...]:
        """The names of the scores that decide, each once."""
        return _names(self.objectives, self.constraints)

    def meets(self, scores: Scores, surely: bool = False) -> bool:
        return all(one.met(scores[one.score], surely) for one in self.constraints)

    def __str__(self) -> str:
        return ", ".join(map(str, (*self.objectives, *self.constraints)))


def _names(objectives: Sequence[Objective], constraints: Sequence[Constraint]) -> tuple[str, ...]:
    names = [one.score for one in objectives] + [one.score for one in constraints]
    return tuple(dict.fromkeys(names))


def _clause(clause: str, known: Collection[str]) -> Objective | Constraint:
    if found := re.fullmatch(r"(maximi[sz]e|minimi[sz]e)\s+(\S+)", clause, re.IGNORECASE):
        objective = Objective(_known(found[2], known), found[1].lower().startswith("max"))
        if objective.maximise and objective._coin_toss:
            raise ValueError(f"{clause!r}: 0.5 is best, where nothing can be told: expected 'minimise {found[2]}'")
        return objective
    if found := re.fullmatch(r"([^\s<>=≤≥]+)\s*(>=|<=|≥|≤)\s*(\S+)", clause):
        try:
            limit = float(found[3])
        except ValueError:
            limit = np.nan
        if not isfinite(limit):
            raise ValueError(f"{clause!r}: expected a number after {found[2]}, as in 0.9; found {found[3]!r}")
        return Constraint(_known(found[1], known), found[2] in (">=", "≥"), limit)
    raise ValueError(f"{clause!r}: expected 'maximise NAME', 'minimise NAME', 'NAME >= NUMBER' or 'NAME <= NUMBER'")


def _known(name: str, known: Collection[str]) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise ValueError(f"there is no score called {name!r}; {hint}")


def front(values: Sequence[Values], objectives: Sequence[Objective]) -> list[int]:
    """Indices of the points that no other dominates; of equal points all."""
    if not values:
        return []
    return [int(i) for i in np.flatnonzero(_undominated(_goods(values, objectives)))]


def _goods(values: Sequence[Values], objectives: Sequence[Objective]) -> Array:
    """(N, K), higher is better."""
    return np.column_stack([one.good(np.array([point[one.score] for point in values])) for one in objectives])


def _undominated(goods: Array) -> Mask:
    """(N, K) -> (N,)."""
    no_worse = (goods[:, None] >= goods[None]).all(axis=-1)  # (N, N): row against column
    better = (goods[:, None] > goods[None]).any(axis=-1)
    out = (no_worse & better).any(axis=0) | np.isnan(goods).any(axis=1)
    return np.asarray(~out, dtype=np.bool_)


def eligible(values: Sequence[Values], constraints: Sequence[Constraint]) -> Mask:
    """(N,) which of the points meet the constraints by value; all of them where none does."""
    met = np.ones(len(values), np.bool_)
    for one in constraints:
        met &= one.violation(np.array([point[one.score] for point in values])) <= 0
    return _any_or_all(met)


def _any_or_all(met: Mask) -> Mask:
    return met if met.any() else np.ones(len(met), np.bool_)


def front_shares(
    points: Sequence[Scores], objectives: Sequence[Objective], constraints: Sequence[Constraint] = ()
) -> list[float]:
    """For each point, the share of resamples in which it is on the front of those that then meet the constraints.

    Resamples are those of the estimates, paired over the points. An estimate without, or with another number of them
    than the others, gets normal ones with the spread of its interval, and with no interval does not move.
    """
    if not points:
        return []
    names = _names(objectives, constraints)
    draws = {name: _draws([point[name] for point in points], seed) for seed, name in enumerate(names)}
    count = max(len(rows) for rows in draws.values())
    on_front = np.zeros(len(points))
    for i in range(count):
        drawn = {name: rows[i % len(rows)] for name, rows in draws.items()}
        goods = np.column_stack([one.good(drawn[one.score]) for one in objectives])
        met = np.ones(len(points), np.bool_)
        for one in constraints:
            met &= one.violation(drawn[one.score]) <= 0
        on_front += _undominated(np.where(_any_or_all(met)[:, None], goods, np.nan))
    return [float(share) for share in on_front / count]


def _draws(estimates: Sequence[Estimate], seed: int) -> Array:
    """(R, N), a column an estimate."""
    sizes = Counter(len(one.draws) for one in estimates if one.draws is not None)
    size = sizes.most_common(1)[0][0] if sizes else NORMAL_DRAWS
    columns = []
    for i, one in enumerate(estimates):
        if one.draws is not None and len(one.draws) == size:
            columns.append(one.draws)
        else:
            spread = 0.0 if isnan(one.low) or isnan(one.high) else (one.high - one.low) / (2 * Z95)
            columns.append(one.value + spread * np.random.default_rng([seed, i]).standard_normal(size))
    return np.column_stack(columns)


def dominates_surely(mine: Scores, other: Scores, objectives: Sequence[Objective]) -> bool:
    """Whether mine is better in every objective by more than the 95% interval of the paired difference."""
    return all(one.difference(mine, other).low > 0 for one in objectives)


def knee(values: Sequence[Values], objectives: Sequence[Objective]) -> int:
    """The point of the front where to gain a little in one objective costs much in another (after Das 1999).

    Each objective is scaled to [0, 1] over the front. The knee is the point furthest, on the better side, from the
    hyperplane through the extremes, which are the best points of each objective; compare the knees of Branke et al.
    2004. Where extremes coincide, or their plane does not face all objectives, the sum of the scaled objectives
    decides. A front that bends inwards has no knee: there the point is taken whose worst scaled objective is best, as
    an extreme would give all of one objective for a little of another. Among equals (both of two points are extremes)
    it is the point that is best in the first objective.
    Raises ValueError where no point has all objectives.
    """
    indices = front(values, objectives)
    if not indices:
        raise ValueError(f"none of {len(values)} points has a value of {_and(one.score for one in objectives)}")
    goods = _goods([values[i] for i in indices], objectives)
    low, wide = goods.min(axis=0), np.ptp(goods, axis=0)
    scaled = (goods - low)[:, wide > 0] / wide[wide > 0]  # (F, K): an objective in which all are alike says nothing
    apart = np.round(scaled @ _normal(scaled), 9)
    ends = _extremes(scaled)
    inwards = bool(ends) and bool((apart[ends] == 1).all()) and apart.max() == 1  # the extremes lie on their plane
    beyond = scaled.min(axis=1) if inwards else apart
    best = max(range(len(indices)), key=lambda row: (beyond[row], apart[row], *goods[row]))
    return indices[best]


def _extremes(scaled: Array) -> list[int]:
    """The best row of each objective: of several, the one with most of the others."""
    rows, dimensions = range(len(scaled)), range(scaled.shape[1])
    return [max(rows, key=lambda row: (scaled[row, k], scaled[row].sum())) for k in dimensions]


def _normal(scaled: Array) -> Array:
    """(K,) the vector across the hyperplane through the extremes (F, K), towards what is better."""
    dimensions = scaled.shape[1]
    extremes = _extremes(scaled)
    if len(set(extremes)) == dimensions > 1 and np.linalg.matrix_rank(scaled[extremes]) == dimensions:
        normal = np.asarray(np.linalg.solve(scaled[extremes], np.ones(dimensions)), dtype=np.float64)
        if (normal > 0).all():
            return normal
    return np.ones(dimensions)


@dataclass(frozen=True)
class Recommendation:
    """A point by its index, how well it meets the constraints, and both reasons in words."""

    index: int
    meets: Literal["surely", "by value", "no"]
    why: str


def recommended(points: Sequence[Scores], want: Want) -> Recommendation:
    """Among the points that meet the constraints the best of one objective, or the knee of several.

    They meet them by the pessimistic ends of their intervals, if any point does, or else by their values; if none does,
    the point that misses them least (the sum of what is missed, each relative to its limit) is taken.
    Raises ValueError where no point has all objectives.
    """
    values = [{name: point[name].value for name in want.scores} for point in points]
    usable = [i for i, point in enumerate(values) if not any(isnan(point[one.score]) for one in want.objectives)]
    if not usable:
        raise ValueError(f"none of {len(values)} points has a value of {_and(one.score for one in want.objectives)}")
    surely = [i for i in usable if want.meets(points[i], surely=True)]
    by_value = [i for i in usable if want.meets(points[i])]
    asked = _and(map(str, want.constraints))
    if not by_value:
        index = min(usable, key=lambda i: _missed(values[i], want))
        return Recommendation(index, "no", f"no point meets {asked}; it misses that least")
    among = surely or by_value
    index = among[knee([values[i] for i in among], want.objectives)]
    best = f"of {len(among)} such points it {_best(want.objectives)}"
    if not want.constraints:
        return Recommendation(index, "surely", best.replace(" such", ""))
    if surely:
        return Recommendation(index, "surely", f"it meets {asked} even at the pessimistic end of its interval; {best}")
    return Recommendation(index, "by value", f"it meets {asked} by its value (no point does by its interval); {best}")


def _best(objectives: Sequence[Objective]) -> str:
    if len(objectives) > 1:
        return f"is the knee of {_and(one.score for one in objectives)}"
    return f"has the {'highest' if objectives[0].maximise else 'lowest'} {objectives[0].score}"


def _and(words: Iterable[str]) -> str:
    return " and ".join(words)


def _missed(values: Values, want: Want) -> float:
    """The sum of what is missed of the constraints, each relative to its limit."""
    missed = [(one, float(one.violation(np.array(values[one.score])))) for one in want.constraints]
    return sum(max(0.0, by) / (abs(one.limit) or 1.0) for one, by in missed)
