"""The scores are those of the authors' package and of slow obvious code; copies are at distance 0, whoever they are."""

from math import isnan, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.evaluate.neighbours import distances, k_nearest, nearest, prdc, radii

SCORES = ("precision", "recall", "density", "coverage")


def scores(real, synthetic, k=5):
    return prdc(distances(real, real), distances(synthetic, synthetic), distances(real, synthetic), k)


def slow_scores(real, synthetic, k):
    def radius(points, point):
        return sorted(np.linalg.norm(points - point, axis=1))[k]

    def near(a, b, points):
        return np.linalg.norm(a - b) < radius(points, b)

    within = [[near(s, r, real) for r in real] for s in synthetic]
    return {
        "precision": np.mean([any(row) for row in within]),
        "recall": np.mean([any(near(r, s, synthetic) for s in synthetic) for r in real]),
        "density": np.mean([sum(row) / k for row in within]),
        "coverage": np.mean([any(column) for column in zip(*within, strict=True)]),
    }


def line(*places):
    return np.array(places, dtype=float)[:, None]


# Nearest other points: of 0, 2, 3, 7 at 2, 1, 1, 4.
REAL = line(0, 2, 3, 7)
BY_HAND = [
    (line(1, 9), (1, 1, 1, 1 / 2)),  # 1 is near 0; 9 near 7; 2 and 3 are reached by neither; all are near 1 or 9
    (line(2.5, 2.5), (1, 0, 2, 1 / 2)),  # near 2 and near 3, twice; two copies have no neighbourhood
    (line(-5, 20), (0, 1, 0, 0)),
    (line(4, 20), (1 / 2, 1, 1 / 2, 1 / 4)),  # 4 is at exactly 1 from 3, which does not count, and near 7
]


@pytest.mark.parametrize(("synthetic", "expected"), BY_HAND)
def test_by_hand(synthetic, expected):
    assert scores(REAL, synthetic, k=1) == pytest.approx(dict(zip(SCORES, expected, strict=True)))


def samples():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(60, 8)), 0.3 + 0.8 * rng.normal(size=(45, 8))
    grid = rng.integers(0, 3, size=(90, 3)).astype(float)  # every distance ties with others, exactly
    return {
        "random": (real, synthetic),
        "pairs": (real.repeat(2, axis=0), synthetic.repeat(2, axis=0)),
        "collapsed": (real, synthetic[:3].repeat(20, axis=0)),
        "grid": (grid[:50], grid[50:]),
        "far": (real, synthetic + 100),
    }


@pytest.mark.parametrize("k", [1, 5])
@pytest.mark.parametrize("sample", samples())
def test_parity_with_slow_code_and_with_the_package(sample, k, capsys):
    real, synthetic = samples()[sample]
    ours = scores(real, synthetic, k)
    assert ours == pytest.approx(slow_scores(real, synthetic, k), abs=1e-9)
    package = pytest.importorskip("prdc")
    assert ours == pytest.approx(package.compute_prdc(real, synthetic, k), abs=1e-9)


def test_one_source_has_density_1_and_the_coverage_of_the_paper():
    rng = np.random.default_rng(0)
    drawn = [scores(rng.normal(size=(60, 4)), rng.normal(size=(40, 4))) for _ in range(60)]
    # The k nearest of a real point's 59 + 40 others are all real.
    uncovered = prod((60 - i) / (100 - i) for i in range(1, 6))
    assert np.mean([each["coverage"] for each in drawn]) == pytest.approx(1 - uncovered, abs=0.01)
    assert np.mean([each["density"] for each in drawn]) == pytest.approx(40 / 40 * 60 / 59, abs=0.03)


def test_a_subsample_is_an_indexing():
    real, synthetic = samples()["random"]
    rows, columns = np.arange(0, 60, 2), np.arange(0, 45, 3)
    within = distances(real, real)[np.ix_(rows, rows)], distances(synthetic, synthetic)[np.ix_(columns, columns)]
    between = distances(real, synthetic)[np.ix_(rows, columns)]
    assert prdc(*within, between) == scores(real[rows], synthetic[columns])


