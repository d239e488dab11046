"""What is searched for and how, what measures a point, and what a measured point is."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

from steer.evaluate.intervals import Estimate
from steer.pareto import Constraint, Objective, Want
from steer.tune.dials import (
    ALWAYS,
    DIALS,
    ETA,
    GAMMA,
    TEMPERATURE,
    TOP_P,
    Point,
    canonical,
    check,
    digest,
    plain,
    spread,
)

Part = Literal["validation", "test"]
State = Literal["complete", "stopped", "failed"]

WANT = Want(
    (Objective("ngram_diversity", True), Objective("adversarial_auroc", False)),
    (Constraint("calibrated_authenticity", True, 0.9),),
)
TEMPERATURES = tuple(DIALS[TEMPERATURE].value(i) for i in range(DIALS[TEMPERATURE].count))


class Bench(Protocol):
    """What draws texts at a point and measures them."""

    def measure(self, point: Point, *, samples: int, seed: int, part: Part) -> Mapping[str, Estimate]:
        """Score name -> estimate, a function of its arguments, with draws that are paired over points.

        Raises ValueError for a point that gives nothing to measure.
        """


@dataclass(frozen=True)
class Trial:
    """A point that was measured; `number` counts from 0 in the order in which they finished.

    scores: at the number of `samples`. first: at the fewer samples by which it could have been stopped.
    reason: why it was stopped or has failed.
    """

    number: int
    point: Point
    state: State
    samples: int
    scores: Mapping[str, Estimate]
    seconds: float
    reason: str | None = None
    first: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that decides a search and its conclusion; the same plan on the same run has the same answer.

    samples: texts per point. first: so few are measured before that, and a point that is surely worse than another by
        then is stopped; 0: none is. trials: points in all, those stopped and failed among them.
    dials: what is searched; defaults: the run's own settings of dials, where they are not `Dial.default`.
    spread: points that fill the ranges evenly before the search is guided by what was found.
    budget: seconds after which no search begins another trial; None: no limit.
    temperatures, top_ps: of the plain sampling that steering has to beat.
    confirm: how many points, at most, are measured again on fresh samples.
    about: what else decides the scores, such as the hash of the weights; another is another question.
    Raises ValueError.
    """

    want: Want = WANT
    seed: int = 0
    samples: int = 200
    first: int = 48
    trials: int = 40
    dials: tuple[str, ...] = (GAMMA, ETA, TOP_P, TEMPERATURE)
    defaults: Mapping[str, float] = field(default_factory=dict)
    spread: int = 8
    budget: float | None = None
    temperatures: tuple[float, ...] = TEMPERATURES
    top_ps: tuple[float, ...] = (0.9, 1.0)
    confirm: int = 8
    about: str = ""

    def __post_init__(self) -> None:
        check([*self.dials, *self.defaults])
        for name in ("samples", "trials", "confirm"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 1")

    @property
    def base(self) -> dict[str, float]:
        """The point of the run's own settings."""
        names = {*ALWAYS, *self.dials, *self.defaults}
        point = {name: float(self.defaults.get(name, dial.default)) for name, dial in DIALS.items() if name in names}
        return canonical(point, point)

    @property
    def starts(self) -> list[dict[str, float]]:
        """The first points: plain nucleus sampling, the run's own settings, and some that fill the ranges evenly."""
        filling = [{**self.base, **point} for point in spread(self.dials, self.spread, self.seed)]
        return [plain(self.base, 1.0, 0.9), *(canonical(point, self.base) for point in (self.base, *filling))]

    @property
    def plain_points(self) -> list[dict[str, float]]:
        return [plain(self.base, t, p) for p in self.top_ps for t in self.temperatures]

    @property
    def fresh_seed(self) -> int:
        """Of the samples that confirm what the search has found, lest a lucky draw be taken for a good point."""
        return self._derived(1)

    @property
    def test_seed(self) -> int:
        return self._derived(2)

    @property
    def name(self) -> str:
        """Of the search: the same for plans whose searches have the same trials, as far as both go."""
        free = ("trials", "budget", "temperatures", "top_ps", "confirm")
        return f"search {digest({key: value for key, value in self.to_json().items() if key not in free})}"

    def to_json(self) -> dict[str, Any]:
        made = {**asdict(self), "want": str(self.want), "defaults": self.base}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in made.items()}

    def _derived(self, stage: int) -> int:
        return int(np.random.SeedSequence([self.seed, stage]).generate_state(1)[0])
