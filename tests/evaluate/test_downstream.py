"""As useful as real texts: texts of the same source. Useless: labels at random. And nothing tested was trained on."""

import sys
from math import isnan, sqrt

import numpy as np
import pytest
from sklearn.metrics import f1_score

from steer.evaluate.downstream import SETS, Grade, Labelled, Pool, classify, compare, divide, grade, interval


def draw(count, seed, *, classes="ab", distance=2.0, dimensions=6):
    """Normal clouds, one a class, whose centres are `distance` standard deviations from the origin."""
    rng = np.random.default_rng(seed)
    label = rng.permutation(np.arange(count) % len(classes))
    vectors = rng.normal(size=(count, dimensions)) + distance * np.eye(len(classes), dimensions)[label]
    return Labelled(vectors, tuple(classes[i] for i in label))


def shuffled(source, seed=0):
    return Labelled(source.vectors, tuple(np.random.default_rng(seed).permutation(source.labels).tolist()))


def means(result):
    return {name: usefulness.mean for name, usefulness in result.sets.items()}


@pytest.mark.parametrize("separate", [True, False], ids=["separate", "halves"])
def test_texts_of_the_same_source_are_as_useful_as_real_ones(separate):
    result = classify(draw(200, 1) if separate else None, draw(200, 2), draw(200, 3))
    assert result.reason is None
    assert result.chance == 0.5
    assert set(result.sets) == set(SETS)
    assert result.sets["synthetic"].mean == pytest.approx(result.sets["real"].mean, abs=0.04)
    for usefulness in result.sets.values():
        assert usefulness.mean > 0.85
        assert usefulness.low < usefulness.mean < usefulness.high <= 1
        assert usefulness.mean == pytest.approx(np.mean(usefulness.scores))
        assert usefulness.sd == pytest.approx(np.std(usefulness.scores, ddof=1))
        assert usefulness.macro_f1 == pytest.approx(usefulness.mean, abs=0.01)


@pytest.mark.parametrize("separate", [True, False], ids=["separate", "halves"])
def test_labels_at_random_are_at_chance_and_real_ones_stay_high(separate):
    wide = {"distance": 1.5, "dimensions": 30}  # so that labels at random leave no one direction to go by
    result = classify(draw(400, 1, **wide) if separate else None, draw(400, 2, **wide), shuffled(draw(400, 3, **wide)))
    assert result.sets["synthetic"].mean == pytest.approx(0.5, abs=0.15)
    assert result.sets["real"].mean > 0.8
    assert result.sets["synthetic"].high < result.sets["real"].low


def test_wrong_labels_are_worse_than_chance():
    real = draw(300, 3)
    swapped = Labelled(real.vectors, tuple("ba"["ab".index(label)] for label in real.labels))
    assert classify(draw(100, 1), draw(100, 2), swapped).sets["synthetic"].mean < 0.15


def test_both_help_where_real_texts_are_scarce():
    result = classify(
        draw(20, 1, distance=1, dimensions=20),
        draw(400, 2, distance=1, dimensions=20),
        draw(400, 3, distance=1, dimensions=20),
    )
    assert result.sets["both"].mean > result.sets["real"].mean + 0.02
    assert result.curve[-1][0] == 16  # 80% of the smaller source


def test_curve_rises_on_an_easy_problem_and_ends_at_the_result():
    result = classify(*(draw(400, seed, distance=1.2, dimensions=20) for seed in (1, 2, 3)))
    sizes = [size for size, _ in result.curve]
    assert sizes == [20, 40, 80, 160, 320]
    assert result.curve[-1][1] == result.sets
    for name in SETS:
        path = [sets[name].mean for _, sets in result.curve]
        assert path[-1] > path[0] + 0.05
        assert min(np.diff(path)) > -0.02
    assert len(classify(*(draw(40, seed) for seed in (1, 2, 3)), points=1).curve) == 1


