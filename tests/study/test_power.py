"""The size of a study: against studies that are simulated, and what has to be true of any such number."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from steer.study.power import MOST, Design, more_annotators, needed, power
from steer.study.score.bootstrap import preference
from steer.study.score.rates import Answers

USUAL = Design(0.62, 8)


def simulated(design, items, studies=1000):
    """Mean effective votes, and the share of studies whose test rejects; effects are uniform on the scale of rates."""
    rng, made = np.random.default_rng(0), []
    for _ in range(studies):
        chance = (
            design.rate
            + design.annotator_sd * rng.uniform(-(3**0.5), 3**0.5, size=(design.annotators, 1))
            + design.item_sd * rng.uniform(-(3**0.5), 3**0.5, size=(1, items))
        )
        drawn = rng.random(chance.shape)
        values = 0.5 * (drawn < chance - design.ties / 2) + 0.5 * (drawn < chance + design.ties / 2)
        seen = np.argsort(np.argsort(rng.random(chance.shape), axis=0), axis=0) < design.shown
        made.append(preference(Answers(*np.nonzero(seen), values[seen])))
    return np.mean([of.design_effect for of in made]), np.mean([of.rate.p < 0.05 for of in made])


@pytest.mark.parametrize(
    ("design", "items"),
    [
        (USUAL, 30),
        (replace(USUAL, ties=0.2), 60),
        (replace(USUAL, annotators=5), 40),
        (replace(USUAL, annotators=20, annotator_sd=0.15), 30),
        (replace(USUAL, annotators=12, per_item=4), 30),
    ],
)
def test_the_power_is_that_of_simulated_studies(design, items):
    planned = power(design, items)
    effect, found = simulated(design, items)
    assert planned.design_effect == pytest.approx(effect, rel=0.12)
    assert planned.power == pytest.approx(found, abs=0.05)
    # The test that takes votes for independent would promise far more.
    alone = norm.sf((norm.ppf(0.95) / 2 - (design.rate - 0.5) * planned.votes**0.5) / design.vote**0.5)
    assert alone > planned.power + 0.1


def test_the_effective_number_is_that_of_the_formula():
    variance = 0.1**2 / 8 + 0.15**2 / 20 + (0.62 * 0.38 - 0.1 / 4 - 0.1**2 - 0.15**2) / 80
    planned = power(replace(USUAL, per_item=4, ties=0.1), 20)
    assert planned.effective == pytest.approx((0.62 * 0.38 - 0.1 / 4) / variance)
    assert planned.design_effect == pytest.approx(80 / planned.effective)


def test_of_annotators_and_items_that_do_not_differ_every_vote_counts():
    alike = Design(0.62, 50, annotator_sd=0.0, item_sd=0.0)
    made = power(alike, 10)
    assert made.design_effect == pytest.approx(1)
    assert made.effective == pytest.approx(made.votes)
    assert made.votes == 500


def test_the_naive_number_is_that_of_the_z_test():
    made = needed(USUAL, 0.8)
    reach = 1.6449 * 0.5 + 0.8416 * (0.62 * 0.38) ** 0.5
    assert made.naive_votes == pytest.approx((reach / 0.12) ** 2, abs=1)
    assert made.naive_items == -(-made.naive_votes // 8)
    # With many annotators who do not differ, it is what is needed.
    alike = needed(Design(0.62, 100, per_item=1, annotator_sd=0.0, item_sd=0.0))
    assert alike.study.items == pytest.approx(alike.naive_items, rel=0.1)


def test_the_least_number_is_enough_and_one_less_is_not():
    made = needed(USUAL, 0.8)
    assert made.study == power(USUAL, made.study.items)
    assert made.study.power >= 0.8
    assert power(USUAL, made.study.items - 1).power < 0.8
    assert made.study.votes == 8 * made.study.items > 2 * made.naive_votes
    assert made.annotators <= 8


def test_with_few_annotators_who_differ_no_number_of_items_is_enough():
    few = replace(USUAL, annotators=3)
    made = needed(few)
    assert made.study is None
    assert power(few, MOST).power < 0.8
    assert made.annotators > 3
    assert power(replace(few, annotators=made.annotators), MOST).power >= 0.8
    assert power(replace(few, annotators=made.annotators - 1), MOST).power < 0.8
    # Unless they do not differ.
    assert needed(replace(few, annotators=3, annotator_sd=0.0)).study is not None


def test_where_no_number_of_annotators_is_enough_there_is_none():
    assert needed(Design(0.5001, 8)).annotators is None


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"rate": 0.65}, {"rate": 0.6}),
        ({"annotators": 12}, {"annotators": 8}),
        ({"ties": 0.3}, {"ties": 0.0}),
        ({"per_item": 8}, {"per_item": 4}),
        ({"annotator_sd": 0.05}, {"annotator_sd": 0.15}),
        ({"item_sd": 0.05}, {"item_sd": 0.2}),
    ],
)
def test_what_helps_and_what_hurts(more, less):
    better, worse = replace(USUAL, **more), replace(USUAL, **less)
    assert power(better, 40).power > power(worse, 40).power + 0.005
    assert power(USUAL, 80).power > power(USUAL, 40).power
    assert power(USUAL, 40, level=0.9).power > power(USUAL, 40, level=0.95).power


def test_annotators_set_a_limit_to_what_votes_are_worth():
    # rate (1 - rate) R / annotator_sd^2
    assert power(USUAL, 10**6).effective == pytest.approx(0.62 * 0.38 * 8 / 0.1**2, rel=0.001)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"rate": 0.5}, "above 0.5"),
        ({"rate": 1.0}, "below 1"),
        ({"annotators": 1}, "expected two or more"),
        ({"per_item": 9}, "8 annotators, 9 of whom"),
        ({"per_item": 0}, "0 of whom"),
        ({"ties": 0.8}, "0 to 0.76 ties"),
        ({"annotator_sd": -0.1}, "none is negative"),
        ({"annotator_sd": 0.4, "item_sd": 0.3}, "variance of a vote, 0.236"),
    ],
)
def test_what_cannot_be_is_refused(given, says):
    with pytest.raises(ValueError, match=says):
        replace(USUAL, **given)


@pytest.mark.parametrize("wanted", [0.05, 1.0])
def test_power_is_wanted_between_chance_and_certainty(wanted):
    with pytest.raises(ValueError, match="a power of"):
        needed(USUAL, wanted)


def test_one_item_is_no_study():
    with pytest.raises(ValueError, match="from two on"):
        power(USUAL, 1)


def test_more_annotators_need_fewer_pairs():
    few = Design(0.6, 8)
    found = more_annotators(few)
    assert [one["annotators"] for one in found] == [12, 16]
    least = needed(few).study
    assert least.items > found[0]["items"] > found[1]["items"]
    for one in found:
        assert power(replace(few, annotators=one["annotators"]), one["items"]).power >= 0.8
        assert one["votes"] == one["annotators"] * one["items"]
    assert more_annotators(Design(0.51, 3)) == []
