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
class Beyond:
    """By how much a steered point is better in `score`, the second objective, than plain sampling of the same first.

    over: the two neighbours on the plain front between which plain sampling was interpolated, linearly; twice the plain
    point that is best in the first objective, where there is but one, or where this point is better in it.
    adjusted: p, corrected for all that are tested (Holm 1979).
    """

    number: int
    over: tuple[int, int]
    score: str
    value: Number
    low: Number
    high: Number
    p: Number
    adjusted: Number


@dataclass(frozen=True)
class AgainstPlain:
    """Does steering give what no temperature gives? On fresh samples, among points that meet the constraints.

    A steered point that no plain one dominates may only lie between two of them on their own curve, so it is held
    against that curve. beyond: the numbers (of trials) of those that are better than it by more than chance. outside:
    of those beside which no plain point stands.
    """

    tested: list[Beyond]
    beyond: list[int]
    outside: list[int]


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
