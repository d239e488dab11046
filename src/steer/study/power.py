"""How many annotators and pairs does a study need? Closed form, for the test of `score.bootstrap`.

With R annotators, I items and N votes, each item shown to as many annotators as any other,

    Var(rate) = annotator_sd^2 / R + item_sd^2 / I + (rate (1 - rate) - ties / 4 - annotator_sd^2 - item_sd^2) / N

and the power is that of Student's t, noncentral by (rate - 0.5) / sqrt(Var), with the degrees of freedom of
Satterthwaite (1946). More items make the last two terms small, and never the first: with few annotators who differ, no
number of items is enough. A pilot tells both standard deviations (`score.bootstrap.Preference`). With one vote on each
item the power is overstated by some points: the test cannot tell items from noise there, and errs on the safe side.
"""

from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nct, norm
from scipy.stats import t as student

from steer.evaluate.intervals import LEVEL

MOST = 10_000  # items or annotators; more are not looked at
WANTED = 0.8

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """Who votes, and what is expected of them.

    rate: at which A is preferred, ties counting half; in (0.5, 1), as the test is one-sided.
    annotators: how many there are, at least 2. per_item: how many of them see each item; all, if not given.
    ties: share of votes; in [0, 2 (1 - rate)].
    annotator_sd, item_sd: how far the rates of single annotators, and of single items, lie around the rate; standard
        deviations on the scale of the rate: with 0.1, two annotators of three are within 10 points of the mean.
    """

    rate: float
    annotators: int
    per_item: int | None = None
    ties: float = 0.0
    annotator_sd: float = 0.1
    item_sd: float = 0.15

    def __post_init__(self) -> None:
        if not 0.5 < self.rate < 1:
            raise ValueError(f"a rate of {self.rate}: expect one above 0.5 and below 1, or call A what is B")
        if self.annotators < 2 or not 1 <= self.shown <= self.annotators:
            raise ValueError(
                f"{self.annotators} annotators, {self.shown} of whom see each pair: expected two or more, of whom one "
                "to all see each"
            )
        if not 0 <= self.ties <= 2 * (1 - self.rate) + 1e-12:
            raise ValueError(
                f"a rate of {self.rate} leaves room for 0 to {2 * (1 - self.rate):.2f} ties, not {self.ties}: name "
                "fewer with --ties (0.1 where it is not given)"
            )
        if min(self.annotator_sd, self.item_sd) < 0 or self.noise < 0:
            raise ValueError(
                f"standard deviations {self.annotator_sd} and {self.item_sd}: none is negative, and their squares add "
                f"up to no more than the variance of a vote, {self.vote:.3f}: name smaller ones with "
                "--annotator-sd and --pair-sd (0.1 and 0.15 where they are not given)"
            )

    @property
    def shown(self) -> int:
        """Votes on each item."""
        return self.annotators if self.per_item is None else self.per_item

    @property
    def vote(self) -> float:
        """Variance of a single vote, rate (1 - rate) - ties / 4."""
        return self.rate * (1 - self.rate) - self.ties / 4

    @property
    def noise(self) -> float:
        """What of it is due to neither the annotator nor the item."""
        return self.vote - self.annotator_sd**2 - self.item_sd**2


@dataclass(frozen=True)
class Power:
    """Of a planned study. design_effect: Var(rate) over that of as many independent votes; effective: their number.

    power: the chance that the one-sided test at the level finds A preferred. df: degrees of freedom of the test.
    """

    items: int
    votes: int
    design_effect: float
    effective: float
    df: float
    power: float


@dataclass(frozen=True)
class Needed:
    """The least study for a wanted power.

    study: None where no number of items up to MOST is enough.
    annotators: the least number with which some number of items is; None where none up to MOST is.
    naive_votes, naive_items: what is found where all votes are taken for independent: too few.
    """

    study: Power | None
    annotators: int | None
    naive_votes: int
    naive_items: int


def power(design: Design, items: int, level: float = LEVEL) -> Power:
    """What a study of so many items, at least 2, would find; the test is one-sided, at 1 - level."""
    if items < 2:
        raise ValueError(f"{items} items: other items are spoken of from two on")
    variance, df = _spread(design, np.array([items], np.float64))
    votes = items * design.shown
    effect = float(variance[0]) * votes / design.vote
    return Power(items, votes, effect, votes / effect, float(df[0]), float(_power(design, variance, df, level)[0]))


def needed(design: Design, wanted: float = WANTED, level: float = LEVEL) -> Needed:
    """The least number of items, and with them of votes, for a wanted power; see `Needed`."""
    if not 1 - level < wanted < 1:
        raise ValueError(f"a power of {wanted}: expect one above {1 - level:.2f}, which is chance, and below 1")
    items = _least_items(design, wanted, level)
    votes = _naive(design, wanted, level)
    return Needed(
        None if items is None else power(design, items, level),
        _least_annotators(design, wanted, level),
        votes,
        ceil(votes / design.shown),
    )


def more_annotators(design: Design, wanted: float = WANTED, level: float = LEVEL) -> list[dict[str, int]]:
    """What a half more, and twice as many annotators would need: annotators, items, votes; where that is enough."""
    made = []
    for annotators in (ceil(1.5 * design.annotators), 2 * design.annotators):
        more = replace(design, annotators=annotators)
        items = _least_items(more, wanted, level)
        if items is not None:
            made.append({"annotators": annotators, "items": items, "votes": items * more.shown})
    return made


def _least_items(design: Design, wanted: float, level: float) -> int | None:
    items = np.arange(2, MOST + 1, dtype=np.float64)
    # Looked at from the first on, and not by halves: with few annotators power need not grow with every item.
    for some in np.array_split(items, 100):
        enough = _power(design, *_spread(design, some), level) >= wanted
        if enough.any():
            return int(some[enough.argmax()])
    return None


def _least_annotators(design: Design, wanted: float, level: float) -> int | None:
    """By bisection, MOST items each; those who see an item stay as they are, or all do."""
    low, high = max(2, design.per_item or 2) - 1, MOST
    items = np.array([MOST], np.float64)

    def enough(annotators: int) -> bool:
        of = replace(design, annotators=annotators)
        return bool(_power(of, *_spread(of, items), level)[0] >= wanted)

    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _naive(design: Design, wanted: float, level: float) -> int:
    """Votes for the z-test: ((z_level / 2 + z_power sqrt(Var of a vote)) / (rate - 0.5))^2."""
    reach = float(norm.ppf(level)) / 2 + float(norm.ppf(wanted)) * sqrt(design.vote)
    return max(1, ceil((reach / (design.rate - 0.5)) ** 2))


def _spread(design: Design, items: Numbers) -> tuple[Numbers, Numbers]:
    """(M,) numbers of items -> (M,) variances and degrees of freedom, those `score.bootstrap` would find on average."""
    votes = items * design.shown
    single = design.vote / votes
    annotators = design.annotator_sd**2 * (1 / design.annotators - 1 / votes) + single
    per_item = design.item_sd**2 * (1 / items - 1 / votes) + single
    variance = annotators + per_item - single
    noise = annotators**2 / (design.annotators - 1) + per_item**2 / (items - 1) + single**2 / (votes - 1)
    return variance, variance**2 / noise


def _power(design: Design, variance: Numbers, df: Numbers, level: float) -> Numbers:
    # The test takes the variance that there would be at a rate of 0.5, which is larger.
    critical = student.ppf(level, df) * sqrt(0.25 / (design.rate * (1 - design.rate)))
    found: Numbers = nct.sf(critical, df, (design.rate - 0.5) / np.sqrt(variance))
    return found
