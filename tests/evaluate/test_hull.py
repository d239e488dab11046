"""Inside is inside, by facets, triangulation and linear programming alike, in any dimension and on flat hulls too."""

import sys
from math import isnan

import numpy as np
import pytest
from scipy.optimize import linprog
from scipy.spatial import ConvexHull, Delaunay
from sklearn.decomposition import PCA

from steer.evaluate import hull
from steer.evaluate.hull import hull_scores, inside, project
from steer.evaluate.neighbours import distances, prdc

SQUARE = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)
PLACES = [
    ((0.5, 0.5), True),
    ((0, 0), True),
    ((1, 0.3), True),
    ((1 + 1e-10, 0.3), True),  # closer to the boundary than its tolerance
    ((1 + 1e-6, 0.3), False),
    ((1.1, 1.1), False),
    ((-1, 0.5), False),
]


@pytest.fixture(params=["facets", "programs"])
def method(request, monkeypatch):
    if request.param == "programs":
        monkeypatch.setattr(hull, "FACETED", 0)


@pytest.mark.usefixtures("method")
@pytest.mark.parametrize(("place", "expected"), PLACES)
def test_a_square(place, expected):
    assert inside(np.array([place]), SQUARE).tolist() == [expected]


@pytest.mark.usefixtures("method")
def test_a_triangle_is_less_than_its_box():
    points = np.array([[0.2, 0.2], [1, 0.5], [1 + 1e-6, 0.5], [1.5, 0.5]])
    assert inside(points, np.array([[0.0, 0], [2, 0], [0, 1]])).tolist() == [True, True, False, False]


def is_mixture(point, vertices):
    """The definition: weights that are not negative, sum to 1 and give the point."""
    columns, target = np.vstack([vertices.T, np.ones(len(vertices))]), np.append(point, 1)
    return linprog(np.zeros(len(vertices)), A_eq=columns, b_eq=target, method="highs").status == 0


@pytest.mark.parametrize(("dimensions", "count", "spread"), [(2, 60, 2), (3, 60, 1.5), (5, 40, 0.9), (8, 24, 0.3)])
def test_facets_triangulation_and_programs_agree(dimensions, count, spread, monkeypatch):
    rng = np.random.default_rng(dimensions)
    vertices = rng.normal(size=(count, dimensions))
    points = np.concatenate([rng.normal(size=(30, dimensions)) * spread, vertices[:5] * 0.9])
    ours = inside(points, vertices)
    assert 10 < ours.sum() < 30
    facets = ConvexHull(vertices).equations
    assert ours.tolist() == (points @ facets[:, :-1].T + facets[:, -1] <= 0).all(axis=1).tolist()
    assert ours.tolist() == (Delaunay(vertices).find_simplex(points) >= 0).tolist()
    assert ours.tolist() == [is_mixture(point, vertices) for point in points]
    monkeypatch.setattr(hull, "FACETED", 0)
    assert ours.tolist() == inside(points, vertices).tolist()


@pytest.mark.parametrize("dimensions", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("kind", ["random", "grid"])
def test_vertices_and_their_mixtures_are_inside(dimensions, kind):
    rng = np.random.default_rng(0)
    shape = 40, dimensions
    vertices = rng.normal(size=shape) if kind == "random" else rng.integers(0, 3, size=shape).astype(float)
    assert inside(vertices, vertices).all()
    assert inside(rng.dirichlet(np.full(40, 0.1), size=30) @ vertices, vertices).all()
    beyond = vertices.mean(axis=0) + 1.001 * (vertices - vertices.mean(axis=0))
    outermost = np.argmax(np.linalg.norm(vertices - vertices.mean(axis=0), axis=1))
    assert not inside(beyond, vertices)[outermost]


@pytest.mark.parametrize("dimensions", [3, 5, 8])
def test_a_flat_hull_holds_what_is_on_it(dimensions):
    rng = np.random.default_rng(0)
    vertices, points = rng.normal(size=(30, 2)), rng.normal(size=(50, 2))
    lift, offset = rng.normal(size=(2, dimensions)), rng.normal(size=dimensions)
    expected = inside(points, vertices)
    assert 5 < expected.sum() < 50
    flat = vertices @ lift + offset
    assert (inside(points @ lift + offset, flat) == expected).all()
    assert not inside(points @ lift + offset + 1e-6 * rng.normal(size=dimensions), flat).any()


@pytest.mark.parametrize("dimensions", [1, 2, 5, 8])
def test_segments_and_single_points(dimensions):
    start, step = np.full(dimensions, 0.1), np.arange(1.0, dimensions + 1)
    along = start + np.array([[-0.1], [0], [0.4], [1], [1.1]]) * step
    assert inside(along, np.stack([start, start + step, start + step / 3])).tolist() == [False, True, True, True, False]
    assert inside(along, np.stack([start] * 3)).tolist() == [False, True, False, False, False]


def test_membership_is_affine_and_knows_no_order():
    rng = np.random.default_rng(0)
    vertices, points = rng.normal(size=(40, 4)), rng.normal(size=(60, 4))
    expected = inside(points, vertices)
    matrix, offset = rng.normal(size=(4, 4)), 100 * rng.normal(size=4)
    assert (inside(points @ matrix + offset, vertices @ matrix + offset) == expected).all()
    assert (inside(points, rng.permutation(vertices.repeat(2, axis=0))) == expected).all()
    turned = rng.permutation(60)
    assert (inside(points[turned], vertices) == expected[turned]).all()


def test_many_points_are_taken_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    vertices, points = rng.normal(size=(40, 3)), rng.normal(size=(60, 3))
    expected = inside(points, vertices)
    monkeypatch.setattr(hull, "BLOCK", 100)
    assert (inside(points, vertices) == expected).all()


def test_other_dimensions_are_an_error():
    with pytest.raises(ValueError, match="differ in dimensions"):
        inside(np.zeros((2, 3)), SQUARE)


CENTRED = SQUARE - 0.5
SCORES = [
    (CENTRED, CENTRED, (1, 1, 1)),
    (CENTRED, CENTRED / 2, (1, 0, 0)),
    (CENTRED, CENTRED + 5, (0, 0, 0)),
    (CENTRED, np.array([[0.0, 0], [3, 0], [0, 3], [9, 9]]), (1 / 4, 1 / 4, 1 / 4)),
    (CENTRED, np.array([[0.5, 0.5], [-0.5, 0.5], [-0.5, -0.5], [0, 0]]), (1, 3 / 4, 6 / 7)),
    (CENTRED, np.zeros((1, 2)), (1, 0, 0)),
]


@pytest.mark.parametrize(("real", "synthetic", "expected"), SCORES)
def test_scores_by_hand(real, synthetic, expected):
    assert tuple(hull_scores(real, synthetic).values()) == pytest.approx(expected)


@pytest.mark.parametrize(("real", "synthetic"), [(SQUARE, SQUARE[:0]), (np.zeros((0, 1)), SQUARE), ([], [])])
def test_an_empty_side_is_nan(real, synthetic):
    values = hull_scores(np.array(real), np.array(synthetic))
    assert tuple(values) == ("hull_precision", "hull_recall", "hull_f")
    assert all(map(isnan, values.values()))


def test_outliers_fool_hulls_but_not_coverage():
    rng = np.random.default_rng(0)
    real, collapsed = rng.normal(size=(500, 5)), 0.01 * rng.normal(size=(500, 5))
    assert hull_scores(real, collapsed)["hull_recall"] == 0
    collapsed[:15] = 100 * rng.normal(size=(15, 5))  # 3%
    assert hull_scores(real, collapsed)["hull_recall"] > 0.98
    assert prdc(distances(real, real), distances(collapsed, collapsed), distances(real, collapsed))["coverage"] < 0.1


def test_projection_is_of_both_sides_together():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 20)) * np.linspace(3, 1, 20)
    expected = PCA(5, svd_solver="full").fit_transform(rows)
    for cut in (1, 40, 79):
        real, synthetic = project(rows[:cut], rows[cut:])
        assert real.shape == (cut, 5)
        assert np.concatenate([real, synthetic]) == pytest.approx(expected)