def test_same_seed_same_result_and_rescaled_vectors_too():
    sources = [draw(60, seed) for seed in (1, 2, 3)]
    first = classify(*sources)
    assert first == classify(*sources)
    assert first.sets != classify(*sources, seed=1).sets
    stretched = [Labelled(source.vectors * 10.0 ** np.arange(-3, 3), source.labels) for source in sources]
    assert means(classify(*stretched)) == pytest.approx(means(first))


def test_labels_that_training_lacks_are_tested_and_missed():
    real = [draw(300, 1, classes="abc", distance=8.0), draw(90, 2, classes="abc", distance=8.0)]
    # Of the labels a, b, c the synthetic texts have the first and the last.
    some = [i for i, label in enumerate(real[0].labels) if label != "b"]
    synthetic = Labelled(real[0].vectors[some], tuple(real[0].labels[i] for i in some))
    result = classify(*real, synthetic)
    assert result.sets["synthetic"].scores == (pytest.approx(2 / 3),) * 5
    assert result.sets["synthetic"].macro_f1 < 2 / 3
    assert result.sets["real"].mean == pytest.approx(1)
    assert result.chance == pytest.approx(1 / 3)


def test_a_sample_of_one_label_says_that_label():
    def rare(seed):
        source = draw(200, seed, distance=8.0)
        kept = [i for i, label in enumerate(source.labels) if label == "a"] + [source.labels.index("b")] * 2
        return Labelled(source.vectors[kept], tuple(source.labels[i] for i in kept))

    first = classify(rare(1), draw(100, 2, distance=8.0), rare(3)).curve[0]
    assert first[0] == 10
    assert 0.5 in first[1]["synthetic"].scores


NOTHING = Labelled(np.zeros((0, 6)), ())
UNDEFINED = [
    (draw(50, 1), draw(50, 2), draw(50, 3, classes="a"), "two labels"),
    (draw(50, 1), draw(50, 2), draw(50, 3, classes="xy"), "two labels"),
    (draw(50, 1, classes="a"), draw(50, 2, classes="a"), draw(50, 3, classes="a"), "two labels"),
    (NOTHING, draw(50, 2), draw(50, 3), "two labels"),
    (draw(50, 1), NOTHING, draw(50, 3), "two labels"),
    (None, NOTHING, NOTHING, "two labels"),
    (draw(50, 1), draw(50, 2), draw(12, 3), "10 to train on"),
    (draw(50, 1), draw(9, 2), draw(50, 3), "9 to test on"),
    (None, draw(16, 2), draw(50, 3), "8 to train on and 8 to test on"),
    (draw(50, 1), Labelled(np.full((50, 6), np.nan), draw(50, 2).labels), draw(50, 3), "not finite"),
]


@pytest.mark.parametrize(("train", "test", "synthetic", "reason"), UNDEFINED)
def test_undefined_is_nan_with_a_reason(train, test, synthetic, reason):
    result = classify(train, test, synthetic)
    if reason == "10 to train on":  # ten are enough
        assert result.reason is None
        assert (
            classify(train, test, draw(11, 3)).reason
            == "too few texts: 9 to train on and 50 to test on; it takes 10 of each"
        )
        return
    assert reason in result.reason
    assert all(isnan(usefulness.mean) and usefulness.scores == () for usefulness in result.sets.values())
    assert result.curve == ()


def test_vectors_that_say_nothing_are_at_chance():
    def constant(source):
        return Labelled(np.ones_like(source.vectors), source.labels)

    result = classify(*(constant(draw(60, seed)) for seed in (1, 2, 3)))
    assert means(result) == pytest.approx(dict.fromkeys(SETS, 0.5), abs=0.05)


MISUSE = [
    (lambda: Labelled(np.ones((3, 2)), ("a", "b")), "expected"),
    (lambda: Labelled(np.ones(3), ("a", "b", "a")), "expected"),
    (lambda: classify(draw(20, 1), draw(20, 2, dimensions=4), draw(20, 3)), "dimensions"),
    (lambda: classify(None, draw(20, 2), draw(20, 3), groups=[1, 2]), "groups"),
    (lambda: classify(None, draw(20, 2), draw(20, 3), classifier="oracle"), "oracle"),
    (lambda: classify(None, draw(40, 2), draw(40, 3), splits=0), "splits=0"),
    (lambda: classify(None, draw(40, 2), draw(40, 3), points=0), "points=0"),
]


