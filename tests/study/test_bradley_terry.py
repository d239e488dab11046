"""Strengths against the classical iteration, against rates where there are two sets, and against what is known."""

from itertools import combinations
from math import isnan, log

import numpy as np
import pytest
from sample import swapped
from scipy.special import expit, logit

from steer.study.score.bootstrap import preference
from steer.study.score.bradley_terry import bradley_terry
from steer.study.score.rates import Answers

TRUE = np.array([0.8, 0.2, -0.2, -0.8])


def study(seed=0, true=TRUE, annotators=8, items=10, sd=0.0, ties=0.0):
    """Every annotator on every item; `items` of them for each pair of sets. sd: of annotators' own taste, in logits."""
    rng = np.random.default_rng(seed)
    first, second = np.repeat(list(combinations(range(len(true)), 2)), items, axis=0).T
    own = true + sd * rng.normal(size=(annotators, len(true)))
    chance = expit(own[:, first] - own[:, second])
    values = np.where(rng.random(chance.shape) < ties, 0.5, rng.random(chance.shape) < chance)
    who, what = np.indices(chance.shape).reshape(2, -1)
    return Answers(who, what, values.ravel()), first[what], second[what]


def iterated(answers, first, second, count):
    """Hunter (2004), the classical iteration: strength = wins / sum of votes / (own + other strength); no penalty."""
    wins, votes = np.zeros((count, count)), np.zeros((count, count))
    for one, other, value in zip(first, second, answers.values, strict=True):
        wins[one, other] += value
        wins[other, one] += 1 - value
        votes[one, other] += 1
        votes[other, one] += 1
    strength = np.ones(count)
    for _ in range(2000):
        strength = wins.sum(1) / (votes / (strength[:, None] + strength)).sum(1)
    return np.log(strength) - np.log(strength).mean()


@pytest.mark.parametrize("ties", [0.0, 0.3])
def test_strengths_are_those_of_the_classical_iteration(ties):
    given = study(ties=ties)
    made = bradley_terry(*given)
    assert made.values == pytest.approx(iterated(*given, 4), rel=0.01, abs=1e-3)
    assert made.values.sum() == pytest.approx(0, abs=1e-9)


def test_of_two_sets_it_is_the_rate():
    answers, first, second = study(3, np.array([0.4, -0.4]), items=30, sd=0.5)
    made, rate = bradley_terry(answers, first, second).beats(0, 1), preference(answers).rate
    assert made.value == pytest.approx(rate.value, abs=0.002)
    # Intervals are made on different scales.
    assert (made.low, made.high) == pytest.approx((rate.low, rate.high), abs=0.02)
    assert made.p == pytest.approx(rate.p, rel=0.3)


def test_what_is_called_first_does_not_matter():
    answers, first, second = study()
    one, other = bradley_terry(answers, first, second), bradley_terry(swapped(answers), second, first)
    assert other.values == pytest.approx(one.values)
    assert other.sets[0].low == pytest.approx(one.sets[0].low)


def test_votes_turned_round_turn_the_ranking_round():
    answers, first, second = study(sd=0.5)
    one, other = bradley_terry(answers, first, second), bradley_terry(swapped(answers), first, second)
    assert other.values == pytest.approx(-one.values)
    assert [(of.low, of.high) for of in other.sets] == [pytest.approx((-of.high, -of.low)) for of in one.sets]
    assert one.ranks == (1, 2, 3, 4)
    assert other.ranks == (4, 3, 2, 1)


def test_chances_of_both_sides_add_up_to_one():
    made = bradley_terry(*study(sd=0.5))
    one, other = made.beats(0, 2), made.beats(2, 0)
    assert one.value == pytest.approx(expit(made.values[0] - made.values[2]))
    assert (one.value + other.value, one.low + other.high, one.p + other.p) == pytest.approx((1, 1, 1))


def test_equals_share_a_rank():
    # Each beats the next in a circle; the fourth loses to all.
    first, second = [0, 1, 2, 0, 1, 2], [1, 2, 0, 3, 3, 3]
    made = bradley_terry(Answers(np.arange(6), np.arange(6), np.ones(6)), first, second)
    assert made.ranks == (1, 1, 1, 4)


def test_a_set_that_always_wins_stays_finite_and_unsure():
    answers, first, second = study(true=np.array([60.0, 0.3, -0.3]))
    made = bradley_terry(answers, first, second)
    best = made.sets[0]
    assert 2 < best.value < 10
    # All votes agree, and yet the interval is no point: of 160 wins nobody knows how many more there would have been.
    assert best.low < best.value - 1
    assert made.beats(0, 1).low > 0.8
    assert made.beats(0, 1).high <= 1


def test_the_penalty_is_weak():
    answers = Answers(np.arange(100), np.arange(100), [1] * 75 + [0] * 25)
    values = bradley_terry(answers, np.zeros(100, int), np.ones(100, int)).values
    assert values[0] - values[1] == pytest.approx(log(3), rel=0.01)
    assert values[0] - values[1] < logit(0.75)


def misses(own_votes):
    """How often 95% intervals miss strengths that are all 0; own_votes: as if each vote had an annotator of its own."""
    missed = []
    for seed in range(150):
        answers, first, second = study(seed, np.zeros(3), sd=0.7)
        if own_votes:
            answers = Answers(np.arange(len(answers)), np.arange(len(answers)), answers.values)
        missed += [not of.low <= 0 <= of.high for of in bradley_terry(answers, first, second).sets]
    return np.mean(missed)


def test_intervals_hold_for_other_annotators():
    assert 0.02 < misses(own_votes=False) < 0.08
    assert misses(own_votes=True) > 0.2


def test_one_vote_has_strengths_and_no_interval():
    made = bradley_terry(Answers([0], [0], [1]), [0], [1])
    assert made.values[0] > 0
    assert isnan(made.sets[0].low)
    assert "at least two annotators" in made.sets[0].reason
    assert isnan(made.beats(0, 1).low)


@pytest.mark.parametrize(
    ("first", "second", "sets", "says"),
    [
        ([0, 2], [1, 3], None, "no comparisons join these sets: 0, 1; 2, 3"),
        ([0, 0], [1, 1], 3, "no comparisons join these sets: 0, 1; 2"),
        ([0, 1], [1, 1], None, "set 1 is compared with itself"),
        ([0, 1], [1, 2], 2, "numbered 0 to 1, not 0 to 2"),
        ([0, -1], [1, 0], None, "not -1 to 1"),
        ([0], [1], None, "2 votes on 1 and 1 sets"),
    ],
)
def test_what_cannot_be_ranked_is_refused(first, second, sets, says):
    with pytest.raises(ValueError, match=says):
        bradley_terry(Answers([0, 1], [0, 1], [1, 0]), first, second, sets)


def test_no_votes_cannot_be_ranked():
    with pytest.raises(ValueError, match="0 votes"):
        bradley_terry(Answers([], [], []), [], [])


def test_a_set_is_not_compared_with_itself():
    with pytest.raises(ValueError, match="name two sets"):
        bradley_terry(*study()).beats(1, 1)


def test_rates_of_one_half_are_fitted_without_a_word(recwarn):
    answers = Answers([0, 0, 1, 1], [0, 1, 0, 1], [1, 0, 0, 1])
    strengths = bradley_terry(answers, [0, 1, 0, 1], [2, 2, 2, 2])
    assert [one.value for one in strengths.sets] == pytest.approx([0, 0, 0])
    assert not recwarn.list
