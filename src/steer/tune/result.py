"""What is written to store/tune.json: strict JSON, so None where a number is undefined."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Self

from pydantic import TypeAdapter

from steer.evaluate.intervals import Estimate
from steer.tune.plan import State

Number = float | None  # None: undefined


@dataclass(frozen=True)
class Score:
    value: Number
    low: Number
    high: Number


def scores_of(scores: Mapping[str, Estimate]) -> dict[str, Score]:
    return {name: Score(finite(one.value), finite(one.low), finite(one.high)) for name, one in scores.items()}


def finite(x: float) -> Number:
    return float(x) if isfinite(x) else None


@dataclass(frozen=True)
class Row:
    """A measured point. number: that of the search's trial; of rivals, their place in the list.

    on_front: whether no point dominates it, of those that meet the constraints (of all, where none does); front_share:
    in which share of resamples. Of the search: among its complete trials; of what is confirmed and of rivals: among
    both together.
    """

    number: int
    point: dict[str, float]
    state: State
    reason: str | None
    samples: int
    seconds: float
    scores: dict[str, Score]
    on_front: bool
    front_share: float


@dataclass(frozen=True)
class Choice:
    """A point that was chosen, and its scores by stage; None where it was not measured or could not be.

    search: with the search's samples, by which it was found, and so flattered. validation: with fresh samples, by which
    it was chosen. test: looked at once.
    """

    point: dict[str, float]
    number: int | None
    why: str
    search: dict[str, Score] | None
    validation: dict[str, Score] | None
    test: dict[str, Score] | None


@dataclass(frozen=True)
class Gain:
    """By how much the recommended point is better than another on the test split, with a 95% interval; more is better.

    adjusted: p, corrected for all gains together (Holm 1979).
    """

    over: str
    score: str
    value: Number
    low: Number
    high: Number
    p: Number
    adjusted: Number


@dataclass(frozen=True)
class Domination:
    """A steered point that is surely better than a plain one in all objectives; p is corrected for all pairs."""

    number: int
    rival: int
    p: float


@dataclass(frozen=True)
class AgainstPlain:
    """Does steering give what no temperature gives? On fresh samples, among points that meet the constraints.

    undominated: whether a steered point is on the front of all; numbers: which (of trials).
    surely_better: whether one surely dominates a plain point; dominations: which, of so many `pairs`.
    """

    undominated: bool
    numbers: list[int]
    surely_better: bool
    dominations: list[Domination]
    pairs: int


@dataclass(frozen=True)
class Conclusion:
    """All of tune.json. looks: how many questions have looked at the test split in this store, this one included."""

    plan: dict[str, Any]
    want: str
    objectives: list[dict[str, Any]]
    constraints: list[dict[str, Any]]
    dials: dict[str, dict[str, Any]]
    trials: list[Row]
    confirmed: list[Row]
    rivals: list[Row]
    against_plain: AgainstPlain
    knee: int
    recommended: Choice
    default: Choice
    plain: Choice
    gains: list[Gain]
    looks: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Self:
        return TypeAdapter(cls).validate_python(tree)
