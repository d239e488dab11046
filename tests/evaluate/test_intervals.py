"""Intervals against theory: the normal one for means, tables for proportions; and what pairing resamples is for."""

from dataclasses import astuple
from math import isnan, nan

import numpy as np
import pytest

from steer.evaluate.intervals import Estimate, bootstrap, difference, holm, proportion, subsample, undefined

SAMPLE = np.random.default_rng(7).normal(3.0, 2.0, size=400)
NORMAL = 1.96 * SAMPLE.std(ddof=1) / len(SAMPLE) ** 0.5
EVERYWHERE = {"mean": (-np.inf, np.inf)}


def weighted(counts, sample=SAMPLE):
    return counts @ sample / counts.sum()


def mean(counts):
    return {"mean": weighted(counts)}


def of_part(mask):
    return {"mean": SAMPLE[mask].mean()}


@pytest.mark.parametrize("make", [bootstrap, subsample])
def test_the_interval_of_a_mean_is_the_normal_one(make):
    made = make(mean if make is bootstrap else of_part, (400,), EVERYWHERE, draws=1000)["mean"]
    assert made.value == pytest.approx(SAMPLE.mean())
    assert made.value - made.low == pytest.approx(NORMAL, rel=0.15)
    assert made.high - made.value == pytest.approx(NORMAL, rel=0.15)


def test_two_samples_add_their_variances():
    by_counts = bootstrap(lambda a, b: {"mean": weighted(a) - weighted(b)}, (400, 400), EVERYWHERE)["mean"]
    by_halves = subsample(
        lambda a, b: {"mean": SAMPLE[a].mean() - SAMPLE[:100][b].mean()}, (400, 100), EVERYWHERE, draws=1000
    )["mean"]
    assert by_counts.high - by_counts.low == pytest.approx(2 * NORMAL * 2**0.5, rel=0.15)
    smaller = 1.96 * SAMPLE[:100].std(ddof=1) / 10
    assert by_halves.high - by_halves.low == pytest.approx(2 * (NORMAL**2 + smaller**2) ** 0.5, rel=0.15)


def test_the_half_of_an_odd_number_is_rescaled():
    # One of three: the subsamples' means are the three values, and m / (n - m) is 1/2.
    values = np.array([1.0, 2.0, 4.0])
    made = subsample(lambda chosen: {"mean": values[chosen].mean()}, (3,), EVERYWHERE)["mean"]
    assert (made.low, made.high) == pytest.approx((7 / 3 - 0.5**0.5, 7 / 3 + 2 * 0.5**0.5))


def test_subsamples_plant_no_repeats():
    seen = []
    subsample(lambda chosen: seen.append(chosen.copy()) or {"mean": 1.0}, (11,), EVERYWHERE, draws=20)
    assert seen.pop(0).all()
    assert {mask.sum() for mask in seen} == {5}
    assert len({mask.tobytes() for mask in seen}) > 15


@pytest.mark.parametrize("make", [bootstrap, subsample])
def test_a_set_is_drawn_alike_whatever_it_is_compared_with(make):
    def drawn(*sizes, seed=0):
        seen = []
        make(lambda *sets: seen.append(sets) or {"mean": 0.0}, sizes, EVERYWHERE, seed=seed, draws=30)
        return [np.stack(side).tolist() for side in zip(*seen, strict=True)]

    alone, beside_few, beside_many = drawn(40), drawn(40, 7), drawn(40, 300)
    assert alone[0] == beside_few[0] == beside_many[0]
    assert drawn(40, seed=1)[0] != alone[0]
    one, other = drawn(40, 40)
    assert one[1:] != other[1:]


def test_the_level_of_resamples_is_not_the_level_of_the_interval():
    # A statistic that any resampling pushes down by 1 altogether.
    def pushed(counts):
        return {"mean": weighted(counts) - (0 if (counts == 1).all() else 1)}

    made = bootstrap(pushed, (400,), EVERYWHERE)["mean"]
    assert made.low < made.value < made.high
    assert (made.low + made.high) / 2 == pytest.approx(made.value, abs=0.1)
    assert np.median(made.draws) == pytest.approx(made.value)


