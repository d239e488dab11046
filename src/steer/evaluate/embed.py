"""Texts as vectors. Any object with this protocol serves; the one that is built in needs no model and no download."""

import hashlib
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import regex
from numpy.typing import NDArray

from steer.evaluate.tokens import UNSPACED

Embeddings = NDArray[np.float64]


class Embedder(Protocol):
    """What evaluation asks of an embedding.

    name: short, for the names of scores; signature: everything that decides the vectors (model, hash, pooling).
    """

    @property
    def name(self) -> str: ...

    @property
    def signature(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D) of N texts."""
        ...


class TfidfSvd:
    """Latent semantic analysis (Deerwester et al. 1990): sublinear TF-IDF of words and pairs of words, then the leading
    singular directions.

    Lexical: it knows which words, and pairs of neighbouring words, texts share, not what they mean. Fitted on `texts`;
    words they do not have count for nothing. D is at most `dimensions`, less where the texts span less, and 0 where
    they have no word at all.
    """

    name = "tfidf"

    def __init__(self, texts: Sequence[str], dimensions: int = 64, seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        # Sorted, since the random projection of the decomposition must not depend on the rows' order.
        fitted = sorted(texts)
        digest = hashlib.sha256("\0".join(fitted).encode("utf-8", "surrogatepass")).hexdigest()[:12]
        self.signature = f"tfidf+svd (lexical) n=1,2 dimensions={dimensions} fit={len(fitted)} texts sha256={digest}"
        # Pairs of words, since the words alone cannot tell a text from the same words in another order.
        self._tfidf = TfidfVectorizer(sublinear_tf=True, tokenizer=_words, token_pattern=None, ngram_range=(1, 2))
        self._directions: Embeddings | None = None  # (D, V)
        if any(map(self._tfidf.build_analyzer(), fitted)):
            self._directions = _leading_directions(self._tfidf.fit_transform(fitted), dimensions, seed)

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D + 1) of N texts, of length 1; the last number is 1 for texts without a known word.

        So these are like each other and like no other text; at the origin they would be near to all.
        """
        from sklearn.preprocessing import normalize

        if self._directions is None or not len(texts):
            width = 0 if self._directions is None else len(self._directions)
            return np.column_stack([np.zeros((len(texts), width)), np.ones(len(texts))])
        # How much of a text the directions hold depends on whether they were fitted on it, and is no likeness.
        known = normalize(self._tfidf.transform(texts) @ self._directions.T)
        return np.column_stack([known, ~known.any(axis=1)]).astype(np.float64)


@dataclass(frozen=True)
class HiddenStates:
    """The vectors that a language model of the caller's makes of texts, so that this package needs to know no model.

    vectors: N texts -> (N, D). model: what decides them, such as the hashes of the weights.
    """

    vectors: Callable[[Sequence[str]], Embeddings]
    model: str
    name: str = "domain"

    @property
    def signature(self) -> str:
        return f"hidden states ({self.model})"

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D) of N texts."""
        return self.vectors(texts)


def _words(text: str) -> list[str]:
    """Words, single marks (punctuation and emoji are part of how a text looks), and single characters of Chinese,
    Thai and the other scripts that put no spaces between words."""
    found: list[str] = _WORDS.findall(text)
    return found


_WORDS = regex.compile(rf"[{UNSPACED}]|[\w--[{UNSPACED}]]+|[^\w\s]", regex.V1)


def vectors(embedder: Embedder, texts: Sequence[str]) -> Embeddings:
    """What the embedder gives for N texts (N, D), checked; (0, 1) of no texts, about which it is not asked.

    Raises ValueError on another shape.
    """
    given = np.asarray(embedder.embed(texts) if len(texts) else np.zeros((0, 1)), dtype=np.float64)
    if given.ndim != 2 or len(given) != len(texts):
        raise ValueError(f"embedder {embedder.name} gave {given.shape} for {len(texts)} texts; expected (N, D)")
    return given


def clean(text: str) -> str:
    """The text without lone surrogates, which are no characters: no tokenizer takes them."""
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


_SURROGATE = re.compile("[\ud800-\udfff]")


def in_a_line(text: str) -> str:
    """What somebody else's error says, short enough for ours."""
    return textwrap.shorten(text, 300, placeholder=" ...") or "no reason given"


def _leading_directions(matrix: object, dimensions: int, seed: int) -> Embeddings:
    """The right singular vectors (D, V) of a sparse matrix (N, V), without those that are only rounding noise."""
    from sklearn.utils.extmath import randomized_svd

    rank = min(dimensions, *matrix.shape)  # type: ignore[attr-defined]
    _, values, directions = randomized_svd(matrix, rank, random_state=seed)
    return np.asarray(directions[values > 1e-6 * values[0]], dtype=np.float64)
