"""Is there anything new in the next text? Distinct n-grams (arXiv 2308.07645, table 1; Li et al. 2016).

    unique_ngram_ratio(n) = distinct / total word n-grams, over the whole corpus
    ngram_diversity       = product of the ratios of n = 2, 3, 4

Range (0, 1], higher is more diverse; gibberish is the most diverse of all, so read them beside fidelity, and against
the ceiling. The paper calls the ratio of n = 3 "normalised n-grams", prints 1 minus it, and reports the ratio. Both
fall as a corpus grows: compare only corpora of the same number of words (`truncate`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, prod

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.intervals import Estimate, subsample

ORDERS = (2, 3, 4)


def words(text: str) -> list[str]:
    """Lowercased, split at whitespace: the tokenisation of every score in this file."""
    return text.lower().split()


def unique_ngram_ratio(texts: Sequence[str], n: int) -> float:
    """Distinct over total word n-grams of the corpus, in (0, 1]; NaN where no text has n words."""
    return Ngrams.of(texts, n).ratio()


def ngram_diversity(texts: Sequence[str]) -> float:
    """Product of the unique ratios of n = 2, 3, 4, in (0, 1]; NaN where no text has 4 words."""
    return prod(unique_ngram_ratio(texts, n) for n in ORDERS)


def truncate(texts: Sequence[str], count: int) -> list[str]:
    """The first `count` words of the corpus, still divided into texts; the last text may be cut."""
    kept = []
    for text in texts:
        if count <= 0:
            break
        # Splitting does not depend on case: the words that are counted here are those of `words`.
        kept.append(" ".join(text.split()[:count]))
        count -= len(text.split())
    return kept


@dataclass(frozen=True)
class Ngrams:
    """The G n-grams of a corpus as numbers, so that parts of it are counted quickly; none crosses from text to text.

    ids: (G,) equal n-grams have equal numbers, from 0 on. owners: (G,) the text that each stands in, of `texts` texts.
    """

    n: int
    texts: int
    ids: NDArray[np.int64]
    owners: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str], n: int) -> "Ngrams":
        known: dict[tuple[str, ...], int] = {}
        ids, owners = [], []
        for owner, text in enumerate(texts):
            tokens = words(text)
            for gram in zip(*(tokens[start:] for start in range(n)), strict=False):
                ids.append(known.setdefault(gram, len(known)))
                owners.append(owner)
        return cls(n, len(texts), np.array(ids, dtype=np.int64), np.array(owners, dtype=np.int64))

    def ratio(self, chosen: NDArray[np.bool_] | None = None) -> float:
        """Distinct over total n-grams of the chosen texts (N,), or of all."""
        ids = self.ids if chosen is None else self.ids[chosen[self.owners]]
        return int(np.count_nonzero(np.bincount(ids))) / len(ids) if len(ids) else nan


def estimate(ngrams: Sequence[Ngrams], seed: int = 0) -> Estimate:
    """The product of the ratios of one corpus, with the interval of half samples of its texts."""
    value = prod(part.ratio() for part in ngrams)
    if isnan(value):
        return Estimate(nan, reason=f"no text of {max(part.n for part in ngrams)} words or more")
    return subsample(
        value, lambda chosen: prod(part.ratio(chosen) for part in ngrams), ngrams[0].texts, (0.0, 1.0), seed=seed
    )