def test_bounds_and_seeds():
    near = SAMPLE.mean() - 0.01, SAMPLE.mean() + 0.02
    made = bootstrap(mean, (400,), {"mean": near})["mean"]
    assert (made.low, made.high) == near
    one, same, other = (bootstrap(mean, (400,), EVERYWHERE, seed=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_several_values_come_of_the_same_resamples():
    bounds = EVERYWHERE | {"twice": (-np.inf, np.inf)}
    both = bootstrap(lambda counts: {"twice": 2 * weighted(counts), **mean(counts)}, (400,), bounds)
    assert both["mean"] == bootstrap(mean, (400,), EVERYWHERE)["mean"]
    assert both["twice"].draws == pytest.approx(2 * both["mean"].draws)


def test_undefined_resamples_are_left_out_and_keep_their_place():
    some = bootstrap(lambda counts: {"mean": nan if counts[0] > 1 else weighted(counts)}, (400,), EVERYWHERE)["mean"]
    whole = bootstrap(mean, (400,), EVERYWHERE)["mean"]
    assert some.low < SAMPLE.mean() < some.high
    kept = ~np.isnan(some.draws)
    assert 600 < kept.sum() < 900
    # But for the level, which is set to the value.
    assert np.ptp((some.draws - whole.draws)[kept]) < 1e-9

    never = bootstrap(lambda counts: {"mean": 3.0 if (counts == 1).all() else nan}, (400,), EVERYWHERE)["mean"]
    assert (never.value, isnan(never.low)) == (3.0, True)
    assert "undefined" in never.reason
    nothing = bootstrap(lambda counts: {"mean": nan}, (400,), EVERYWHERE)["mean"]
    assert all(map(isnan, (nothing.value, nothing.low, nothing.high)))


@pytest.mark.parametrize("sizes", [(400, 1), (1, 400), (1, 1)])
@pytest.mark.parametrize("make", [bootstrap, subsample])
def test_one_text_has_no_interval(make, sizes):
    lone = make(lambda *sets: {"mean": 0.5}, sizes, EVERYWHERE)["mean"]
    assert lone.value == 0.5
    assert isnan(lone.low)
    assert isnan(lone.high)
    assert "at least two" in lone.reason


def test_no_texts_have_no_interval():
    for make in (bootstrap, subsample):
        assert isnan(make(lambda *sets: {"mean": nan}, (0, 4), EVERYWHERE)["mean"].low)


def test_undefined_is_nan_with_the_reason():
    for one in undefined(("a", "b"), "no texts").values():
        assert isnan(one.value)
        assert one.reason == "no texts"


# Wilson's interval by its formula, as printed in tables of it.
@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_wilson(successes, total, low, high):
    made = proportion(successes, total)
    assert made.value == successes / total
    assert (made.low, made.high) == pytest.approx((low, high), abs=1e-4)


def beside(real, mine, seed=0, draws=1000):
    """The mean of a set less that of the real one: a score that both contribute noise to."""
    return bootstrap(
        lambda a, b: {"mean": weighted(b, mine) - weighted(a, real)},
        (len(real), len(mine)),
        EVERYWHERE,
        seed=seed,
        draws=draws,
    )["mean"]


def test_what_the_real_texts_contribute_cancels_in_a_paired_difference():
    rng = np.random.default_rng(0)
    real, mine, other = rng.normal(0, 5, size=50), rng.normal(size=200), rng.normal(size=300)
    paired = difference(beside(real, mine), beside(real, other))
    unpaired = difference(beside(real, mine), beside(real, other, seed=1))
    assert paired.value == unpaired.value == pytest.approx(mine.mean() - other.mean())
    assert paired.low < paired.value < paired.high
    theirs = mine.var(ddof=1) / 200 + other.var(ddof=1) / 300
    assert paired.high - paired.low == pytest.approx(2 * 1.96 * theirs**0.5, rel=0.15)
    assert unpaired.high - unpaired.low == pytest.approx(
        2 * 1.96 * (theirs + 2 * real.var(ddof=1) / 50) ** 0.5, rel=0.15
    )


def test_of_sets_from_one_source_95_percent_of_differences_hold_0():
    held, chances = 0, []
    for trial in range(100):
        rng = np.random.default_rng(trial)
        real, mine, other = rng.normal(0, 3, size=40), rng.normal(size=60), rng.normal(size=50)
        made = difference(beside(real, mine, draws=200), beside(real, other, draws=200))
        held += made.low <= 0 <= made.high
        chances.append(made.p)
    assert 88 <= held <= 99
    assert np.mean(chances) == pytest.approx(0.5, abs=0.1)
    assert sum(p < 0.05 for p in chances) <= 12


def test_an_obvious_difference_has_a_small_p():
    rng = np.random.default_rng(0)
    real, mine, other = rng.normal(0, 5, size=50), rng.normal(size=200), rng.normal(1, size=200)
    made = difference(beside(real, mine), beside(real, other))
    assert made.high < 0
    assert made.p < 1e-9
    # It is lost in the noise of the real texts, had each score texts of its own to compare with.
    assert difference(beside(real, mine), beside(real, other, seed=1)).p > 0.05


# Table II of Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10: hybrid score, without correction.
NEWCOMBE = [
    (56, 70, 48, 80, 0.0524, 0.3339),
    (9, 10, 3, 10, 0.1705, 0.8090),
    (5, 56, 0, 29, -0.0381, 0.1926),
    (0, 10, 0, 20, -0.1611, 0.2775),
    (10, 10, 0, 20, 0.6791, 1.0),
]


@pytest.mark.parametrize(("a", "m", "b", "n", "low", "high"), NEWCOMBE)
def test_differences_of_proportions_are_newcombes(a, m, b, n, low, high):
    made = difference(proportion(a, m), proportion(b, n))
    assert made.value == pytest.approx(a / m - b / n)
    assert (made.low, made.high) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("a", "m", "b", "n"), [case[:4] for case in NEWCOMBE] + [(30, 70, 48, 80), (40, 70, 48, 80)])
def test_p_is_below_5_percent_where_the_interval_leaves_0_out(a, m, b, n):
    one, other = proportion(a, m), proportion(b, n)
    made, turned = difference(one, other), difference(other, one)
    assert (made.p < 0.05) == (made.low > 0 or made.high < 0)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-made.value, -made.high, -made.low))
    assert turned.p == pytest.approx(made.p)