def test_projected_halves_of_one_sample_overlap():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(400, 30)) @ rng.normal(size=(30, 30))
    halves = hull_scores(*project(rows[:200], rows[200:]))
    assert 0.5 < halves["hull_f"] < 0.9  # the ceiling, and far from 1
    apart = hull_scores(*project(rows[:200], rows[200:] + 100))
    assert apart["hull_f"] == 0


def test_copies_are_projected_onto_each_other_whatever_the_order():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 12))
    order = rng.permutation(40)
    real, synthetic = project(rows, rows[order])
    assert synthetic == pytest.approx(real[order], abs=1e-12)
    assert set(hull_scores(real, synthetic).values()) == {1}


def test_few_dimensions_are_only_centred():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(30, 3))
    real, synthetic = project(rows[:10], rows[10:])
    assert np.concatenate([real, synthetic]) == pytest.approx(rows - rows.mean(axis=0))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("count", "constant"), [(1, False), (2, False), (20, True)])
def test_few_or_constant_rows_have_a_projection(count, constant):
    rows = np.random.default_rng(0).normal(size=(2 * count, 12))
    rows = rows[:1].repeat(2 * count, axis=0) if constant else rows
    real, synthetic = project(rows[:count], rows[count:])
    assert distances(real, synthetic) == pytest.approx(distances(rows[:count], rows[count:]), abs=1e-9)


def test_no_projection_of_an_empty_side_or_by_an_unknown_method():
    assert project(np.zeros((0, 1)), np.ones((9, 12))) is None
    assert project(np.ones((9, 12)), np.zeros((0, 1)), method="umap") is None
    with pytest.raises(ValueError, match='"pca" or "umap"'):
        project(SQUARE, SQUARE, method="tsne")


def test_umap_is_repeatable_and_knows_no_order():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 12))
    real, synthetic = project(rows[:30], rows[30:], method="umap")
    assert real.shape == synthetic.shape == (30, 5)
    assert np.isfinite(real).all()
    again, turned = project(rows[:30], rows[30:][::-1], method="umap")
    assert (again == real).all()
    assert (turned[::-1] == synthetic).all()
    assert (project(rows[:30], rows[30:], method="umap", seed=1)[0] != real).any()


def test_umap_keeps_clusters_apart():
    pytest.importorskip("umap")
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 12))
    assert hull_scores(*project(rows[:40], rows[40:] + 50, method="umap"))["hull_f"] == 0


@pytest.mark.parametrize(("distinct", "count"), [(1, 40), (3, 40), (6, 6), (7, 7), (7, 40)])
def test_umap_of_too_few_distinct_rows_is_none(distinct, count):
    pytest.importorskip("umap")
    rows = np.random.default_rng(0).normal(size=(distinct, 12))[np.arange(count) % distinct]
    given = project(rows[:3], rows[3:], method="umap")
    assert (given is None) == (distinct < 7)


def test_umap_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[eval\]'"):
        project(*np.random.default_rng(0).normal(size=(2, 20, 9)), method="umap")
