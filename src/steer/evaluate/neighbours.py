"""Do the synthetic texts lie where the real ones do, and are there as many of them?

    precision   share of synthetic points within a real neighbourhood, arXiv 1904.06991 eq. 2 (Kynkäänniemi et al. 2019)
    recall      share of real points within a synthetic neighbourhood, ibid.
    density     how many real neighbourhoods a synthetic point is in, over k, arXiv 2002.09797 (Naeem et al. 2020)
    coverage    share of real neighbourhoods that a synthetic point is in, ibid.

A point's neighbourhood is the open ball that reaches to its k-th nearest other point of the same set. Range [0, 1], of
density [0, ∞); higher is better. Where both sets come from one source, density is 1 on average and coverage nearly
1 − 2^−k. Outliers have wide neighbourhoods: real ones flatter precision and density, synthetic ones recall. Coverage is
not fooled, as it asks about each real neighbourhood once.

The scores are functions of distance matrices, so that a subsample costs an indexing and no new distances.
"""

from math import nan

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.embed import Embeddings

Distances = NDArray[np.float64]
Indices = NDArray[np.int64]

K = 5
# The search that finds candidates is exact to rounding of the squares; the best of a few more than asked for is exact.
SPARE = 3


def distances(a: Embeddings, b: Embeddings) -> Distances:
    """Euclidean distances (N, M) between the rows of (N, D) and (M, D); exactly 0 for identical rows.

    They do not depend on which side a row is on: the distances within a set and to its copy are the same to the bit.
    """
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b)) if len(a) and len(b) else np.zeros((len(a), len(b)))


def radii(within: Distances, k: int = K) -> Distances:
    """Distance (N,) of each point to its k-th nearest other point, of the distances (N, N) within a set.

    NaN where there are not k other points.
    """
    # Position 0 is the point itself, or one that is identical to it.
    return np.partition(within, k, axis=1)[:, k] if len(within) > k else np.full(len(within), nan)


def prdc(real_within: Distances, synthetic_within: Distances, between: Distances, k: int = K) -> dict[str, float]:
    """The four scores, of the distances within the real points (N, N), the synthetic ones (M, M), and between (N, M).

    All NaN where a set has no more than k points. The values are those of the authors' package prdc, except where
    distances tie, as they do between a set and its copy: its rounding decides that.
    """
    if min(between.shape) <= k:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), nan)
    near_real = between < radii(real_within, k)[:, None]  # (N, M)
    near_synthetic = between < radii(synthetic_within, k)
    return {
        "precision": float(near_real.any(axis=0).mean()),
        "recall": float(near_synthetic.any(axis=1).mean()),
        "density": float(near_real.sum(axis=0).mean() / k),
        "coverage": float(near_real.any(axis=1).mean()),
    }


def nearest(points: Embeddings, sources: Embeddings, *, others: bool = False) -> tuple[Indices, Distances]:
    """Index (N,) of the source nearest to each point, and its distance (N,), of points (N, D) and sources (M, D).

    others: points and sources are the same set, and a point is not its own neighbour; an identical other row is.
    The distance to an identical row is exactly 0. Where there is no source, the index is -1 and the distance NaN.
    """
    indices, lengths = _ranked(points, sources, 1 + others)
    if indices.shape[1] < 1 + others:
        return np.full(len(points), -1), np.full(len(points), nan)
    rows = np.arange(len(points))
    # A point of many copies may meet two of them first, and itself not at all.
    column = (others & (indices[:, 0] == rows)).astype(np.int64)
    return indices[rows, column], lengths[rows, column]


def k_nearest(points: Embeddings, sources: Embeddings, k: int) -> Indices:
    """Indices (N, min(k, M)) of the sources (M, D) that are nearest to each of the points (N, D), nearest first."""
    return _ranked(points, sources, k)[0]


def _ranked(points: Embeddings, sources: Embeddings, k: int) -> tuple[Indices, Distances]:
    """Indices and distances (N, min(k, M)) of the nearest sources, by distance, then index.

    Memory grows with N + M, not with their product.
    """
    from sklearn.neighbors import NearestNeighbors

    count = min(k + SPARE, len(sources))
    if not len(points) or not count:
        shape = len(points), min(k, len(sources))
        return np.empty(shape, dtype=np.int64), np.empty(shape)
    # The search subtracts squared lengths, so it is most precise about the origin.
    centre = sources.mean(axis=0)
    search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(sources - centre)
    found = search.kneighbors(points - centre, return_distance=False)
    lengths = np.stack([np.linalg.norm(points - sources[column], axis=1) for column in found.T], axis=1)
    order = np.lexsort((found, lengths))[:, :k]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(lengths, order, axis=1)
