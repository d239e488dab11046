"""Indistinguishable is 0.5: for copies, for halves of one source; and what differs is told apart."""

import random
import sys
from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from steer.evaluate import adversary
from steer.evaluate.adversary import Discrimination, _exchanged, auroc, discriminate
from steer.evaluate.embed import TfidfSvd
from steer.evaluate.intervals import difference
from steer.similarity import clusters

AUROCS = [
    ([0, 0, 1, 1], [1, 2, 3, 4], 1.0),
    ([0, 0, 1, 1], [4, 3, 2, 1], 0.0),
    ([0, 1, 0, 1], [5, 5, 5, 5], 0.5),
    ([0, 0, 1, 1], [1, 3, 2, 3], 2.5 / 4),  # 2 > 1, 3 > 1, and 3 against 3 is half
]


def tell(real, synthetic, **options):
    return discriminate(real, synthetic, clusters([*real, *synthetic]), **options)


def ungrouped(real, synthetic, **options):
    return discriminate(real, synthetic, np.arange(len(real) + len(synthetic)), **options)


@pytest.mark.parametrize(("synthetic", "scores", "expected"), AUROCS)
def test_auroc_by_hand(synthetic, scores, expected):
    assert auroc(synthetic, scores) == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 3)), max_size=12))
def test_auroc_is_that_of_scikit_learn(rows):
    labels, scores, weights = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    for options, counted in (({}, np.ones(len(labels))), ({"sample_weight": weights}, weights)):
        ours = auroc(labels, scores, *options.values())
        if len({bool(label) for label, weight in zip(labels, counted, strict=True) if weight}) == 2:
            assert ours == pytest.approx(roc_auc_score(labels, scores, **options), abs=1e-12)
        else:
            assert isnan(ours)


def test_exact_copies_are_at_one_half_and_ungrouped_folds_call_them_better_than_real(write):
    real = write(60, 1)
    assert tell(real, list(real)).auroc() == pytest.approx(0.5, abs=1e-12)
    # Without the clusters each copy is recognised by its twin of the other label: the trap that grouping closes.
    assert ungrouped(real, real).auroc() < 0.35


def test_lightly_edited_copies_stay_at_one_half(write):
    real = write(60, 1)
    edited = [" ".join((second, first, *rest)) for first, second, *rest in map(str.split, real)]
    assert tell(real, edited).auroc() == pytest.approx(0.5, abs=0.1)


def test_halves_of_one_source_are_near_one_half(write):
    values = [tell(write(80, seed), write(80, 100 + seed)).auroc() for seed in range(3)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.08)


def test_a_collapsed_set_is_not_recognised_by_its_own_repeats(write):
    values = []
    for seed in range(4):
        real, collapsed = write(60, seed), write(8, 100 + seed) * 8
        values.append(tell(real, collapsed).auroc())
    assert 0.2 < np.mean(values) < 0.8
    assert ungrouped(real, collapsed).auroc() > 0.95


def test_other_words_are_told_apart(write):
    other = write(80, 2, words=["granite", "violin", "the", "of", "sings", "maps", "cold"])
    assert tell(write(80, 1), other).auroc() > 0.99


QUALITIES = ("old", "blue", "heavy", "narrow", "gentle", "bright", "hollow", "patient")
NOUNS = ("kettle", "harbour", "lantern", "river", "garden", "engine", "ladder", "window", "bridge", "mirror")
VERBS = ("warms", "crosses", "paints", "follows", "lifts", "mends", "opens", "carries")


def sentences(count, seed):
    """Sentences by a grammar, so that the order of their words means something."""
    rng = random.Random(seed)

    def thing():
        return f"the {rng.choice(QUALITIES)} {rng.choice(NOUNS)}"

    return [f"{thing()} {rng.choice(VERBS)} {thing()} under {thing()} and {thing()}" for _ in range(count)]


def test_shuffled_words_are_detected():
    shuffled = [" ".join(random.Random(i).sample(text.split(), 14)) for i, text in enumerate(sentences(80, 2))]
    assert tell(sentences(80, 1), shuffled).auroc() > 0.95
    assert tell(sentences(80, 1), sentences(80, 2)).auroc() == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(("real", "synthetic", "which"), [("many", "one", "synthetic"), ("one", "many", "real")])
def test_one_text_repeated_has_no_folds(write, real, synthetic, which):
    texts = {"many": write(30, 1), "one": write(1, 1) * 30}
    said = tell(texts[real], texts[synthetic])
    assert isnan(said.auroc())
    assert isnan(said.estimate().value)
    assert f"fewer than two distinct {which} texts" in said.estimate().reason


def test_an_empty_side_has_a_reason(write):
    for real, synthetic, which in (([], write(9, 1), "real"), (write(9, 1), [], "synthetic"), ([], [], "synthetic")):
        estimate = tell(real, synthetic).estimate()
        assert isnan(estimate.value)
        assert which in estimate.reason


