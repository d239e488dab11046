"""Is there anything new in the next text? Distinct n-grams (arXiv 2308.07645, table 1; Li et al. 2016).

    unique_ngram_ratio(n)    = distinct / total n-grams, over the whole corpus; `text_ratio`: of each text, averaged
    repeated_ngram_ratio(n)  = 1 − unique_ngram_ratio(n)
    ngram_diversity          = product of the unique ratios of n = 2, 3, 4
    simctg_diversity         = the same product, of n-grams that are distinct within their text (arXiv 2202.06417)
    self_repetition          = mean log(1 + other texts that hold the text's 4-grams) (Salkar et al. 2022)
    compression_ratio        = bytes / bytes compressed (arXiv 2403.00553)
    vendi                    = effective number of different texts among embeddings (Friedman and Dieng 2023)

Ratios and diversities lie in (0, 1], higher is more diverse; the repeated ratio, self-repetition and compression rise
from 0 (compression from about 1) as diversity falls. Gibberish is the most diverse of all, so read them beside
fidelity, and against the ceiling. The paper calls the ratio of n = 3 "normalised n-grams", prints 1 minus it, and
reports the ratio. What is counted over the whole corpus worsens as the corpus grows: compare only corpora of the same
number of tokens (`Tokens.truncate`).
"""

import gzip
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from math import nan, prod

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.embed import Embeddings
from steer.evaluate.tokens import whitespace

ORDERS = (2, 3, 4)
words = whitespace  # what the paper counts

Mask = NDArray[np.bool_]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Tokens:
    """The T tokens of a corpus as numbers.

    ids: (T,) equal tokens have equal numbers, from 0 on. owners: (T,) the text that each stands in, ascending, of
    `texts` texts.
    """

    ids: Integers
    owners: Integers
    texts: int

    @classmethod
    def of(cls, token_lists: Iterable[Sequence[str]]) -> "Tokens":
        """The tokens of each text. Given an iterator, no more than one text's tokens are held as strings."""
        known: defaultdict[str, int] = defaultdict(lambda: len(known))
        ids, lengths = array("q"), []
        for tokens in token_lists:
            ids.extend(map(known.__getitem__, tokens))
            lengths.append(len(tokens))
        owners = np.repeat(np.arange(len(lengths)), np.array(lengths, dtype=np.int64))
        return cls(np.array(ids, dtype=np.int64), owners, len(lengths))

    def truncate(self, count: int) -> "Tokens":
        """The first `count` tokens, still divided into texts: the last may be cut, those after it are gone."""
        if count >= len(self.ids):
            return self
        kept = max(count, 0)
        return Tokens(self.ids[:kept], self.owners[:kept], int(self.owners[kept - 1]) + 1 if kept else 0)


@dataclass(frozen=True)
class Ngrams:
    """The G n-grams of a corpus as numbers, so that parts of it are counted quickly; none crosses from text to text.

    ids: (G,) equal n-grams have equal numbers, from 0 on. owners: (G,) the text that each stands in, ascending, of
    `texts` texts. Where a method takes `chosen` (N,), it counts these texts alone, as if the corpus held no others.
    """

    n: int
    texts: int
    ids: Integers
    owners: Integers

    def longer(self) -> "Ngrams":
        """The (n + 1)-grams: two n-grams that follow each other in a text are one."""
        inside = self.owners[1:] == self.owners[:-1]
        # Numbered by sorting the pairs, not by hashing them: equality is exact, and strings are not needed again.
        pairs = self.ids[:-1][inside]
        pairs *= self.ids.max(initial=0) + 1
        pairs += self.ids[1:][inside]
        ids = np.unique(pairs, return_inverse=True)[1]
        return Ngrams(self.n + 1, self.texts, ids, self.owners[1:][inside])

    @cached_property
    def table(self) -> tuple[Integers, Integers, Integers]:
        """Each n-gram once per text, P of them: ids (P,), owners (P,), and how often it stands in the text (P,)."""
        width = int(self.ids.max(initial=0)) + 1
        pairs, counts = np.unique(self.owners * width + self.ids, return_counts=True)
        return pairs % width, pairs // width, counts

    @cached_property
    def totals(self) -> Integers:
        """How many n-grams each text has, (N,)."""
        return np.bincount(self.owners, minlength=self.texts)

    @cached_property
    def distinct(self) -> Integers:
        """How many different n-grams each text has, (N,)."""
        return np.bincount(self.table[1], minlength=self.texts)

    def ratio(self, chosen: Mask | None = None) -> float:
        """Corpus scope: distinct over total n-grams, in (0, 1]; NaN where there is none."""
        ids = self.ids if chosen is None else self.ids[chosen[self.owners]]
        return int(np.count_nonzero(np.bincount(ids))) / len(ids) if len(ids) else nan

    def repeated_ratio(self, chosen: Mask | None = None) -> float:
        """Share of the corpus's n-grams that stood there before, in [0, 1); NaN where there is none."""
        return 1 - self.ratio(chosen)

    def text_ratio(self, chosen: Mask | None = None) -> float:
        """Text scope: the ratio of each text, averaged over the texts that have one, in (0, 1]; else NaN."""
        counted = self.counted(chosen)
        return float(np.mean(self.distinct[counted] / self.totals[counted])) if counted.any() else nan

    def pooled_ratio(self, chosen: Mask | None = None) -> float:
        """Distinct n-grams of each text, summed, over all n-grams, in (0, 1]; NaN where there is none."""
        counted = self.counted(chosen)
        return float(self.distinct[counted].sum() / self.totals[counted].sum()) if counted.any() else nan

    def counted(self, chosen: Mask | None = None) -> Mask:
        """Which of the chosen texts have an n-gram, (N,)."""
        return self.totals > 0 if chosen is None else (self.totals > 0) & chosen