@pytest.mark.parametrize(("call", "message"), MISUSE)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_near_copies_of_tested_texts_are_not_trained_on():
    # Random labels of random vectors, each text five times: whoever trained on a copy knows the label.
    rng = np.random.default_rng(0)
    copies = np.repeat(np.arange(40), 5)
    vectors, labels = rng.normal(size=(40, 60))[copies], rng.permutation(np.arange(40) % 2)[copies]
    real = Labelled(vectors, tuple("ab"[label] for label in labels))
    leaking = classify(None, real, real)
    honest = classify(None, real, real, groups=np.concatenate([copies, copies]))
    assert means(leaking) == pytest.approx(dict.fromkeys(SETS, 1.0), abs=0.05)
    assert means(honest) == pytest.approx(dict.fromkeys(SETS, 0.5), abs=0.15)


def pool(train, real, synthetic, *, strata=None, groups=None):
    count = (train or 0) + real + synthetic
    return Pool(
        train,
        real,
        np.zeros(count, int) if strata is None else np.asarray(strata),
        np.arange(count) if groups is None else np.asarray(groups),
    )


def test_separate_sources_are_sampled_and_all_held_out_texts_tested():
    split = divide(pool(100, 30, 50), np.random.default_rng(0))
    assert split.test.tolist() == list(range(100, 130))
    assert len(split.real) == len(set(split.real)) == 80
    assert len(split.synthetic) == len(set(split.synthetic)) == 40
    assert set(split.real) <= set(range(100))
    assert set(split.synthetic) <= set(range(130, 180))
    assert [len(part) for part in split.training(8)] == [8, 8, 16]


@pytest.mark.parametrize("seed", range(5))
def test_halves_are_stratified_and_divide_no_group(seed):
    rng = np.random.default_rng(seed)
    strata = np.concatenate([rng.permutation(np.repeat([0, 1, 2], [60, 30, 10])), rng.integers(3, size=40)])
    split = divide(pool(None, 100, 40, strata=strata), np.random.default_rng(seed))
    assert sorted([*split.real, *split.test]) == list(range(100))
    for side in (split.real, split.test):
        assert np.bincount(strata[side]).tolist() == [30, 15, 5]
    # And so is every beginning of what can be trained on.
    for size in (10, 20, 40):
        assert np.abs(np.bincount(strata[split.real[:size]], minlength=3) / size - [0.6, 0.3, 0.1]).max() <= 0.1

    groups = rng.integers(25, size=140)
    split = divide(pool(None, 100, 40, strata=strata, groups=groups), np.random.default_rng(seed))
    assert not set(groups[split.test]) & set(groups[[*split.real, *split.synthetic]])
    assert 30 <= len(split.test) <= 70
    assert len(split.real) + len(split.test) == 100


def test_one_group_cannot_be_halved():
    real = draw(40, 1)
    result = classify(None, real, draw(40, 2), groups=np.concatenate([np.zeros(40), np.arange(1, 41)]))
    assert "too few" in result.reason


def test_the_protocol_hands_the_learner_equal_sizes_and_one_test():
    seen = []

    def learn(train, test, seed):
        seen.append((train, test, seed))
        return Grade(0.5)

    result = compare(learn, pool(100, 30, 50), 0.5, "spy", splits=3, points=2)
    assert len(seen) == 3 * 2 * 3
    assert {len(train) for train, _, _ in seen} == {10, 20, 40, 80}
    assert all(set(test) == set(range(100, 130)) for _, test, _ in seen)
    assert not any(set(train) & set(test) for train, test, _ in seen)
    assert result.signature == "spy sides=separate train=40 test=30 splits=3 seed=0"
    assert isnan(result.sets["real"].macro_f1)