def test_clusters_that_cannot_be_divided_have_a_reason(write):
    # The texts of one side are nearly all one cluster, and those of the other another: the fold without the one has
    # nothing of its side to train on.
    said = discriminate(write(11, 1), write(11, 2), np.repeat([0, 1, 0, 2], [1, 10, 1, 10]))
    assert isnan(said.estimate().value)
    assert "cannot be divided" in said.estimate().reason


def test_as_many_folds_as_the_rarer_class_allows(write):
    # Two distinct synthetic texts, one of them a copy of a real one: that cluster holds both classes.
    real = write(30, 1)
    assert 0 <= tell(real, [real[0]] * 10 + write(1, 2) * 10).auroc() <= 1
    assert 0 <= tell(real, [*write(5, 2), "", ""]).auroc() <= 1


def test_no_cluster_is_divided_and_every_fold_has_both_classes(write, monkeypatch):
    real, synthetic = write(40, 1), write(10, 2) * 3
    synthetic[:3] = real[:3]
    seen = []

    class Spy(StratifiedGroupKFold):
        def split(self, texts, label, groups):
            for train, test in super().split(texts, label, groups):
                assert not set(groups[train]) & set(groups[test])
                assert len(set(label[train])) == len(set(label[test])) == 2
                seen.extend(test)
                yield train, test

    monkeypatch.setattr("sklearn.model_selection.StratifiedGroupKFold", Spy)
    assert tell(real, synthetic).reason is None
    assert sorted(seen) == list(range(70))


def test_features_are_learned_from_the_texts_that_are_trained_on(write, monkeypatch):
    fitted, embedded, scaled = [], [], []

    class Lexical(TfidfSvd):
        def __init__(self, texts, **options):
            fitted.append(set(texts))
            super().__init__(texts, **options)

        def embed(self, texts):
            embedded.append(set(texts))
            return super().embed(texts)

    class Scaler(StandardScaler):
        def fit(self, rows):
            scaled.append({*rows[:, 0]})
            return super().fit(rows)

    monkeypatch.setattr(adversary, "TfidfSvd", Lexical)
    monkeypatch.setattr("sklearn.preprocessing.StandardScaler", Scaler)
    real, synthetic = write(25, 1), write(25, 2)
    tell(real, synthetic)
    assert fitted == embedded[::2]
    assert len(fitted) == 5
    for train, test in zip(fitted, embedded[1::2], strict=True):
        assert not train & test
        assert train | test == {*real, *synthetic}
    tell(real, synthetic, embeddings=np.arange(100).reshape(50, 2))
    texts = dict(zip(range(0, 100, 2), [*real, *synthetic], strict=True))
    assert [{texts[first] for first in rows} for rows in scaled] == fitted


def test_an_outside_embedding_is_scaled(write):
    # The second number decides and is tiny beside the first: only standardised does the classifier see it.
    short, long = write(40, 1, length=10), write(40, 2, length=30)
    noise = np.random.default_rng(0).normal(size=80)
    lengths = np.array([len(text) for text in short + long])
    embeddings = np.stack([1e3 * noise, 1e-3 * lengths], axis=1)
    assert tell(short, long, embeddings=embeddings).auroc() > 0.95


def test_less_than_the_precision_of_the_classifier_is_no_evidence():
    # Copies of some of the real texts, exact ones and as they come of another order of summing.
    rng = np.random.default_rng(0)
    rows, others = rng.normal(size=(30, 2)), rng.normal(1, size=(20, 2))
    labels = np.concatenate([np.arange(50), np.arange(30)])
    exact, nearly = (of_vectors([*rows, *others], rows + gap, clusters=labels).auroc() for gap in (0, 1e-9))
    assert exact == nearly != 0.5


@pytest.mark.parametrize("sizes", [(30, 30), (61, 23), (5, 48)])
def test_a_classifier_that_sees_nothing_says_one_half(write, sizes):
    # Whatever the class sizes of the folds: they are no evidence.
    said = tell(write(sizes[0], 1), write(sizes[1], 2), embeddings=np.ones((sum(sizes), 3)))
    assert said.auroc() == 0.5


def test_the_seed_decides(write):
    one, same, other = (tell(write(40, 1), write(40, 2), seed=seed).scores.tolist() for seed in (1, 1, 2))
    assert one == same != other


def of_vectors(real, synthetic, **options):
    """Told apart by vectors alone, each text a cluster of its own unless said otherwise."""
    vectors = np.concatenate([real, synthetic])
    options = {"clusters": np.arange(len(vectors)), **options}
    return discriminate([""] * len(real), [""] * len(synthetic), embeddings=vectors, **options)


