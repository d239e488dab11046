"""Rates, and tests that take votes for independent: tables, oracles, and A and B called the other way."""

from math import isnan, nan

import numpy as np
import pytest
from sample import swapped
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

from steer.study.score.rates import Answers, binomial_test, score_interval, stars, wilson, win_rate, z_test


def answers(values):
    return Answers(np.arange(len(values)), np.zeros(len(values), int), values)


@pytest.mark.parametrize(
    ("values", "rate"), [([1], 1.0), ([0], 0.0), ([0.5], 0.5), ([1, 1, 0, 0.5], 0.625), ([0.5, 0], 0.25)]
)
def test_a_tie_is_half_a_win(values, rate):
    assert win_rate(answers(values)) == rate
    assert win_rate(swapped(answers(values))) == 1 - rate


def test_no_votes_are_no_rate():
    assert isnan(win_rate(answers([])))
    assert all(map(isnan, (*wilson(0, 0), z_test(0, 0), binomial_test(answers([])))))


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (0, 9), (9, 9), (3, 10), (61, 100), (5.5, 12), (117.5, 240)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_that_of_statsmodels(wins, n, level):
    assert wilson(wins, n, level) == pytest.approx(proportion_confint(wins, n, 1 - level, method="wilson"), abs=1e-12)


def test_the_ends_of_wilson_are_where_the_score_test_is_on_the_edge():
    low, high = wilson(13.5, 30)
    for end in (low, high):
        assert abs(0.45 - end) / (end * (1 - end) / 30) ** 0.5 == pytest.approx(norm.ppf(0.975))
    assert score_interval(0.45, 30, 0.0) == pytest.approx((0.45, 0.45))


@pytest.mark.parametrize("wins", [0, 20, 31.5, 40])
def test_the_null_of_the_z_test_is_no_preference(wins):
    p = z_test(wins, 40)
    assert p == pytest.approx(proportions_ztest(wins, 40, 0.5, "larger", prop_var=0.5)[1], abs=1e-12)
    assert p + z_test(40 - wins, 40) == pytest.approx(1)
    assert (p < 0.5) == (wins > 20)


@pytest.mark.parametrize(
    ("values", "p"),
    [
        ([1] * 5, 1 / 32),
        ([1, 1, 1, 0], 5 / 16),  # 4 or 3 heads of 4
        ([1, 1, 1, 0, 0.5, 0.5, 0.5], 5 / 16),
        ([0], 1.0),
        ([0.5, 0.5], nan),
    ],
)
def test_the_sign_test_leaves_ties_out(values, p):
    assert binomial_test(answers(values)) == pytest.approx(p, nan_ok=True)


@pytest.mark.parametrize(
    ("p", "shown"),
    [(0.0, "***"), (0.001, "**"), (0.0099, "**"), (0.01, "*"), (0.0499, "*"), (0.05, ""), (1.0, ""), (nan, "")],
)
def test_stars(p, shown):
    assert stars(p) == shown


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (([0], [0], [0.7]), r"not 0\.7"),
        (([0], [0], [nan]), "not nan"),
        (([0, 1], [0], [1]), r"\[2, 1, 1\] long"),
        ((["ada"], [0], [1]), "annotators are one row of whole numbers"),
        (([0], [0.5], [1]), "items are one row of whole numbers"),
        (([0], [0], [[1]]), "each vote needs one of each"),
    ],
)
def test_what_is_no_vote_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        Answers(*given)


@pytest.mark.parametrize("test", [wilson, z_test])
@pytest.mark.parametrize(("wins", "n"), [(-1, 4), (5, 4)])
def test_wins_are_among_the_votes(test, wins, n):
    with pytest.raises(ValueError, match="fewer than none"):
        test(wins, n)
