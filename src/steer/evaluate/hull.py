"""How much of the space that the real texts span do the synthetic ones reach, and how much of it do they leave?

    hull_precision   share of synthetic points inside the convex hull of the real ones, arXiv 2308.07645 Table 3
    hull_recall      share of real points inside the convex hull of the synthetic ones
    hull_f           harmonic mean of the two

Range [0, 1], higher is better; real against real is far from 1 in more than two dimensions, so it has to be shown
beside. A few outliers are enough for a wide hull, as nothing asks whether it is empty: `neighbours` does.
"""

import warnings
from math import nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.embed import Embeddings

DIMENSIONS = 5
TOLERANCE = 1e-9  # of the extent of the hull
FACETED = 6  # dimensions; the number of facets grows exponentially with them
BLOCK = 2**18  # products of points and facets held at once

Mask = NDArray[np.bool_]
Method = Literal["pca", "umap"]


def hull_scores(real: Embeddings, synthetic: Embeddings) -> dict[str, float]:
    """Precision, recall and F of the convex hulls of (N, D) and (M, D); all NaN where a side is empty."""
    if not len(real) or not len(synthetic):
        return dict.fromkeys(("hull_precision", "hull_recall", "hull_f"), nan)
    precision = float(inside(synthetic, real).mean())
    recall = float(inside(real, synthetic).mean())
    total = precision + recall
    return {
        "hull_precision": precision,
        "hull_recall": recall,
        "hull_f": 2 * precision * recall / total if total else 0.0,
    }


def inside(points: Embeddings, vertices: Embeddings) -> Mask:
    """Which of the points (N, D) are inside the convex hull of the vertices (M, D), or on its boundary: (N,).

    On the boundary is what is closer to it than 1e-9 of the hull's largest extent. A flat hull (a segment, a single
    point) holds the points on it; that of no vertices holds none. Above 6 dimensions each point is a linear program,
    some milliseconds.
    """
    if not len(vertices) or not len(points):
        return np.zeros(len(points), dtype=np.bool_)
    if points.shape[1] != vertices.shape[1]:
        raise ValueError(f"points {points.shape} and vertices {vertices.shape} differ in dimensions; expected (., D)")
    # In the principal axes of the vertices a flat hull is one that some axes do not extend in.
    vertices = np.unique(vertices, axis=0)
    centre = vertices.mean(axis=0)
    axes = np.linalg.svd(vertices - centre, full_matrices=False)[2]  # (min(M, D), D)
    vertices, centred = (vertices - centre) @ axes.T, points - centre
    extents = np.ptp(vertices, axis=0)
    tolerance = TOLERANCE * extents.max()
    axes, vertices = axes[extents > tolerance], vertices[:, extents > tolerance]
    points = centred @ axes.T
    on_span = np.linalg.norm(centred - points @ axes, axis=1) <= tolerance
    low, high = vertices.min(axis=0) - tolerance, vertices.max(axis=0) + tolerance
    # The bounding box excludes most of what is outside at no cost, and in one dimension it is the hull.
    result: Mask = on_span & ((low <= points) & (points <= high)).all(axis=1)
    if result.any() and len(axes) > 1:
        result[result] = _inside_solid(points[result], vertices, tolerance)
    return result


def _inside_solid(points: Embeddings, vertices: Embeddings, tolerance: float) -> Mask:
    """The same for a hull that is not flat, in two dimensions or more."""
    from scipy.spatial import ConvexHull, QhullError

    if vertices.shape[1] > FACETED:
        return _inside_by_programs(points, vertices, tolerance)
    try:
        facets = ConvexHull(vertices).equations  # (F, D + 1): outward normals of length 1, offsets
    except QhullError:
        return _inside_by_programs(points, vertices, tolerance)
    blocks = np.array_split(points, -(-len(points) * len(facets) // BLOCK))
    return np.concatenate([(b @ facets[:, :-1].T + facets[:, -1]).max(axis=1) <= tolerance for b in blocks])


def _inside_by_programs(points: Embeddings, vertices: Embeddings, tolerance: float) -> Mask:
    """The same by one linear program per point: outside is where a direction has every vertex on its far side.

    That is, the largest of normal · (vertex − point), minimised over normals in [−1, 1]^D, is negative.
    """
    from scipy.optimize import linprog

    # The solver's tolerances are absolute.
    scale = TOLERANCE / tolerance
    dimensions = vertices.shape[1]
    cost = np.append(np.zeros(dimensions), 1.0)  # of (normal, largest)
    bounds = [(-1, 1)] * dimensions + [(None, 0)]
    precise = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    result = np.empty(len(points), dtype=np.bool_)
    for row, point in enumerate(points):
        below = np.column_stack([(vertices - point) * scale, -np.ones(len(vertices))])
        solved = linprog(cost, below, np.zeros(len(vertices)), bounds=bounds, method="highs", options=precise)
        result[row] = solved.fun >= -TOLERANCE
    return result


def project(
    real: Embeddings,
    synthetic: Embeddings,
    dimensions: int = DIMENSIONS,
    method: Method = "pca",
    seed: int = 0,
) -> tuple[Embeddings, Embeddings] | None:
    """Project (N, D) and (M, D) together, to (N, d) and (M, d): fitted on one, a projection would not fit the other.

    "pca": Pearson 1901; d is at most `dimensions`, less where there are fewer rows or D, and what has no more than
    `dimensions` already is only centred. "umap": arXiv 1802.03426 with 15 neighbours; d is `dimensions`. The order of
    the rows changes nothing but rounding.
    None where a side is empty, and for UMAP where both together have fewer than `dimensions` + 2 distinct rows.
    Raises ImportError where UMAP is not installed.
    """
    if method not in ("pca", "umap"):
        raise ValueError(f'no projection "{method}"; expected "pca" or "umap"')
    if not len(real) or not len(synthetic):
        return None
    both = np.concatenate([real, synthetic])
    order = np.lexsort(both.T[::-1])
    projected = (_pca if method == "pca" else _umap)(both[order], dimensions, seed)
    if projected is None:
        return None
    restored = np.empty_like(projected)
    restored[order] = projected
    return restored[: len(real)], restored[len(real) :]


def _pca(rows: Embeddings, dimensions: int, seed: int) -> Embeddings:
    from sklearn.decomposition import PCA

    if rows.shape[1] <= dimensions:
        return np.asarray(rows - rows.mean(axis=0))
    # Of rows that are all the same, no direction explains any share of nothing.
    with np.errstate(invalid="ignore"):
        return np.asarray(PCA(min(dimensions, len(rows)), svd_solver="full").fit_transform(rows))


def _umap(rows: Embeddings, dimensions: int, seed: int) -> Embeddings | None:
    # Its spectral start needs that many; of fewer distinct ones repeated, it would draw a cloud of noise.
    if len(np.unique(rows, axis=0)) < dimensions + 2:
        return None
    with warnings.catch_warnings():
        # Of parts that were not asked for, and of starts that it then changes for others.
        warnings.simplefilter("ignore")
        try:
            from umap import UMAP
        except ImportError as error:
            raise ImportError("the UMAP projection needs umap-learn: pip install 'steer-text[eval]'") from error
        model = UMAP(n_components=dimensions, n_neighbors=min(15, len(rows) - 1), random_state=seed, n_jobs=1)
        return np.asarray(model.fit_transform(rows), dtype=np.float64)
