"""Distances between two sets against slow obvious code: halves of one source are nowhere apart, strangers are."""

import sys
from itertools import combinations
from math import isnan

import numpy as np
import pytest
from scipy.spatial import distance

from steer.evaluate import fidelity
from steer.evaluate.fidelity import (
    cosine_similarity,
    estimate_cosines,
    estimate_mauve,
    estimate_mmd,
    kernel,
    mauve,
    mean_pairwise_cosine,
    mmd,
)

ESTIMATES = [estimate_cosines, estimate_mmd, estimate_mauve]

COSINES = [
    ([[1, 0]], [[2, 0]], 1.0),
    ([[1, 0]], [[0, 3]], 0.0),
    ([[1, 0]], [[-1, 0]], -1.0),
    ([[1, 0], [0, 1]], [[1, 0]], 0.5**0.5),  # means (½, ½) and (1, 0)
    ([[3, 4]], [[4, 3], [4, 3]], 24 / 25),
]


def normal(*shape, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=shape) + shift


@pytest.mark.parametrize(("real", "synthetic", "expected"), COSINES)
def test_cosine_of_the_means_by_hand(real, synthetic, expected):
    assert cosine_similarity(np.array(real, float), np.array(synthetic, float)) == pytest.approx(expected)


def test_cosines_are_those_of_scipy():
    real, synthetic = normal(7, 3, shift=0.3), normal(5, 3, seed=1)
    of_means = 1 - distance.cosine(real.mean(axis=0), synthetic.mean(axis=0))
    assert cosine_similarity(real, synthetic) == pytest.approx(of_means)
    pairs = [1 - distance.cosine(one, other) for one in real for other in synthetic]
    assert mean_pairwise_cosine(real, synthetic) == pytest.approx(sum(pairs) / 35)


@pytest.mark.parametrize("cosine", [cosine_similarity, mean_pairwise_cosine])
def test_counts_are_repeated_rows(cosine):
    real, synthetic = normal(4, 3), normal(3, 3, seed=1)
    repeated = cosine(real.repeat([2, 0, 1, 1], axis=0), synthetic.repeat([0, 3, 0], axis=0))
    assert cosine(real, synthetic, [2, 0, 1, 1], [0, 3, 0]) == pytest.approx(repeated)


def test_lengths_matter_to_the_mean_and_not_to_the_pairs():
    long, short = np.array([[9.0, 0], [0, 1]]), np.array([[1.0, 0]])
    assert cosine_similarity(long, short) == pytest.approx(9 / 82**0.5)
    assert mean_pairwise_cosine(long, short) == pytest.approx(0.5)
    assert mean_pairwise_cosine(np.zeros((2, 2)), short) == 0.0


@pytest.mark.parametrize("cosine", [cosine_similarity, mean_pairwise_cosine])
def test_no_text_has_no_direction(cosine):
    assert isnan(cosine(np.zeros((0, 2)), np.ones((2, 2))))
    assert isnan(cosine(np.ones((2, 2)), np.zeros((0, 2))))
    assert isnan(cosine(np.ones((2, 2)), np.ones((2, 2)), [0, 0], [1, 1]))


def test_a_mean_of_zero_has_no_direction_and_says_so():
    opposite = np.array([[1.0, 0], [-1, 0]])
    assert isnan(cosine_similarity(opposite, np.array([[1.0, 0]])))
    made = estimate_cosines(opposite, opposite)
    assert isnan(made["cosine_similarity"].value)
    assert "no direction" in made["cosine_similarity"].reason
    assert made["mean_pairwise_cosine"].value == 0.0


def test_cosine_intervals_hold_the_value_and_shrink_with_more_texts():
    few, many = (estimate_cosines(normal(n, 4, shift=0.5), normal(n, 4, seed=1, shift=0.5)) for n in (30, 480))
    for name in ("cosine_similarity", "mean_pairwise_cosine"):
        for made in (few[name], many[name]):
            assert -1 <= made.low < made.value < made.high <= 1
        assert many[name].high - many[name].low < 0.4 * (few[name].high - few[name].low)


def slow_mmd(real, synthetic):
    """Gretton et al. 2012, equation 3, sum by sum."""
    width = np.median([distance.euclidean(one, other) for one, other in combinations(real, 2)])

    def k(one, other):
        return np.exp(-((one - other) @ (one - other)) / (2 * width**2))

    n, m, total = len(real), len(synthetic), 0.0
    for i in range(n):
        for j in range(n):
            total += k(real[i], real[j]) / (n * (n - 1)) if i != j else 0
    for i in range(m):
        for j in range(m):
            total += k(synthetic[i], synthetic[j]) / (m * (m - 1)) if i != j else 0
    for i in range(n):
        for j in range(m):
            total -= 2 * k(real[i], synthetic[j]) / (n * m)
    return total


@pytest.mark.parametrize(("n", "m", "shift"), [(9, 7, 0.0), (2, 11, 1.0), (12, 2, 3.0)])
def test_mmd_is_its_definition(n, m, shift):
    real, synthetic = normal(n, 3), normal(m, 3, seed=1, shift=shift)
    synthetic[0] = real[0]
    value = mmd(kernel(real, synthetic), np.arange(n + m) >= n)
    assert value == pytest.approx(slow_mmd(real, synthetic), abs=1e-12)
    assert estimate_mmd(real, synthetic)["mmd"].value == value


