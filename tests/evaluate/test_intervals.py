"""Intervals against theory: the normal one for means, tables for proportions."""

from math import isnan, nan

import numpy as np
import pytest

from steer.evaluate.intervals import bootstrap, proportion, subsample

SAMPLE = np.random.default_rng(7).normal(3.0, 2.0, size=400)
NORMAL = 1.96 * SAMPLE.std(ddof=1) / len(SAMPLE) ** 0.5
EVERYWHERE = (-np.inf, np.inf)


def weighted(counts):
    return counts @ SAMPLE / counts.sum()


def test_bootstrap_of_a_mean_is_the_normal_interval():
    mean = SAMPLE.mean()
    interval = bootstrap(mean, weighted, (400,), EVERYWHERE)
    assert interval.value == mean
    assert mean - interval.low == pytest.approx(NORMAL, rel=0.15)
    assert interval.high - mean == pytest.approx(NORMAL, rel=0.15)


def test_bootstrap_of_two_samples_adds_their_variances():
    interval = bootstrap(0.0, lambda a, b: weighted(a) - weighted(b), (400, 400), EVERYWHERE)
    assert interval.high - interval.low == pytest.approx(2 * NORMAL * 2**0.5, rel=0.15)


def test_half_samples_of_a_mean_are_the_normal_interval():
    mean = SAMPLE.mean()
    interval = subsample(mean, lambda chosen: SAMPLE[chosen].mean(), 400, EVERYWHERE, draws=1000)
    assert mean - interval.low == pytest.approx(NORMAL, rel=0.15)
    assert interval.high - mean == pytest.approx(NORMAL, rel=0.15)


def test_the_half_of_an_odd_number_is_rescaled():
    # One of three: the subsamples' means are the three values, and m / (n - m) is 1/2.
    values = np.array([1.0, 2.0, 4.0])
    interval = subsample(7 / 3, lambda chosen: values[chosen].mean(), 3, EVERYWHERE)
    assert (interval.low, interval.high) == pytest.approx((7 / 3 - 0.5**0.5, 7 / 3 + 2 * 0.5**0.5))


def test_subsamples_plant_no_repeats():
    seen = []
    subsample(1.0, lambda chosen: seen.append(chosen.copy()) or 1.0, 11, (0, 1), draws=20)
    assert {mask.sum() for mask in seen} == {5}
    assert len({mask.tobytes() for mask in seen}) > 15


def test_the_level_of_resamples_is_not_the_level_of_the_interval():
    # A statistic that resampling pushes down by 1 altogether.
    interval = bootstrap(3.0, lambda counts: weighted(counts) - SAMPLE.mean() + 2.0, (400,), EVERYWHERE)
    assert interval.low < 3.0 < interval.high
    assert (interval.low + interval.high) / 2 == pytest.approx(3.0, abs=0.1)


def test_bounds_seeds_and_undefined_draws():
    assert bootstrap(0.95, weighted, (400,), (0.9, 1.0)).high == 1.0
    assert bootstrap(0.95, weighted, (400,), (0.9, 1.0)).low == 0.9
    one, same, other = (bootstrap(3.0, weighted, (400,), EVERYWHERE, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    some = bootstrap(3.0, lambda counts: nan if counts[0] else weighted(counts), (400,), EVERYWHERE)
    assert some.low < 3.0 < some.high
    never = bootstrap(3.0, lambda counts: nan, (400,), EVERYWHERE)
    assert (never.value, isnan(never.low)) == (3.0, True)
    assert "undefined" in never.reason


@pytest.mark.parametrize(
    "make", [lambda: bootstrap(0.5, weighted, (400, 1), (0, 1)), lambda: subsample(0.5, len, 1, (0, 1))]
)
def test_one_text_has_no_interval(make):
    lone = make()
    assert lone.value == 0.5
    assert isnan(lone.low)
    assert isnan(lone.high)
    assert "at least two" in lone.reason


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
    interval = proportion(successes, total)
    assert interval.value == successes / total
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-4)
