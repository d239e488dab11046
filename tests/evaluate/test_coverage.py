"""Neighbourhoods, hulls and the effective number of texts, with their intervals and their reasons."""

from math import isnan

import numpy as np
import pytest

from steer.evaluate.coverage import HULL, PRDC, K, estimate_hulls, estimate_neighbours
from steer.evaluate.diversity import vendi
from steer.evaluate.hull import hull_scores, project
from steer.evaluate.neighbours import distances, prdc


def normal(*shape, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=shape) + shift


def pca(real, synthetic, seed=0):
    return estimate_hulls(real, synthetic, seed, "pca")


ESTIMATES = [(estimate_neighbours, PRDC), (pca, tuple(f"{name}_pca" for name in HULL)), (estimate_hulls, HULL)]


def test_neighbours_are_those_of_all_texts_with_an_interval():
    real, synthetic = normal(60, 4), normal(45, 4, seed=1)
    made = estimate_neighbours(real, synthetic)
    whole = prdc(distances(real, real), distances(synthetic, synthetic), distances(real, synthetic), K)
    assert {name: one.value for name, one in made.items()} == whole
    assert tuple(made) == PRDC
    for name, one in made.items():
        assert 0 <= one.low < one.value < one.high
        assert one.high <= 1 or name == "density"
    assert made == estimate_neighbours(real, synthetic)
    assert made != estimate_neighbours(real, synthetic, seed=1)


def test_what_is_collapsed_is_precise_and_covers_nothing():
    collapsed = 0.01 * normal(60, 4, seed=1)
    made = estimate_neighbours(normal(60, 4), collapsed)
    assert made["precision"].low > 0.9
    assert made["coverage"].high < 0.4
    assert made["recall"].high < 0.1


@pytest.mark.parametrize(("estimate", "names"), ESTIMATES)
@pytest.mark.parametrize(
    ("real", "synthetic", "reason"),
    [
        (np.zeros((0, 1)), normal(9, 3), "no real texts"),
        (normal(9, 3), np.zeros((0, 1)), "no texts to measure"),
        (np.zeros((0, 1)), np.zeros((0, 1)), "no real texts"),
        (normal(9, 3), np.full((9, 3), np.nan), "not finite"),
    ],
)
def test_what_cannot_be_measured_says_why(estimate, names, real, synthetic, reason):
    made = estimate(real, synthetic)
    assert tuple(made) == names
    for one in made.values():
        assert isnan(one.value)
        assert reason in one.reason


@pytest.mark.parametrize(("count", "other"), [(K, 40), (40, K), (1, 1)])
def test_k_neighbours_take_more_than_k_texts(count, other):
    for one in estimate_neighbours(normal(count, 3), normal(other, 3)).values():
        assert isnan(one.value)
        assert f"more than {K} texts" in one.reason
    enough = estimate_neighbours(normal(K + 1, 3), normal(K + 1, 3, seed=1))
    assert not any(isnan(one.value) for one in enough.values())
    # Of halves of six texts none has five neighbours.
    assert all("undefined" in one.reason for one in enough.values())


def test_hulls_are_those_of_the_joint_projection():
    rows = normal(240, 20) @ normal(20, 20, seed=1)
    made = pca(rows[:120], rows[120:])
    assert tuple(made) == ("hull_precision_pca", "hull_recall_pca", "hull_f_pca")
    values = [one.value for one in made.values()]
    assert values == list(hull_scores(*project(rows[:120], rows[120:], 5, "pca")).values())
    # Halves of one source: far from 1, which is why the ceiling has to stand beside.
    assert all(0.3 < value < 0.8 for value in values)
    assert all(0 <= one.low < one.value < one.high <= 1 for one in made.values())
    assert pca(rows[:120], rows[120:] + 100)["hull_f_pca"].value == 0


def test_copies_have_the_same_hull_and_one_text_has_no_interval():
    rows = normal(40, 12)
    assert {one.value for one in pca(rows, rows[::-1]).values()} == {1.0}
    lone = pca(rows, rows[:1])["hull_precision_pca"]
    assert lone.value == 1.0
    assert isnan(lone.low)
    assert "at least two" in lone.reason


def test_few_different_texts_have_no_umap():
    pytest.importorskip("umap")
    for one in estimate_hulls(normal(3, 4).repeat(9, axis=0), normal(3, 4).repeat(9, axis=0)).values():
        assert isnan(one.value)
        assert "too few different texts" in one.reason


def test_vendi_by_hand():
    assert vendi(np.tile([0.3, 0.4, 0.1], (7, 1))) == pytest.approx(1)
    assert vendi(3 * np.eye(9)) == pytest.approx(9)
    assert vendi(np.eye(3).repeat(5, axis=0)) == pytest.approx(3)
    assert vendi(np.array([[1.0, 0], [-2, 0]])) == pytest.approx(1)  # one direction, of either sign
    assert vendi(np.array([[1.0, 0], [0, 0]])) == pytest.approx(2)  # zero is like no other
    assert vendi(np.zeros((5, 2))) == pytest.approx(1)
    assert isnan(vendi(np.zeros((0, 4))))


@pytest.mark.parametrize(("count", "dimensions"), [(1, 3), (5, 30), (30, 5), (20, 20)])
def test_vendi_is_its_definition(count, dimensions):
    rows = normal(count, dimensions, shift=0.5)
    cosines = np.array([[a @ b / np.sqrt((a @ a) * (b @ b)) for b in rows] for a in rows])
    shares = np.abs(np.linalg.eigvals(cosines / count))
    entropy = -sum(share * np.log(share) for share in shares if share > 1e-14)
    assert vendi(rows) == pytest.approx(np.exp(entropy), rel=1e-9)
    assert vendi(rows[::-1] * 7) == pytest.approx(vendi(rows))


def test_vendi_is_from_1_to_the_number_of_texts():
    # To the bit: a value outside its bounds is one outside its interval.
    assert min(vendi(np.tile([0.3, 0.4, 0.1], (count, 1))) for count in range(1, 12)) >= 1
    assert max(vendi(np.eye(count)) - count for count in range(1, 12)) <= 0