@pytest.mark.parametrize(
    ("train", "shared"),
    [(100, {"synthetic": 0.8, "real": 0.4, "both": 0.8}), (None, {"synthetic": 0.5, "real": 0.5, "both": 0.5})],
)
def test_intervals_know_what_splits_have_in_common(train, shared):
    # 40 of 50 synthetic texts, 40 of 100 real ones; or halves.
    result = compare(
        lambda train, test, seed: Grade(0.5 + 0.04 * seed), pool(train, 90, 50), 0.5, "", splits=3, points=1
    )
    assert result.curve[0][0] == 40
    for name, usefulness in result.sets.items():
        assert (usefulness.low, usefulness.high) == pytest.approx(interval(0.54, 0.04, 3, shared[name], 90))
    assert result.sets["real"].scores == pytest.approx((0.5, 0.54, 0.58))


GRADES = [([0, 1, 1, 2], [0, 1, 2, 2]), ([0, 0, 0, 1], [0, 0, 0, 0]), ([1, 1], [2, 3]), ([0, 1, 2], [0, 1, 2])]


@pytest.mark.parametrize(("truth", "predicted"), GRADES)
def test_f1_is_that_of_scikit_learn(truth, predicted):
    given = grade(np.array(truth), np.array(predicted))
    assert given.accuracy == np.mean(np.equal(truth, predicted))
    expected = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    assert given.macro_f1 == pytest.approx(expected)


def test_interval_by_hand():
    # Five halves with sd 0.1: 2.776 · 0.1 · √(1/5 + 1), with 2.776 the 97.5% point of t with 4 degrees of freedom.
    low, high = interval(0.6, 0.1, 5, 0.5, 10_000)
    assert (high - low) / 2 == pytest.approx(2.776 * 0.1 * sqrt(1.2), abs=1e-4)
    # Where the splits agree, the number of tested texts decides: 0.5 ± 1.96 · √(¼ / 104).
    assert interval(0.5, 0.0, 5, 0.8, 100) == pytest.approx(
        (0.5 - 1.96 * 0.5 / sqrt(104), 0.5 + 1.96 * 0.5 / sqrt(104)), abs=1e-4
    )
    low, high = interval(1.0, 0.0, 5, 0.8, 100)
    assert (low < 0.99, high) == (True, 1.0)
    assert all(map(isnan, interval(0.5, float("nan"), 1, 0.5, 100)))


def test_interval_holds_the_accuracy_of_the_best_answer():
    # Two clouds one apart from the origin: the best answer is right with the chance Φ(1 / √2) = 0.7602, and 400 texts
    # in two dimensions come within 0.01 of it.
    held = 0
    for seed in range(20):
        real, test, synthetic = (
            draw(count, 3 * seed + i, distance=1, dimensions=2) for i, count in enumerate((500, 100, 500))
        )
        usefulness = classify(real, test, synthetic, points=1, seed=seed).sets["synthetic"]
        held += usefulness.low <= 0.7602 <= usefulness.high
    assert held >= 17


def test_xgboost_learns_what_no_line_divides_and_bears_missing_classes():
    pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)

    def checkers(count, classes):
        vectors = rng.uniform(-1, 1, size=(count, 2))
        return Labelled(vectors, tuple(classes[int(x * y > 0)] for x, y in vectors))

    sources = [checkers(120, "ac"), checkers(60, "ac"), checkers(120, "ac")]
    result = classify(*sources, classifier="xgboost", splits=2, points=1)
    assert result.sets["synthetic"].mean > 0.8 > 0.65 > classify(*sources).sets["synthetic"].mean
    assert result == classify(*sources, classifier="xgboost", splits=2, points=1)
    assert "xgboost" in result.signature
    # Of the labels a, b, c the synthetic texts have the first and the last.
    three = Labelled(np.concatenate([sources[1].vectors, [[-9.0, 9.0]] * 20]), (*sources[1].labels, *"b" * 20))
    missing = classify(three, three, sources[2], classifier="xgboost", splits=1, points=1)
    assert 0.6 < missing.sets["synthetic"].mean <= 60 / 80


def test_without_xgboost_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[eval\]'"):
        classify(draw(20, 1), draw(20, 2), draw(20, 3), classifier="xgboost")
