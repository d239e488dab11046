"""How surely is A preferred? An interval for other annotators and other items than those of the study.

The votes of one annotator go together, and so do those on one item. A bootstrap that draws both anew, the pigeonhole
bootstrap (McCarthy 1969; Owen 2007), counts the noise of single votes three times, and with few annotators knows too
little of how they differ: its percentiles are too wide with eight annotators who agree, and too narrow with five who do
not. So the three bootstraps are taken one by one, of annotators, of items and of votes. To first order each has a
variance that can be written down, so that nothing needs to be drawn and there is no seed:

    V = V_annotators + V_items - V_votes                           (Cameron, Gelbach and Miller 2011)

V goes into a Wilson interval on the effective number of votes, rate (1 - rate) / V, with Student's t in place of the
normal distribution. Its degrees of freedom are those of Satterthwaite (1946), with how unevenly the votes are spread
over annotators and items taken into account (Bell and McCaffrey 2002).

`benchmarks/study_coverage.py` measures how often it misses. Where neither annotators nor items differ, or where few
annotators see an item, it misses less often than it says: that they do not differ is what a few votes cannot show.
"""

from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from steer.evaluate.intervals import LEVEL, Estimate
from steer.study.score.rates import Answers, Ids, score_interval, win_rate

SINGLE = "no interval: it takes at least two annotators or two items"


@dataclass(frozen=True)
class Part:
    """What annotators, or items, add to the noise of a value; NaN where there is but one of them.

    variance: of the value, had only they been drawn anew; df: its degrees of freedom.
    sd: how far they differ in the value, in its units, apart from the noise of single votes (method of moments).
    """

    variance: float = nan
    df: float = nan
    sd: float = nan


@dataclass(frozen=True)
class Spread:
    """The variance of a value, its degrees of freedom, at least 1, and what it is made of; NaN if of one vote."""

    variance: float
    df: float
    annotators: Part
    items: Part


@dataclass(frozen=True)
class Preference:
    """The rate at which A is preferred, ties counting half, and its interval for those that `holds_for` names.

    rate: p is one-sided, of the null that the rate is 0.5 or less; "p < .05" says what "0.5 is below the lower end of
        the 90% interval" says.
    holds_for: "annotators" and "items", where others of these would have led to such an interval. One annotator says
        nothing of other annotators, and one item nothing of other items; empty where there is no interval.
    effective: as many independent votes would say as much; design_effect: votes / effective. Both are NaN where all
        votes are alike, as nothing is seen there of how they go together.
    """

    rate: Estimate
    votes: int
    holds_for: tuple[str, ...] = ()
    design_effect: float = nan
    df: float = nan
    annotator_sd: float = nan
    item_sd: float = nan

    @property
    def effective(self) -> float:
        return self.votes / self.design_effect


def preference(answers: Answers, level: float = LEVEL) -> Preference:
    """The rate of preference with a two-sided interval at the level and a one-sided p; see the top of this file.

    Where all votes are alike every variance is 0. Then the interval is the one that as many votes would have as there
    are annotators, or items where these are fewer: as if each of them had voted once.
    """
    rate, votes = win_rate(answers), len(answers)
    if not votes:
        return Preference(Estimate(nan, reason="there are no votes"), 0)
    counts = {"annotators": len(np.unique(answers.annotators)), "items": len(np.unique(answers.items))}
    holds_for = tuple(name for name, count in counts.items() if count > 1)
    if not holds_for:
        return Preference(Estimate(rate, reason=SINGLE), votes)
    influence = (answers.values - rate) / votes
    if not influence.any():
        fewest = min(counts[name] for name in holds_for)
        return Preference(_estimate(rate, fewest, fewest - 1, level), votes, holds_for, df=fewest - 1)
    made = spread(influence, answers.annotators, answers.items)
    return Preference(
        _estimate(rate, rate * (1 - rate) / made.variance, made.df, level),
        votes,
        holds_for,
        made.variance / float(influence @ influence),
        made.df,
        made.annotators.sd,
        made.items.sd,
    )


def _estimate(rate: float, n: float, df: float, level: float) -> Estimate:
    low, high = score_interval(rate, n, float(student.ppf((1 + level) / 2, df)))
    return Estimate(rate, low, high, p=float(student.sf((rate - 0.5) / sqrt(0.25 / n), df)))


def spread(influence: NDArray[np.float64], annotators: Ids, items: Ids, least: float = 0.0) -> Spread:
    """How far a value varies over annotators and items, from what each vote adds to it.

    influence: (N,) how far each vote moves the value; for a mean, (vote - mean) / N.
    annotators, items: (N,) whose vote it is, and on what.
    least: the variance is taken to be no less than this, nor than that of independent votes.
    """
    # Votes of one annotator on one item, if there are several, count as one.
    cells = np.unique(np.stack([annotators, items]), axis=1, return_inverse=True)[1].reshape(-1)
    sums = np.bincount(cells, influence)
    votes = float(sums @ sums)
    both = _part(influence, annotators, votes, len(sums)), _part(influence, items, votes, len(sums))
    known = [part for part in both if not isnan(part.variance)]
    if not known:
        return Spread(nan, nan, *both)
    # The noise of single votes is in both parts: once is enough.
    twice = votes if len(known) == 2 else 0.0
    variance = max(sum(part.variance for part in known) - twice, votes, least)
    noise = sum(part.variance**2 / part.df for part in known) + twice**2 / (len(sums) - 1)
    return Spread(variance, max(1.0, variance**2 / noise) if noise else 1.0, *both)


def _part(influence: NDArray[np.float64], of: Ids, votes: float, cells: int) -> Part:
    index, sizes = np.unique(of, return_inverse=True, return_counts=True)[1:]
    if len(sizes) < 2:
        return Part()
    correction, df = few(sizes)
    variance = correction * float((np.bincount(index, influence) ** 2).sum())
    excess = float((sizes**2).sum()) / len(of) ** 2 - 1 / cells
    # With one vote each, what annotators differ by cannot be told from noise.
    sd = sqrt(max(0.0, variance - votes) / excess) if excess > 1e-12 else nan
    return Part(variance, df, sd)


def few(sizes: NDArray[np.int64]) -> tuple[float, float]:
    """How far the bootstrap of clusters with so many votes each, (C,) with C > 1, falls short, and how sure it is.

    The correction is C / (C - 1), and the degrees of freedom C - 1, where all are of one size. With shares w of the
    votes, and M = (I - 1w')' diag(w^2) (I - 1w'), they are sum(w^2) / tr M and (tr M)^2 / tr M^2: those of a quadratic
    form in effects that are independent and of one variance (Bell and McCaffrey 2002).
    """
    share = sizes / sizes.sum()
    two, three, four, five = (float((share**power).sum()) for power in (2, 3, 4, 5))
    trace = two - 2 * three + two**2
    trace_of_square = four - 4 * five + 2 * three**2 + 4 * two * four - 4 * two**2 * three + two**4
    return two / trace, trace**2 / trace_of_square


def interval(value: float, variance: float, df: float, level: float = LEVEL) -> Estimate:
    """value -+ t sqrt(variance), with the one-sided p of the null that the value is 0 or less; NaN if that is NaN."""
    if isnan(variance):
        return Estimate(value, reason=SINGLE)
    half = float(student.ppf((1 + level) / 2, df)) * sqrt(variance)
    return Estimate(value, value - half, value + half, p=float(student.sf(value / sqrt(variance), df)))
