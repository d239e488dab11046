"""What a reader wants to see beside the scores: where the texts lie, how long they are, and which to look at.

Texts are named by their row in what was given, never quoted, so that what is stored holds none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, nan

import numpy as np

from steer.evaluate.authenticity import closest
from steer.evaluate.corpus import Corpus
from steer.evaluate.diversity import Tokens, ngrams
from steer.evaluate.embed import Embeddings
from steer.evaluate.fidelity import unusable
from steer.evaluate.hull import Method, project
from steer.evaluate.score import strict
from steer.evaluate.sides import Sides
from steer.evaluate.spaces import Space
from steer.similarity import Match

MAPPED = 500  # texts of a set on a map
SPREAD = 2000  # texts of a set in a histogram
STEPS = 20
NOVEL = 3  # words of a sequence that has not been before
PICKED = 5
METHODS: tuple[Method, ...] = ("pca", "umap")

Place = tuple[float, float, int]


@dataclass(frozen=True)
class Suspect:
    """A text too near to a source. similarity: as `Match` has it for copies; else the ratio of `Sources.ratios`."""

    row: int
    source: int
    reason: str
    similarity: float


@dataclass(frozen=True)
class Details:
    """Pictures as numbers, by set.

    maps: method ("pca", "umap") -> set -> (x, y, row) of the real and synthetic texts, projected together.
    distances: to the nearest training text, of "training" (another one), "held-out" and the sets.
    lengths: in tokens. labels: share of each. novelty: in the order given, how many texts so far, and the share of
    the latest ones' word triples that none before had.
    picks: "best" (a classifier takes them for real), "worst" (it picks them out), "copied", "novel" -> (row of the
    synthetic text, row of its nearest training text, the number behind it).
    """

    maps: Mapping[str, Mapping[str, Sequence[Place]]]
    distances: Mapping[str, Sequence[float]]
    lengths: Mapping[str, Sequence[int]]
    labels: Mapping[str, Mapping[str, float]]
    novelty: Mapping[str, Sequence[tuple[int, float]]]
    picks: Mapping[str, Sequence[tuple[int, int, float]]]

    def to_json(self) -> dict[str, object]:
        return {name: strict(value) for name, value in vars(self).items()}


def suspects(sides: Sides, space: Space | None, matches: Sequence[Match | None]) -> list[Suspect]:
    """Synthetic texts that copy a training text, or lie nearer to one than the closest 5% of held-out texts do."""
    mine, sources = sides.sets["synthetic"], sides.training if len(sides.training) else sides.real
    found = {
        mine.rows[i]: Suspect(mine.rows[i], sources.rows[match.index], match.reason, match.similarity)
        for i, match in enumerate(matches)
        if match is not None
    }
    if space is not None:
        near, vectors = space.sources("synthetic")
        limit = nan if unusable(near.training, vectors) else closest(near)
        if isfinite(limit):
            for i, (index, ratio) in enumerate(zip(*near.ratios(vectors), strict=True)):
                if ratio <= limit and mine.rows[i] not in found:
                    found[mine.rows[i]] = Suspect(mine.rows[i], sides.sources.rows[index], "distance", float(ratio))
    return [found[row] for row in sorted(found)]


def details(
    sides: Sides,
    space: Space,
    tokenise: Callable[[str], list[str]],
    given: Mapping[str, Corpus],
    odds: Sequence[tuple[int, float]],
    seed: int,
) -> Details:
    """given: the sets in the order in which they came. odds: (row, log-odds) of synthetic texts, by the classifier."""
    real, mine = space.beside("synthetic")
    sets = {"real": sides.real, **{name: one for name, one in sides.sets.items() if name != "ceiling"}}
    return Details(
        maps=_maps(sides, real, mine, seed),
        distances=_distances(sides, space),
        lengths={name: [len(tokenise(text)) for text in one.first(SPREAD).texts] for name, one in sets.items()},
        labels={name: _shares(one.labels) for name, one in sets.items() if one.labels},
        novelty={name: _novelty(one, tokenise) for name, one in given.items() if name not in ("real", "train")},
        picks=_picks(sides, space, odds),
    )


def _maps(sides: Sides, real: Embeddings, mine: Embeddings, seed: int) -> dict[str, dict[str, list[Place]]]:
    made: dict[str, dict[str, list[Place]]] = {}
    for method in METHODS if not unusable(real, mine) else ():
        try:
            projected = project(real[:MAPPED], mine[:MAPPED], 2, method, seed)
        except ImportError:
            continue
        if projected is not None:
            sets = {"real": sides.reference, "synthetic": sides.sets["synthetic"]}
            made[method] = {
                name: [_place(point, row) for point, row in zip(points, one.rows, strict=False)]
                for (name, one), points in zip(sets.items(), projected, strict=True)
            }
    return made


def _place(point: Embeddings, row: int) -> Place:
    """Texts that differ in one direction only lie on a line."""
    return _short(float(point[0])), _short(float(point[1])) if len(point) > 1 else 0.0, row


def _distances(sides: Sides, space: Space) -> dict[str, list[float]]:
    made: dict[str, list[float]] = {}
    for name in sides.sets:
        sources, vectors = space.sources(name)
        if name == "ceiling" or unusable(sources.training, vectors) or not sources.spaced:
            continue
        if not made:
            made["training"] = _some(sources.spacing)
            if len(sources.held_out) and np.isfinite(sources.held_out).all():
                made["held-out"] = _some(sources.distances(sources.held_out))
        made[name] = _some(sources.distances(vectors))
    return made


def _picks(sides: Sides, space: Space, odds: Sequence[tuple[int, float]]) -> dict[str, list[tuple[int, int, float]]]:
    mine, (sources, vectors) = sides.sets["synthetic"], space.sources("synthetic")
    if unusable(sources.training, vectors) or not sources.spaced:
        return {}
    index, ratios = sources.ratios(vectors)
    source = {row: sides.sources.rows[i] for row, i in zip(mine.rows, index, strict=True)}
    # Rows break ties, so that what is shown does not depend on the order of the search.
    judged = sorted((value, row) for row, value in odds)
    novel = sorted((-float(ratio), row) for row, ratio in zip(mine.rows, ratios, strict=True) if isfinite(ratio))
    copied = sorted((float(ratio), row) for row, ratio in zip(mine.rows, ratios, strict=True))
    return {
        "best": [(row, source[row], _short(value)) for value, row in judged[:PICKED]],
        "worst": [(row, source[row], _short(value)) for value, row in judged[::-1][:PICKED]],
        "copied": [(row, source[row], _short(ratio)) for ratio, row in copied[:PICKED]],
        "novel": [(row, source[row], _short(-value)) for value, row in novel[:PICKED]],
    }


def _novelty(corpus: Corpus, tokenise: Callable[[str], list[str]]) -> list[tuple[int, float]]:
    if len(corpus) < 2 * STEPS:
        return []
    part = ngrams(Tokens.of(map(tokenise, corpus.texts)), NOVEL)
    first = np.zeros(len(part.ids), dtype=bool)
    first[np.unique(part.ids, return_index=True)[1]] = True
    ends = np.linspace(0, len(corpus), STEPS + 1).round().astype(int)
    made = []
    for start, end in pairwise(ends):
        inside = (part.owners >= start) & (part.owners < end)
        if inside.any():
            made.append((int(end), _short(float(first[inside].mean()))))
    return made


def _shares(labels: Sequence[str]) -> dict[str, float]:
    names, counts = np.unique(labels, return_counts=True)
    return {str(name): _short(count / len(labels)) for name, count in zip(names, counts, strict=True)}


def _some(distances: Embeddings) -> list[float]:
    return [_short(float(distance)) for distance in distances[:SPREAD]]


def _short(value: float) -> float:
    """Five digits: more is not seen, and differs from machine to machine."""
    return float(f"{value:.5g}")
