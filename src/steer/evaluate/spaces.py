"""Where the sets of one evaluation lie as vectors: by an outside embedder, by the user's own, or by their words."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Protocol

import numpy as np

from steer.evaluate.authenticity import Sources
from steer.evaluate.corpus import Corpus
from steer.evaluate.embed import Embedder, Embeddings, TfidfSvd, vectors
from steer.evaluate.sides import MOST, Sides


class Space(Protocol):
    """suffix: of the scores' names. lexical: whether a classifier has to fit the vectors inside its folds."""

    @property
    def suffix(self) -> str: ...

    @property
    def signature(self) -> str: ...

    @property
    def lexical(self) -> bool: ...

    @property
    def embedder(self) -> Embedder | None:
        """Whose vectors these are; None for those of words, and the user's own."""
        ...

    def beside(self, of: str) -> tuple[Embeddings, Embeddings]:
        """The reference texts (N, D) and those of a set (M, D), brought to size."""
        ...

    def sources(self, of: str) -> tuple[Sources, Embeddings]:
        """Training and held-out texts, and all texts of a set (M, D).

        Without training texts, the first half of the real ones. Of the ceiling, half of the held-out texts stand where
        the set's do, and the other half calibrates.
        """
        ...

    def together(self, sets: Sequence[Corpus]) -> list[Embeddings]:
        """Several sets (N_i, D), to be learnt from together."""
        ...


@dataclass(frozen=True, eq=False)
class Outside:
    """Vectors that do not depend on what is compared. embedder: None where every set came with its own."""

    sides: Sides
    embedder: Embedder | None
    suffix: str = ""
    lexical = False

    @property
    def signature(self) -> str:
        return "given by the user" if self.embedder is None else self.embedder.signature

    def beside(self, of: str) -> tuple[Embeddings, Embeddings]:
        reference = self.sides.reference.first(MOST)
        return self._of(reference), self._of(self.sides.sets[of].first(self.sides.texts))

    def sources(self, of: str) -> tuple[Sources, Embeddings]:
        sources = Sources(self._of(self.sides.sources), self._of(self.sides.held_out))
        return sources.halved() if of == "ceiling" else (sources, self._of(self.sides.sets[of]))

    def together(self, sets: Sequence[Corpus]) -> list[Embeddings]:
        return [self._of(one) for one in sets]

    def _of(self, corpus: Corpus) -> Embeddings:
        if self.embedder is None:
            given = np.zeros((0, 1)) if corpus.vectors is None else corpus.vectors
            # Whether a sample has met a broken number is no reason for a score.
            return given if self._finite else np.full_like(given, np.nan)
        unknown = [text for text in dict.fromkeys(corpus.texts) if text not in self._known]
        self._known.update(zip(unknown, vectors(self.embedder, unknown), strict=True))
        return np.stack([self._known[text] for text in corpus.texts]) if len(corpus) else np.zeros((0, 1))

    @cached_property
    def _finite(self) -> bool:
        given = (one.vectors for one in (self.sides.real, self.sides.training, *self.sides.sets.values()))
        return all(bool(np.isfinite(vectors).all()) for vectors in given if vectors is not None)

    @cached_property
    def _known(self) -> dict[str, Embeddings]:
        return {}


@dataclass(frozen=True, eq=False)
class Lexical:
    """TF-IDF and SVD, fitted on both sides of a comparison together.

    A text that was fitted lies elsewhere than one of the same source that was not: so both sides are, each text once.
    The scores of a set then depend on its rivals only by the size that all are brought to.
    """

    sides: Sides
    seed: int
    suffix: str = ""
    lexical = True
    embedder = None
    signature = "tfidf+svd (lexical) n=1,2 dimensions=64, fitted on both sides together"

    def beside(self, of: str) -> tuple[Embeddings, Embeddings]:
        if of not in self._beside:
            reference, mine = self.sides.reference.first(MOST), self.sides.sets[of].first(self.sides.texts)
            embedder = self._fitted(reference, mine)
            self._beside[of] = embedder.embed(reference.texts), embedder.embed(mine.texts)
        return self._beside[of]

    @cached_property
    def _beside(self) -> dict[str, tuple[Embeddings, Embeddings]]:
        return {}

    def sources(self, of: str) -> tuple[Sources, Embeddings]:
        if of not in self._sources:
            training, held_out, mine = self.sides.sources, self.sides.held_out, self.sides.sets[of]
            embedder = self._fitted(training, held_out, *([] if of == "ceiling" else [mine]))
            sources = Sources(embedder.embed(training.texts), embedder.embed(held_out.texts))
            self._sources[of] = sources.halved() if of == "ceiling" else (sources, embedder.embed(mine.texts))
        return self._sources[of]

    @cached_property
    def _sources(self) -> dict[str, tuple[Sources, Embeddings]]:
        return {}

    def together(self, sets: Sequence[Corpus]) -> list[Embeddings]:
        embedder = self._fitted(*sets)
        return [embedder.embed(one.texts) for one in sets]

    def _fitted(self, *sets: Corpus) -> TfidfSvd:
        # The same share of each set, so that no set is better fitted than another.
        share = min(1.0, MOST / max(1, *map(len, sets)))
        texts: Sequence[str] = sorted({text for one in sets for text in one.first(ceil(share * len(one))).texts})
        return TfidfSvd(texts, seed=self.seed)