def test_p_is_uniform_where_both_are_from_one_source():
    chances = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        said = of_vectors(rng.normal(size=(15, 2)), rng.normal(size=(15, 2)), permutations=19, seed=seed)
        chances.append(said.p)
        assert said.estimate().p == said.p
        assert round(20 * said.p) in range(1, 21)
    assert np.mean(chances) == pytest.approx(0.525, abs=0.2)
    assert np.mean([p <= 0.2 for p in chances]) <= 0.5
    assert np.mean([p <= 0.5 for p in chances]) == pytest.approx(0.5, abs=0.35)


def test_p_is_minimal_where_no_permutation_does_as_well():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(15, 2)), rng.normal(size=(15, 2)) + 4
    assert of_vectors(real, synthetic, permutations=19).p == 1 / 20
    assert isnan(of_vectors(real, synthetic).p)


def test_p_exchanges_whole_clusters():
    # Six texts from the source of the real ones, each eight times: no evidence against that source.
    rng = np.random.default_rng(4)
    real, six = rng.normal(size=(24, 2)), rng.normal(size=(6, 2))
    collapsed = six.repeat(8, axis=0)
    labels = np.concatenate([np.arange(24), 24 + np.arange(6).repeat(8)])
    assert of_vectors(real, collapsed, clusters=labels, permutations=19).p > 0.1
    assert of_vectors(real, collapsed, permutations=19).p == 1 / 20  # text by text, the repeats alone would be
    # Of copies, the two sides of each cluster are exchanged, and no exchange changes anything.
    assert of_vectors(real, real, clusters=np.tile(np.arange(24), 2), permutations=19).p == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=20), st.integers(0, 9))
def test_clusters_are_exchanged_whole_or_inside_themselves(rows, seed):
    labels, synthetic = (np.array(column) for column in zip(*rows, strict=True)) if rows else ([], [])
    labels = np.unique(labels, return_inverse=True)[1]
    synthetic = np.array(synthetic, dtype=bool)
    made = _exchanged(synthetic, labels, np.random.default_rng(seed))
    before, after = ([set(side[labels == one]) for one in range(len(set(labels)))] for side in (synthetic, made))
    # As many clusters of each kind; those of both kinds are the same ones, with as many of each inside.
    assert sorted(map(sorted, before)) == sorted(map(sorted, after))
    for one, kinds in enumerate(before):
        if len(kinds) == 2:
            assert made[labels == one].sum() == synthetic[labels == one].sum()


def test_both_kinds_of_exchange_happen():
    synthetic, labels = np.array([0, 0, 1, 1, 0, 1], dtype=bool), np.array([0, 0, 1, 1, 2, 2])
    made = {tuple(_exchanged(synthetic, labels, np.random.default_rng(seed)).astype(int)) for seed in range(40)}
    assert made == {(a, a, 1 - a, 1 - a, b, 1 - b) for a in (0, 1) for b in (0, 1)}


def discrimination(real, synthetic, of_clusters=None):
    scores = np.concatenate([real, synthetic])
    labels = np.arange(len(scores)) if of_clusters is None else of_clusters
    return Discrimination(np.arange(len(scores)) >= len(real), scores, labels)


def test_the_interval_knows_that_repeats_are_no_further_evidence():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=30), rng.normal(1, size=30)
    once = discrimination(real, synthetic).estimate()
    repeated = real.repeat(4), synthetic.repeat(4)
    assert discrimination(*repeated, np.arange(60).repeat(4)).estimate() == once
    believed = discrimination(*repeated).estimate()
    assert believed.value == once.value == roc_auc_score(np.arange(60) >= 30, [*real, *synthetic])
    assert believed.high - believed.low == pytest.approx((once.high - once.low) / 2, rel=0.2)
    assert once.low < once.value < once.high


def test_the_same_real_texts_are_in_the_resamples_of_two_rivals():
    # Few real texts, whose noise both share, and many others. Of the one, some are copies of real texts.
    rng = np.random.default_rng(0)
    real, mine, other = rng.normal(size=20), rng.normal(1, size=300), rng.normal(1, size=280)
    labels = np.concatenate([np.arange(20), np.arange(5), 20 + np.arange(295)])
    one, two = discrimination(real, mine, labels).estimate(), discrimination(real, other).estimate()
    paired = difference(one, two)
    unpaired = difference(one, discrimination(real, other).estimate(seed=1))
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_xgboost_tells_what_no_line_divides():
    pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(40, 2))
    outer = inner * 5 / np.linalg.norm(inner, axis=1, keepdims=True)
    assert of_vectors(inner, outer, classifier="xgboost").auroc() > 0.95
    assert of_vectors(inner, outer).auroc() < 0.7


def test_xgboost_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[eval\]'"):
        of_vectors(np.eye(4), np.eye(4), classifier="xgboost")