def test_p_goes_by_the_half_of_the_interval_that_reaches_towards_0():
    # 1.96 · 0.2 / (0.2 - 0.0524) = 2.656 standard deviations.
    assert difference(proportion(56, 70), proportion(48, 80)).p == pytest.approx(0.0079, abs=1e-4)


def test_resamples_beside_an_interval_without_any_are_not_paired():
    drawn, table = bootstrap(mean, (400,), EVERYWHERE)["mean"], Estimate(2.0, 1.5, 2.5)
    made = difference(drawn, table)
    assert made.value == drawn.value - 2.0
    assert made.low == pytest.approx(made.value - ((drawn.value - drawn.low) ** 2 + 0.25) ** 0.5)


def test_differences_of_what_is_undefined():
    known, without = proportion(3, 10), Estimate(0.4, reason="one text")
    for made in (difference(known, Estimate(nan)), difference(Estimate(nan), known)):
        assert all(map(isnan, astuple(made)))
    made = difference(known, without)
    assert made.value == pytest.approx(-0.1)
    assert all(map(isnan, (made.low, made.high, made.p)))
    same = difference(known, known)
    assert (same.value, same.p) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ({}, {}),
        ({"a": 0.2}, {"a": 0.2}),
        # .005 · 4, .01 · 3, .03 · 2, and .04 · 1, which must not be below the one before.
        ({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}, {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}),
        ({"a": 0.6, "b": 0.7}, {"a": 1.0, "b": 1.0}),
        ({"a": 0.02, "b": nan, "c": 0.03}, {"a": 0.04, "b": nan, "c": 0.04}),  # two are counted
        ({("x", 1): nan}, {("x", 1): nan}),
    ],
)
def test_holm(p, expected):
    adjusted = holm(p)
    assert list(adjusted) == list(p)
    assert adjusted == pytest.approx(expected, nan_ok=True)
