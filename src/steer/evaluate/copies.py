"""Looking for near copies among so many texts that not every pair can be compared.

Comparing characters takes time with the product of the lengths. Where all pairs would take too long, a text is compared
with the sources nearest to it as TF-IDF vectors; verbatim runs of words are looked up in every source in any case.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.corpus import Corpus
from steer.evaluate.embed import TfidfSvd
from steer.evaluate.neighbours import k_nearest
from steer.similarity import CopyFinder, Match, clusters

AFFORDABLE = 3e11  # characters times characters: some seconds
NEAREST = 20
FITTED = 5000

EXHAUSTIVE, SHORTLISTED = "all pairs compared", f"characters of the {NEAREST} nearest by tfidf compared"


def find(texts: Sequence[str], finder: CopyFinder, sources: Sequence[str]) -> list[Match | None]:
    """Per text, the source that it copies; `finder` holds the sources."""
    if affordable(texts, sources):
        return finder.find(texts)
    embedder = _embedder([*texts, *sources])
    return finder.find(texts, k_nearest(embedder.embed(texts), embedder.embed(sources), NEAREST))


def near_clusters(texts: Sequence[str], threshold: float) -> NDArray[np.int64]:
    """Near-duplicate labels (N,) of the texts, as `steer.similarity.clusters` gives them."""
    if affordable(texts, texts):
        return clusters(texts, threshold)

    def shortlist(distinct: Sequence[str]) -> Sequence[NDArray[np.int64]]:
        vectors = _embedder(distinct).embed(distinct)
        return list(k_nearest(vectors, vectors, NEAREST + 1))

    return clusters(texts, threshold, shortlist)


def affordable(texts: Sequence[str], sources: Sequence[str]) -> bool:
    return sum(map(len, texts)) * sum(map(len, sources)) <= AFFORDABLE


def said(*pairs: tuple[Sequence[str], Sequence[str]]) -> str:
    """How these texts and sources are compared, for signatures."""
    return EXHAUSTIVE if all(affordable(*pair) for pair in pairs) else SHORTLISTED


def _embedder(texts: Sequence[str]) -> TfidfSvd:
    return TfidfSvd(Corpus.of(list(dict.fromkeys(texts))).shuffled(0, "copies").first(FITTED).texts)
