"""Do annotators agree, beyond what chance would have them do? Each takes how often each item was called what.

    raw_agreement        sum_i sum_c n_ic (n_ic - 1) / sum_i n_i (n_i - 1), pairs of answers on one item that are alike;
                         range [0, 1], higher is more
    fleiss_kappa         (P - Pe) / (1 - Pe), P the mean over items of their agreeing pairs, Pe = sum_c (share of c)^2
                         (Fleiss 1971); 1 is full agreement, 0 is what chance would give
    krippendorff_alpha   1 - D_observed / D_expected for nominal values, missing ones allowed (Krippendorff 2011,
                         "Computing Krippendorff's Alpha-Reliability"); the same range

counts: (I, C) how many answers of category c item i was given. Two answers of one annotator on one item count as those
of two annotators: leave one out.
"""

from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.intervals import Estimate
from steer.study.score.rates import Answers

Counts = NDArray[np.float64]

ALONE = "no item has two answers"
ALIKE = "all answers are the same, so that chance alone would make them agree"


def counts_of(answers: Answers) -> NDArray[np.int64]:
    """(I, 3): on each item, in the order of their numbers, votes for B, ties and votes for A."""
    items = np.unique(answers.items, return_inverse=True)[1]
    columns = (2 * answers.values).astype(np.int64)
    rows = items.max() + 1 if len(items) else 0
    return np.bincount(3 * items + columns, minlength=3 * rows).astype(np.int64).reshape(-1, 3)


def raw_agreement(counts: ArrayLike) -> Estimate:
    table = _shared(counts)
    pairs = _pairs(table.sum(1)).sum()
    return Estimate(float(_pairs(table).sum() / pairs)) if pairs else Estimate(nan, reason=ALONE)


def fleiss_kappa(counts: ArrayLike) -> Estimate:
    """NaN also where items have different numbers of answers, for which it is not defined."""
    table = _table(counts)
    answers = table.sum(1)
    if not len(table) or answers.max() < 2:
        return Estimate(nan, reason=ALONE)
    if len(set(answers.tolist())) > 1:
        reason = f"items have {answers.min():g} to {answers.max():g} answers; Krippendorff's alpha allows for that"
        return Estimate(nan, reason=reason)
    observed = float((_pairs(table).sum(1) / _pairs(answers)).mean())
    expected = float(((table.sum(0) / table.sum()) ** 2).sum())
    return Estimate(nan, reason=ALIKE) if (table.sum(0) > 0).sum() < 2 else _beyond(observed, expected)


def krippendorff_alpha(counts: ArrayLike) -> Estimate:
    table = _shared(counts)
    if not len(table):
        return Estimate(nan, reason=ALONE)
    totals = table.sum(0)  # (C,)
    if (totals > 0).sum() < 2:
        return Estimate(nan, reason=ALIKE)
    observed = float((_pairs(table).sum(1) / (table.sum(1) - 1)).sum() / totals.sum())
    return _beyond(observed, float(_pairs(totals).sum() / _pairs(totals.sum())))


def _beyond(observed: float, expected: float) -> Estimate:
    return Estimate((observed - expected) / (1 - expected))


def _pairs(of: Counts) -> Counts:
    """Ordered pairs of two different answers among so many."""
    pairs: Counts = of * (of - 1)
    return pairs


def _table(counts: ArrayLike) -> Counts:
    table = np.asarray(counts, np.float64)
    if table.ndim != 2 or (table < 0).any():
        raise ValueError(f"counts are items by categories and none is negative; these are of shape {table.shape}")
    return table


def _shared(counts: ArrayLike) -> Counts:
    """Without items that have one answer or none: they say nothing of agreement."""
    table = _table(counts)
    several: Counts = table[table.sum(1) > 1]
    return several
