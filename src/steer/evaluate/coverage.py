"""Do the synthetic texts lie among the real ones, and do they reach all of them?

    precision, recall            share of synthetic texts within the k-neighbourhood of a real one, and of real texts
                                 within that of a synthetic one (Kynkäänniemi et al. 2019); range [0, 1]
    density, coverage            how many real neighbourhoods hold a synthetic text, on average and over k; share of
                                 real texts whose neighbourhood holds one (Naeem et al. 2020); [0, ∞) and [0, 1]
    hull_precision, _recall, _f  share of synthetic texts inside the convex hull of the real ones, the reverse, and
                                 their harmonic mean, in five UMAP dimensions (arXiv 2308.07645, figure 7); range [0, 1]
    hull_*_pca                   the same in five principal components

Higher is better in all. A hull is spanned by its outermost points: a few wild texts give a collapsed set a hull recall
near 1. So real against real is far from 1 in the other direction, and neighbourhoods are the sounder scores.
"""

from collections.abc import Mapping

import numpy as np

from steer.evaluate.embed import Embeddings
from steer.evaluate.fidelity import unusable
from steer.evaluate.hull import Method, hull_scores, project
from steer.evaluate.intervals import Estimate, Mask, at_least_wilson, subsample, undefined
from steer.evaluate.neighbours import distances, prdc

K = 5
DIMENSIONS = 5
NEIGHBOUR_DRAWS = 100
HULL_DRAWS = 50
PRDC = ("precision", "recall", "density", "coverage")
HULL = ("hull_precision", "hull_recall", "hull_f")
UNIT = (0.0, 1.0)


def estimate_neighbours(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> dict[str, Estimate]:
    """Precision, recall, density and coverage, with intervals of half samples."""
    if reason := unusable(real, synthetic):
        return undefined(PRDC, reason)
    if min(len(real), len(synthetic)) <= K:
        return undefined(PRDC, f"{K} neighbours take more than {K} texts a side")
    of_real, of_mine, between = distances(real, real), distances(synthetic, synthetic), distances(real, synthetic)

    def measured(a: Mask, b: Mask) -> Mapping[str, float]:
        if a.all() and b.all():
            return prdc(of_real, of_mine, between, K)
        return prdc(of_real[np.ix_(a, a)], of_mine[np.ix_(b, b)], between[np.ix_(a, b)], K)

    bounds = dict.fromkeys(PRDC, UNIT) | {"density": (0.0, np.inf)}
    made = subsample(measured, (len(real), len(synthetic)), bounds, seed=seed, draws=NEIGHBOUR_DRAWS)
    shares = {"precision": len(synthetic), "recall": len(real), "coverage": len(real)}
    return {name: at_least_wilson(one, shares[name]) if name in shares else one for name, one in made.items()}


def estimate_hulls(
    real: Embeddings, synthetic: Embeddings, seed: int = 0, method: Method = "umap"
) -> dict[str, Estimate]:
    """Precision, recall and F1 of hulls in a joint projection, with intervals of half samples within it."""
    names = HULL if method == "umap" else tuple(f"{name}_pca" for name in HULL)
    if reason := unusable(real, synthetic):
        return undefined(names, reason)
    projected = project(real, synthetic, DIMENSIONS, method, seed)
    if projected is None:
        return undefined(names, "too few different texts to project")
    a, b = projected

    def measured(mine: Mask, theirs: Mask) -> Mapping[str, float]:
        return dict(zip(names, hull_scores(a[mine], b[theirs]).values(), strict=True))

    return subsample(measured, (len(a), len(b)), dict.fromkeys(names, UNIT), seed=seed, draws=HULL_DRAWS)
