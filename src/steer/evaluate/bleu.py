"""Has each text been said by the others? Self-BLEU (Zhu et al. 2018, arXiv 1802.01886): BLEU of each text against all
others as references, in [0, 1], lower is more diverse.

BLEU-4 of one sentence, as sacrebleu's with tokenize="none", smooth_method="exp" and effective_order=True: n-grams are
matched up to the most that any one reference has, the k-th order without a match counts 2^−k matches (Chen and Cherry
2014, method 3), orders that the text is too short for are left out, and a text shorter than the reference of the
closest length pays the brevity penalty (Papineni et al. 2002). It grows with the number of texts: compare only
corpora of as many.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.diversity import Integers, Ngrams, Tokens, orders

ORDER = 4


def self_bleu(token_lists: Iterable[Sequence[str]]) -> NDArray[np.float64]:
    """BLEU-4 of each of N texts against the N − 1 others, (N,), in [0, 1].

    NaN for a text without tokens, of which there is nothing to match (sacrebleu says 0), and where there is no other.
    """
    tokens = Tokens.of(token_lists)
    if tokens.texts < 2:
        return np.full(tokens.texts, np.nan)
    parts = list(islice(orders(tokens), ORDER))
    matches = np.array([_matches(part) for part in parts])  # (ORDER, N)
    totals = np.array([part.totals for part in parts])
    lengths = totals[0]
    # Where an order has no n-gram at all, its logarithm is taken of anything and left out.
    misses = np.cumsum(matches == 0, axis=0)
    logs = np.log(np.where(matches > 0, matches, 0.5**misses) / np.maximum(totals, 1))
    mean = np.where(totals > 0, logs, 0).sum(axis=0) / np.maximum((totals > 0).sum(axis=0), 1)
    brevity = np.minimum(0, 1 - _closest_other(lengths) / np.maximum(lengths, 1))
    scores = np.where(matches[0] > 0, np.exp(brevity + mean), 0)
    return np.where(lengths > 0, scores, np.nan)


def _matches(part: Ngrams) -> Integers:
    """How many n-grams of each text are matched, each up to the most that any other text has of it, (N,)."""
    ids, owners, counts = part.table
    # By n-gram, then by count: the last entry of each n-gram holds its largest count, the one before it the second.
    order = np.lexsort((counts, ids))
    ids, owners, counts = ids[order], owners[order], counts[order]
    last = np.flatnonzero(np.append(ids[1:] != ids[:-1], True)[: len(ids)])
    most = counts[last][ids]
    second = np.where((last > 0) & (ids[last - 1] == ids[last]), counts[last - 1], 0)
    # The text with the largest count is matched against the second: it is no reference of its own.
    most[last] = second
    return np.bincount(owners, weights=np.minimum(counts, most), minlength=part.texts).astype(np.int64)


def _closest_other(lengths: Integers) -> NDArray[np.float64]:
    """The length closest to each among those of the other texts, the shorter of two as close, (N,)."""
    values, position, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    bounded = np.concatenate([[-np.inf], values, [np.inf]])
    below, above = bounded[:-2], bounded[2:]
    nearest = np.where(values - below <= above - values, below, above)
    return np.asarray(np.where(counts > 1, values, nearest)[position])