def orders(tokens: Tokens) -> Iterator[Ngrams]:
    """The n-grams of n = 1, 2, 3, ... without end, each made from those before: `islice(orders(tokens), 4)`."""
    part = Ngrams(1, tokens.texts, tokens.ids, tokens.owners)
    while True:
        yield part
        part = part.longer()


def ngrams(tokens: Tokens, n: int) -> Ngrams:
    """The n-grams of one order. Raises ValueError where n is below 1."""
    if n < 1:
        raise ValueError(f"n-grams of n = {n}; expected 1 or more")
    return next(islice(orders(tokens), n - 1, None))


def corpus_diversity(parts: Iterable[Ngrams], chosen: Mask | None = None) -> float:
    """Product of the corpus ratios of the orders given, in (0, 1]; NaN where one has no n-gram."""
    return prod(part.ratio(chosen) for part in parts)


def simctg_diversity(parts: Iterable[Ngrams], chosen: Mask | None = None) -> float:
    """Product over the orders given (n = 2, 3, 4) of 1 − rep-n, in (0, 1]; NaN where one has no n-gram.

    rep-n = 1 − distinct / total n-grams (Su et al. 2022, arXiv 2202.06417, section on evaluation), distinct within each
    text, then both summed over the texts: it sees a text that repeats itself, not texts that repeat each other. The
    authors' code (simctg/evaluation.py) leaves out the last n-gram of every text and rounds rep-n to hundredths of a
    percent; this is the definition of the paper.
    """
    return prod(part.pooled_ratio(chosen) for part in parts)


def self_repetition(part: Ngrams, chosen: Mask | None = None) -> float:
    """Mean over the texts of log(1 + Σ other texts that hold the n-gram, over the text's distinct n-grams), n = 4.

    Salkar et al. 2022, with the counts of Shaib et al. 2024 (arXiv 2403.00553). From 0, where no two texts share an
    n-gram, upwards; it grows with the texts' number and length. Averaged over the texts that have an n-gram, NaN if
    none: a text too short to repeat anything is no evidence. (The authors' code counts it as 0.)
    """
    ids, owners, _ = part.table
    if chosen is not None:
        kept = chosen[owners]
        ids, owners = ids[kept], owners[kept]
    others = np.bincount(owners, weights=np.bincount(ids)[ids] - 1, minlength=part.texts)
    counted = part.counted(chosen)
    return float(np.mean(np.log1p(others[counted]))) if counted.any() else nan


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of the texts, a newline between, over their bytes under gzip at level 9; lower is more diverse.

    Shaib et al. 2024 (arXiv 2403.00553). NaN for no bytes. gzip looks back 32 KiB, so it sees a repetition only at
    that distance: the order of the texts matters, and is to be drawn, or by hash, not by topic. Its header of about 20
    bytes lowers the ratio of tiny corpora.
    """
    plain = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(plain) / len(gzip.compress(plain, 9, mtime=0)) if plain else nan


def vendi(embeddings: Embeddings) -> float:
    """Effective number of different texts among N embeddings (N, D), in [1, N]; NaN without texts.

    Exponential of the entropy of the eigenvalues of the cosine matrix over N. Zero vectors are one text, which is like
    no other.
    """
    if not len(embeddings):
        return nan
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings[lengths[:, 0] > 0] / lengths[lengths[:, 0] > 0]
    # The cosine matrix (N, N) and the matrix of directions (D, D) have the same eigenvalues other than 0.
    small = unit @ unit.T if len(unit) < unit.shape[1] else unit.T @ unit
    # All zero vectors are one text, like no other.
    shares = np.append(np.linalg.eigvalsh(small) if len(unit) else [], len(embeddings) - len(unit)) / len(embeddings)
    shares = shares[shares > 1e-12]
    return float(np.clip(np.exp(-np.sum(shares * np.log(shares))), 1, len(embeddings)))


def unique_ngram_ratio(texts: Iterable[str], n: int, tokenise: Callable[[str], list[str]] = words) -> float:
    """Distinct over total n-grams of the corpus, in (0, 1]; NaN where no text has n tokens."""
    return ngrams(Tokens.of(map(tokenise, texts)), n).ratio()


def ngram_diversity(texts: Iterable[str], tokenise: Callable[[str], list[str]] = words) -> float:
    """Product of the unique ratios of n = 2, 3, 4, in (0, 1]; NaN where no text has 4 tokens."""
    return corpus_diversity(islice(orders(Tokens.of(map(tokenise, texts))), min(ORDERS) - 1, max(ORDERS)))
