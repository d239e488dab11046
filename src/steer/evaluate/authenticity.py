"""Is the text anybody's already? Against the TRAINING texts; the only scores that catch memorising.

    copied_share              share of texts that are near copies of a training text (`steer.similarity`); range [0, 1],
                              lower is better; held-out real texts give the share that chance and boilerplate explain
    authenticity              share of texts further from their nearest training text than that text is from the
                              training text nearest to it (Alaa et al. 2022); range [0, 1], higher is better, and even
                              real texts are far from 1
    calibrated_authenticity   share of texts that keep a greater distance of that kind than the closest 5% of held-out
                              real texts do; range [0, 1], higher is better, .95 for texts that know nothing of the
                              training texts
    membership_auroc          chance that a training text is nearer to the synthetic texts than a held-out real text
                              is: what an attacker who has only the synthetic texts can find out (as in Carlini et al.
                              2022); range [0, 1], .5 is best, lower is better

Every other score rewards a generator that hands out its training texts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import nan

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.adversary import auroc
from steer.evaluate.embed import Embeddings
from steer.evaluate.fidelity import unusable
from steer.evaluate.intervals import Estimate, at_least_wilson, bootstrap, proportion, undefined
from steer.evaluate.neighbours import nearest
from steer.similarity import THRESHOLD, CopyFinder, Match

CLOSEST = 0.05
ENOUGH = 20  # held-out texts that a quantile of 5% takes
DISTANCE_SCORES = ("authenticity", "calibrated_authenticity")


def copied_share(texts: Sequence[str], training_texts: Sequence[str], threshold: float = THRESHOLD) -> float:
    """Share of the texts that are near copies of a training text, in [0, 1]; NaN where either side is empty."""
    finder = CopyFinder(training_texts, threshold)
    return estimate_copied(finder.find(texts), len(finder)).value


def estimate_copied(matches: Sequence[Match | None], sources: int, different: int | None = None) -> Estimate:
    """The share of texts that match one of so many sources, with its Wilson interval.

    different: how many of the texts are no repeats of each other; all if not given.
    """
    if not sources:
        return Estimate(nan, reason="no real texts to compare with")
    if not len(matches):
        return Estimate(nan, reason="no texts to measure")
    return proportion(sum(match is not None for match in matches), len(matches), different)


@dataclass(frozen=True, eq=False)
class Sources:
    """Training texts (T, D) and held-out real texts (H, D) as vectors: what distances are measured against."""

    training: Embeddings
    held_out: Embeddings

    @cached_property
    def spacing(self) -> NDArray[np.float64]:
        """(T,) distance of each training text to the nearest different one: a repeat is no neighbour."""
        distinct, which = np.unique(self.training, axis=0, return_inverse=True)
        return nearest(distinct, distinct, others=True)[1][which.reshape(-1)]

    @property
    def spaced(self) -> bool:
        """Whether there is any distance between training texts."""
        return len(self.training) > 1 and bool(np.any(self.training != self.training[0]))

    @cached_property
    def usual(self) -> NDArray[np.float64]:
        """(H,) the ratios of held-out texts."""
        return self.ratios(self.held_out)[1]

    def ratios(self, vectors: Embeddings) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Per text (N,) its nearest training text, and the distance to it over that one's own `spacing`."""
        index, distance = nearest(vectors, self.training)
        return index, distance / self.spacing[index]

    def distances(self, vectors: Embeddings) -> NDArray[np.float64]:
        """(N,) distance of each text to its nearest training text."""
        return nearest(vectors, self.training)[1]

    def halved(self) -> tuple["Sources", Embeddings]:
        """Half of the held-out texts in the place of synthetic ones, and the other half to calibrate with."""
        middle = len(self.held_out) // 2
        return replace(self, held_out=self.held_out[middle:]), self.held_out[:middle]


def estimate_authenticity(vectors: Embeddings, sources: Sources, seed: int = 0) -> dict[str, Estimate]:
    """Both shares of `DISTANCE_SCORES`; the calibrated one with a bootstrap over the texts of both sides."""
    if reason := unusable(sources.training, vectors):
        return undefined(DISTANCE_SCORES, reason)
    if not sources.spaced:
        return undefined(DISTANCE_SCORES, "fewer than two different training texts, so no distance between them")
    ratios, different = sources.ratios(vectors)[1], len(np.unique(vectors, axis=0))
    made = {"authenticity": proportion(int(np.sum(ratios > 1)), len(ratios), different)}
    if len(sources.held_out) < ENOUGH or not np.isfinite(sources.held_out).all():
        reason = f"calibration takes at least {ENOUGH} held-out real texts"
        return made | undefined(["calibrated_authenticity"], reason)
    usual = np.sort(sources.usual)

    def share(own: NDArray[np.int64], theirs: NDArray[np.int64]) -> dict[str, float]:
        limit = usual[np.searchsorted(np.cumsum(theirs), CLOSEST * theirs.sum())]
        return {"calibrated_authenticity": float(own @ (ratios > limit) / own.sum())}

    name = "calibrated_authenticity"
    calibrated = bootstrap(share, (len(ratios), len(usual)), {name: (0.0, 1.0)}, seed=seed)[name]
    return {**made, name: at_least_wilson(calibrated, different)}


def closest(sources: Sources) -> float:
    """The ratio that the closest 5% of held-out texts do not exceed; NaN where there are too few of them."""
    if not sources.spaced or len(sources.held_out) < ENOUGH or not np.isfinite(sources.held_out).all():
        return nan
    usual = np.sort(sources.usual)
    return float(usual[int(np.ceil(CLOSEST * len(usual))) - 1])


def estimate_membership(vectors: Embeddings, sources: Sources, seed: int = 0) -> dict[str, Estimate]:
    """With a bootstrap over training and held-out texts, and p of the Mann-Whitney test that training is nearer."""
    name = "membership_auroc"
    if not (len(sources.training) and len(sources.held_out)):
        return undefined([name], "it takes training texts and held-out ones")
    if reason := unusable(np.concatenate([sources.training, sources.held_out]), vectors):
        return undefined([name], reason)
    from scipy.stats import mannwhitneyu

    near, far = (nearest(side, vectors)[1] for side in (sources.training, sources.held_out))
    member = np.arange(len(near) + len(far)) < len(near)
    # Rounded, as equal distances differ by the rounding of their sums.
    closeness = -np.round(np.concatenate([near, far]), 9)
    made = bootstrap(
        lambda *counts: {name: auroc(member, closeness, np.concatenate(counts))},
        (len(near), len(far)),
        {name: (0.0, 1.0)},
        seed=seed,
    )[name]
    p = float(mannwhitneyu(closeness[member], closeness[~member], alternative="greater").pvalue)
    return {name: at_least_wilson(replace(made, p=p), min(len(near), len(far)))}
