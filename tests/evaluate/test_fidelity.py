"""Indistinguishable is 0.5: for copies, for halves of one source; and what differs is told apart."""

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from steer.evaluate.embed import HiddenStates, TfidfSvd
from steer.evaluate.fidelity import adversarial_auroc, auroc, cosine_similarity, discriminate, estimate_auroc
from steer.similarity import clusters

COSINES = [
    ([[1, 0]], [[2, 0]], 1.0),
    ([[1, 0]], [[0, 3]], 0.0),
    ([[1, 0]], [[-1, 0]], -1.0),
    ([[1, 0], [0, 1]], [[1, 0]], 0.5**0.5),  # means (½, ½) and (1, 0)
    ([[3, 4]], [[4, 3], [4, 3]], 24 / 25),
]


@pytest.mark.parametrize(("real", "synthetic", "expected"), COSINES)
def test_cosine_of_the_means(real, synthetic, expected):
    assert cosine_similarity(np.array(real, float), np.array(synthetic, float)) == pytest.approx(expected)


def test_counts_are_repeated_rows():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(4, 3)), rng.normal(size=(3, 3))
    repeated = cosine_similarity(real.repeat([2, 0, 1, 1], axis=0), synthetic.repeat([0, 3, 0], axis=0))
    assert cosine_similarity(real, synthetic, [2, 0, 1, 1], [0, 3, 0]) == pytest.approx(repeated)


def test_no_direction_is_nan():
    assert isnan(cosine_similarity(np.array([[1.0, 0], [-1, 0]]), np.array([[1.0, 0]])))
    assert isnan(cosine_similarity(np.zeros((0, 2)), np.ones((2, 2))))


AUROCS = [
    ([0, 0, 1, 1], [1, 2, 3, 4], 1.0),
    ([0, 0, 1, 1], [4, 3, 2, 1], 0.0),
    ([0, 1, 0, 1], [5, 5, 5, 5], 0.5),
    ([0, 0, 1, 1], [1, 3, 2, 3], 2.5 / 4),  # 2 > 1, 3 > 1, and 3 against 3 is half
]


@pytest.mark.parametrize(("synthetic", "scores", "expected"), AUROCS)
def test_auroc_by_hand(synthetic, scores, expected):
    assert auroc(synthetic, scores) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), max_size=12))
def test_auroc_is_that_of_scikit_learn(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    weighted = {bool(label) for label, _, weight in rows if weight}
    if len(weighted) == 2:
        assert auroc(labels, scores, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))
    else:
        assert isnan(auroc(labels, scores, weights))


def test_exact_copies_are_at_one_half(write):
    real = write(60, 1)
    assert adversarial_auroc(real, list(real)) == pytest.approx(0.5, abs=0.01)
    # Without the clusters each copy is recognised by its twin of the other label: the trap that grouping closes.
    ungrouped = discriminate(real, real, np.arange(120)).auroc()
    assert ungrouped < 0.35


def test_lightly_edited_copies_stay_at_one_half(write):
    real = write(60, 1)
    edited = [" ".join((second, first, *rest)) for first, second, *rest in map(str.split, real)]
    assert adversarial_auroc(real, edited) == pytest.approx(0.5, abs=0.1)


def test_halves_of_one_source_are_near_one_half(write):
    values = [adversarial_auroc(write(80, seed), write(80, 100 + seed)) for seed in range(3)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.08)


def test_other_words_are_told_apart(write):
    other = write(80, 2, words=["granite", "violin", "the", "of", "sings", "maps", "cold"])
    assert adversarial_auroc(write(80, 1), other) > 0.99


def test_a_collapsed_set_is_not_recognised_by_its_own_repeats(write):
    values = []
    for seed in range(4):
        real = write(60, seed)
        collapsed = write(8, 100 + seed) * 8
        values.append(adversarial_auroc(real, collapsed))
    # Ungrouped folds know every repeated text: they say 1.
    assert discriminate(real, collapsed, np.arange(124)).auroc() > 0.95
    assert 0.2 < np.mean(values) < 0.8