def test_mmd_of_chosen_texts_is_that_of_no_others():
    gram, synthetic = kernel(normal(9, 3), normal(7, 3, seed=1)), np.arange(16) >= 9
    chosen = np.arange(16) % 3 != 0
    assert mmd(gram, synthetic, chosen) == pytest.approx(mmd(gram[np.ix_(chosen, chosen)], synthetic[chosen]))
    assert isnan(mmd(gram, synthetic, np.arange(16) < 10))


def test_mmd_of_all_divisions_of_one_sample_is_0_on_average():
    gram = kernel(normal(4, 3), normal(4, 3, seed=1, shift=2.0))
    values = [mmd(gram, np.isin(np.arange(8), half)) for half in combinations(range(8), 4)]
    assert np.mean(values) == pytest.approx(0, abs=1e-12)
    assert min(values) < 0 < max(values)


def test_the_kernel_is_as_wide_whatever_the_synthetic_texts():
    real = normal(9, 3)
    near, far = kernel(real, normal(7, 3)), kernel(real, normal(5, 3, shift=99.0))
    assert (near[:9, :9] == far[:9, :9]).all()
    assert np.median(near[:9, :9][np.triu_indices(9, 1)]) == pytest.approx(np.exp(-0.5), abs=1e-6)


def test_p_of_mmd_is_uniform_where_both_are_from_one_source_and_minimal_where_they_differ():
    chances = []
    for seed in range(30):
        rows = normal(50, 3, seed=seed)
        chances.append(estimate_mmd(rows[:20], rows[20:])["mmd"].p)
    assert np.mean(chances) == pytest.approx(0.5, abs=0.12)
    assert np.mean([p <= 0.2 for p in chances]) == pytest.approx(0.2, abs=0.15)
    apart = estimate_mmd(normal(20, 3), normal(20, 3, seed=1, shift=2.0))["mmd"]
    assert apart.p == 1 / 200
    assert 0 < apart.low < apart.value < apart.high


@pytest.mark.parametrize("estimate", ESTIMATES)
@pytest.mark.parametrize(
    ("real", "synthetic", "reason"),
    [
        (np.zeros((0, 3)), normal(50, 3), "no real texts"),
        (normal(50, 3), np.zeros((0, 3)), "no texts to measure"),
        (normal(50, 3), np.full((50, 3), np.nan), "not finite"),
        (np.full((50, 3), np.inf), normal(50, 3), "not finite"),
    ],
)
def test_what_cannot_be_measured_says_why(estimate, real, synthetic, reason):
    for made in estimate(real, synthetic).values():
        assert isnan(made.value)
        assert reason in made.reason


@pytest.mark.parametrize(
    ("estimate", "real", "synthetic", "reason"),
    [
        (estimate_mmd, normal(50, 3), normal(1, 3), "fewer than two"),
        (estimate_mmd, np.ones((50, 3)), normal(50, 3), "too alike"),
        (estimate_mauve, normal(39, 3), normal(50, 3), "fewer than 40"),
        (estimate_mauve, normal(50, 3), normal(39, 3), "fewer than 40"),
    ],
)
def test_too_little_to_measure_says_why(estimate, real, synthetic, reason):
    (made,) = estimate(real, synthetic).values()
    assert isnan(made.value)
    assert reason in made.reason


def test_mauve_is_that_of_the_library():
    library = pytest.importorskip("mauve")
    real, synthetic = normal(90, 8), normal(70, 8, seed=1, shift=0.5)
    direct = [library.compute_mauve(real, synthetic, seed=seed).mauve for seed in range(7, 12)]
    assert mauve(real, synthetic, 7) == pytest.approx(direct[0], abs=1e-6)
    made = estimate_mauve(real, synthetic, seed=7)["mauve"]
    assert made.value == pytest.approx(np.mean(direct), abs=1e-6)
    assert 0 <= made.low < made.value < made.high <= 1
    assert made == estimate_mauve(real, synthetic, seed=7)["mauve"]


# Where all of the curve is one point, as it may be to the last bit or not, the library's area is 3/4.
@pytest.mark.parametrize("count", [44, 50, 64])
def test_mauve_of_copies_is_1_whatever_the_seed(count):
    pytest.importorskip("mauve")
    rows = normal(count, 8, seed=count)
    assert [mauve(rows, rows, seed) for seed in range(20)] == pytest.approx([1.0] * 20)


@pytest.mark.parametrize("point", [0.0, 1.0])
def test_mauve_of_a_single_point_is_not_said_to_differ_from_itself(point):
    pytest.importorskip("mauve")
    made = estimate_mauve(np.full((50, 3), point), np.full((50, 3), point))["mauve"]
    assert (isnan(made.value) and bool(made.reason)) or made.value == pytest.approx(1.0)


def test_mauve_of_strangers_is_nearly_0():
    pytest.importorskip("mauve")
    assert estimate_mauve(normal(60, 8), normal(60, 8, seed=1) * 0.1 + 9)["mauve"].value < 0.05


def test_mauve_says_nothing_on_the_terminal(capfd):
    pytest.importorskip("mauve")
    mauve(normal(40, 3), normal(40, 3, seed=1))
    assert capfd.readouterr() == ("", "")


def test_mauve_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mauve", None)
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[mauve\]'"):
        fidelity.mauve(normal(40, 3), normal(40, 3))