def test_exchanged_sides_exchange_precision_and_recall():
    real, synthetic = samples()["random"]
    here, there = scores(real, synthetic), scores(synthetic, real)
    assert (here["precision"], here["recall"]) == (there["recall"], there["precision"])


@pytest.mark.parametrize(("count", "other"), [(0, 0), (0, 9), (9, 0), (1, 9), (5, 9), (9, 5)])
def test_too_few_points_are_nan(count, other):
    rng = np.random.default_rng(0)
    values = scores(rng.normal(size=(count, 2)), rng.normal(size=(other, 2)), k=5)
    assert tuple(values) == SCORES
    assert all(map(isnan, values.values()))
    assert not any(map(isnan, scores(rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), k=5).values()))


def test_radii_leave_the_point_itself_out():
    points = line(0, 1, 3, 7, 7)
    assert radii(distances(points, points), 1).tolist() == [1, 1, 2, 0, 0]
    assert radii(distances(points, points), 2).tolist() == [3, 2, 3, 4, 4]
    assert np.isnan(radii(np.zeros((2, 2)), 2)).all()


def test_distances_are_exact_and_the_same_from_both_sides():
    rng = np.random.default_rng(0)
    a = 1e3 + rng.normal(size=(30, 7))
    b = np.concatenate([rng.normal(size=(20, 7)), a[:5]])
    assert distances(a, b) == pytest.approx(np.array([[np.sqrt(((x - y) ** 2).sum()) for y in b] for x in a]))
    assert (distances(a[:5], b[20:]).diagonal() == 0).all()
    assert (distances(a, b) == distances(b, a).T).all()
    assert distances(np.zeros((0, 1)), b).shape == (0, 25)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12),
    st.booleans(),
    st.integers(1, 4),
)
def test_nearest_is_the_smallest_distance(some, many, others, k):
    points, sources = (np.array(rows, dtype=float).reshape(-1, 2) for rows in (some, many))
    if others:
        points = sources
    matrix = distances(points, sources)
    ranked = k_nearest(points, sources, k)
    assert ranked.shape == (len(points), min(k, len(sources)))
    assert (np.take_along_axis(matrix, ranked, axis=1) == np.sort(matrix, axis=1)[:, :k]).all()
    if others:
        np.fill_diagonal(matrix, np.inf)
    indices, lengths = nearest(points, sources, others=others)
    if matrix.shape[1] < 1 + others:
        assert (indices == -1).all()
        assert np.isnan(lengths).all()
    else:
        assert lengths == pytest.approx(matrix.min(axis=1))
        assert (matrix[np.arange(len(points)), indices] == matrix.min(axis=1)).all()


# The square of the one gap is lost in squares of 10^12, that of the other in squares of 10.
@pytest.mark.parametrize(("offset", "gap"), [(1e6, 1e-5), (0, 1e-9)])
def test_an_identical_row_is_nearest_and_at_0(offset, gap):
    rng = np.random.default_rng(0)
    points = offset + rng.normal(size=(50, 16))
    sources = np.concatenate([points + gap, points, points - gap])
    indices, lengths = nearest(points, sources)
    assert indices.tolist() == list(range(50, 100))
    assert (lengths == 0).all()


def test_of_many_copies_each_has_another_at_0():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(1, 16)).repeat(300, axis=0), rng.normal(size=(9, 16))])
    indices, lengths = nearest(points, points, others=True)
    assert (indices != np.arange(309)).all()
    assert (lengths[:300] == 0).all()
    assert (indices[:300] < 300).all()
    assert (lengths[300:] > 0).all()


def test_k_nearest_are_ordered_as_by_a_full_sort():
    rng = np.random.default_rng(0)
    points, sources = rng.normal(size=(40, 16)), rng.normal(size=(700, 16))
    assert (k_nearest(points, sources, 9) == np.argsort(distances(points, sources), axis=1)[:, :9]).all()