def test_one_text_repeated_has_no_folds(write):
    real = write(30, 1)
    said = estimate_auroc(real, [real[0]] * 30, clusters(real + [real[0]] * 30))
    assert isnan(said.value)
    assert "fewer than two distinct synthetic texts" in said.reason
    assert isnan(adversarial_auroc([real[0]] * 30, real))


def test_as_many_folds_as_the_rarer_class_allows(write):
    # Two distinct synthetic texts, one of them a copy of a real one: that cluster holds both classes.
    real = write(30, 1)
    value = adversarial_auroc(real, [real[0]] * 10 + write(1, 2) * 10)
    assert 0 <= value <= 1


def test_no_cluster_is_divided_and_every_fold_has_both_classes(write, monkeypatch):
    real, synthetic = write(40, 1), write(10, 2) * 3
    synthetic[:3] = real[:3]
    labels = clusters(real + synthetic)
    seen = []

    class Spy(StratifiedGroupKFold):
        def split(self, texts, label, groups):
            for train, test in super().split(texts, label, groups):
                assert not set(groups[train]) & set(groups[test])
                assert len(set(label[train])) == len(set(label[test])) == 2
                seen.extend(test)
                yield train, test

    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", Spy)
    assert discriminate(real, synthetic, labels).reason is None
    assert sorted(seen) == list(range(70))


def test_row_order_and_empty_sides(write):
    real, synthetic = write(30, 1), [*write(20, 2), "", ""]
    assert adversarial_auroc(real, synthetic) == adversarial_auroc(real[::-1], synthetic[::-1])
    assert isnan(adversarial_auroc([], synthetic))
    assert isnan(adversarial_auroc(real, []))


def test_an_outside_embedder_is_asked_and_scaled(write):
    # The second number decides and is tiny beside the first: only standardised does the classifier see it.
    def lengths(texts):
        noise = np.random.default_rng(0).normal(size=len(texts))
        return np.stack([1e3 * noise, 1e-3 * np.array([len(text) for text in texts])], axis=1)

    short, long = write(40, 1, length=10), write(40, 2, length=30)
    assert adversarial_auroc(short, long, embedder=HiddenStates(lengths, "lengths")) > 0.95


@pytest.mark.parametrize("sizes", [(30, 30), (61, 23), (5, 48)])
def test_a_classifier_that_sees_nothing_says_one_half(write, sizes):
    # Whatever the class sizes of the folds: they are no evidence.
    nothing = HiddenStates(lambda texts: np.ones((len(texts), 3)), "constant")
    real, synthetic = write(sizes[0], 1), write(sizes[1], 2)
    assert adversarial_auroc(real, synthetic, embedder=nothing) == 0.5


def test_tfidf_knows_the_words_it_was_fitted_on():
    embedder = TfidfSvd(["warm bread", "cold stone", "warm stone"])
    vectors = embedder.embed(["warm bread", "warm bread", "unknown", ""])
    assert vectors.shape[1] <= 3
    assert np.allclose(vectors[0], vectors[1])
    assert np.linalg.norm(vectors[0]) == pytest.approx(1.0)
    assert not vectors[2:].any()
    assert "lexical" in embedder.signature
    assert TfidfSvd(["b", "a"]).signature == TfidfSvd(["a", "b"]).signature != TfidfSvd(["a", "c"]).signature


@pytest.mark.parametrize("fit", [[], [""], ["", " \t"], ["a"], ["a", "a", "a"]])
def test_tfidf_of_little(fit):
    vectors = TfidfSvd(fit).embed(["a", "", "b"])
    assert vectors.shape == (3, 1)
    assert np.isfinite(vectors).all()
    assert bool(vectors[0].any()) == ("a" in fit)
    assert TfidfSvd(fit).embed([]).shape == (0, 1)


def test_tfidf_has_at_most_the_dimensions_that_were_asked_for(write):
    assert TfidfSvd(write(100, 1), dimensions=5).embed(["the old bridge"]).shape == (1, 5)
    # Ten copies of two texts span two directions, whatever was asked for.
    assert TfidfSvd(write(2, 1) * 10).embed(["the old bridge"]).shape == (1, 2)
