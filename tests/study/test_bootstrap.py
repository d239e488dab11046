"""The interval against what it stands for: bootstraps that are really drawn, analysis of variance, and studies of which
the true rate is known."""

from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from sample import swapped
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from benchmarks.study_coverage import CONDITIONS, Condition, measured, simulator
from steer.evaluate.intervals import bootstrap
from steer.study.score.bootstrap import few, interval, preference, spread
from steer.study.score.rates import Answers, score_interval

CROSSED = simulator(Condition(8, 30, rate=0.6, ties=0.2))(np.random.default_rng(1))
UNEVEN = simulator(CONDITIONS["uneven"])(np.random.default_rng(2))


def influence(answers):
    return (answers.values - answers.values.mean()) / len(answers)


def spread_of(answers):
    return spread(influence(answers), answers.annotators, answers.items)


def drawn(answers, clusters):
    """Variance of the mean over resamples of whole clusters, to first order in how often each of them is drawn."""
    index = np.unique(clusters, return_inverse=True)[1]
    sums = np.bincount(index, influence(answers))
    of = bootstrap(lambda n: {"mean": n @ sums}, (len(sums),), {"mean": (-np.inf, np.inf)}, draws=4000)["mean"]
    return float(np.var(of.draws))


@pytest.mark.parametrize("answers", [CROSSED, UNEVEN], ids=["crossed", "uneven"])
def test_its_parts_are_those_of_bootstraps_that_are_drawn(answers):
    made = spread_of(answers)
    for part, clusters in ((made.annotators, answers.annotators), (made.items, answers.items)):
        correction, _ = few(np.unique(clusters, return_counts=True)[1])
        assert part.variance == pytest.approx(correction * drawn(answers, clusters), rel=0.1)
    votes = made.annotators.variance + made.items.variance - made.variance
    assert votes == pytest.approx(drawn(answers, np.arange(len(answers))), rel=0.1)


def test_of_a_crossed_study_the_parts_are_mean_squares():
    table = CROSSED.values.reshape(8, 30)
    made, n = spread_of(CROSSED), len(CROSSED)
    between_annotators = 30 * table.mean(1).var(ddof=1)
    between_items = 8 * table.mean(0).var(ddof=1)
    assert made.annotators.variance * n == pytest.approx(between_annotators)
    assert made.items.variance * n == pytest.approx(between_items)
    assert (made.annotators.df, made.items.df) == pytest.approx((7, 29))


def test_on_one_item_it_is_the_t_test():
    answers = Answers(np.arange(8), np.zeros(8, int), [1, 1, 1, 0.5, 1, 0, 1, 0.5])
    made, parts, rate = preference(answers), spread_of(answers), answers.values.mean()
    assert made.holds_for == ("annotators",)
    assert parts.df == pytest.approx(7)
    plain = interval(rate - 0.5, parts.variance, parts.df)
    assert plain.p == pytest.approx(ttest_1samp(answers.values, 0.5, alternative="greater").pvalue)
    low, high = ttest_1samp(answers.values, 0.5).confidence_interval()
    assert (plain.low, plain.high) == pytest.approx((low - 0.5, high - 0.5))
    # That of a rate takes the variance that there would be at 0.5.
    assert made.rate.p == pytest.approx(
        student.sf(plain.value / (parts.variance * 0.25 / (rate * (1 - rate))) ** 0.5, 7)
    )


def test_by_one_annotator_it_holds_for_items_alone():
    one = preference(Answers([3] * 6, np.arange(6), [1, 1, 0, 1, 0.5, 1]))
    assert one.holds_for == ("items",)
    assert one.df == pytest.approx(5)
    assert isnan(one.annotator_sd)
    # Of independent votes, one each, it does not matter what they are called.
    other = preference(Answers(np.arange(6), [3] * 6, [1, 1, 0, 1, 0.5, 1]))
    assert one.rate == other.rate


@pytest.mark.parametrize("sizes", [[1, 1], [4, 4, 4], [1, 2, 3, 10], [50, 1, 1, 1]])
def test_what_few_clusters_cost_is_a_quadratic_form(sizes):
    share = np.array(sizes) / sum(sizes)
    centred = np.eye(len(sizes)) - share[None, :]
    form = centred.T @ np.diag(share**2) @ centred
    expected = (share**2).sum() / np.trace(form), np.trace(form) ** 2 / np.trace(form @ form)
    assert few(np.array(sizes)) == pytest.approx(expected)


def test_few_clusters_of_one_size_are_corrected_as_in_the_books():
    assert few(np.full(8, 30)) == pytest.approx((8 / 7, 7))


@pytest.mark.parametrize("answers", [CROSSED, UNEVEN], ids=["crossed", "uneven"])
def test_a_and_b_the_other_way_mirror_everything(answers):
    one, other = preference(answers), preference(swapped(answers))
    assert other.rate.value == pytest.approx(1 - one.rate.value)
    assert (other.rate.low, other.rate.high) == pytest.approx((1 - one.rate.high, 1 - one.rate.low))
    assert other.rate.p == pytest.approx(1 - one.rate.p)
    assert (other.df, other.effective) == pytest.approx((one.df, one.effective))


@pytest.mark.parametrize("answers", [CROSSED, UNEVEN], ids=["crossed", "uneven"])
def test_neither_order_nor_names_matter(answers):
    rng, one = np.random.default_rng(3), preference(answers)
    order, names = rng.permutation(len(answers)), rng.permutation(1000)
    other = preference(Answers(names[answers.annotators[order]], names[answers.items[order]], answers.values[order]))
    assert (other.rate.low, other.rate.high, other.rate.p) == pytest.approx((one.rate.low, one.rate.high, one.rate.p))


def test_annotators_and_items_are_treated_alike():
    one = preference(UNEVEN)
    other = preference(Answers(UNEVEN.items, UNEVEN.annotators, UNEVEN.values))
    assert (other.rate.low, other.rate.high) == pytest.approx((one.rate.low, one.rate.high))
    assert (other.annotator_sd, other.item_sd) == pytest.approx((one.item_sd, one.annotator_sd))


def test_a_vote_said_twice_says_no_more():
    twice = Answers(*(np.repeat(of, 2) for of in (UNEVEN.annotators, UNEVEN.items, UNEVEN.values)))
    one, other = preference(UNEVEN), preference(twice)
    assert (other.rate.low, other.rate.high, other.df) == pytest.approx((one.rate.low, one.rate.high, one.df))
    assert other.effective == pytest.approx(one.effective)
    assert other.design_effect == pytest.approx(2 * one.design_effect)


def test_the_p_is_that_of_the_interval():
    # One-sided at 5%: the lower end of the 90% interval is at 0.5 where p is 0.05.
    for seed in range(40):
        answers = simulator(Condition(6, 20, rate=0.6))(np.random.default_rng(seed))
        made = preference(answers, level=0.9)
        assert (made.rate.p < 0.05) == (made.rate.low > 0.5)


def test_annotators_who_all_differ_are_as_many_votes_as_there_are_of_them():
    # Each says the same of every item: 30 items say no more than one.
    values = np.repeat([1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0], 30)
    made = preference(replace(CROSSED, values=values))
    assert made.effective == pytest.approx(7, rel=0.1)
    assert made.df == pytest.approx(7, rel=0.1)
    assert made.annotator_sd == pytest.approx(values[::30].std(ddof=1), rel=0.05)
    assert made.item_sd == 0


def test_effects_of_annotators_and_items_are_found():
    rng = np.random.default_rng(5)
    chance = 0.5 + 0.1 * rng.choice([-1, 1], size=(300, 1)) + 0.2 * rng.choice([-1, 1], size=(1, 300))
    annotators, items = np.indices(chance.shape).reshape(2, -1)
    made = preference(Answers(annotators, items, (rng.random(chance.shape) < chance).ravel()))
    assert (made.annotator_sd, made.item_sd) == pytest.approx((0.1, 0.2), rel=0.05)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_votes_that_are_all_alike_have_an_interval_of_width(value):
    made = preference(replace(CROSSED, values=np.full(len(CROSSED), value)))
    expected = score_interval(value, 8, float(student.ppf(0.975, 7)))
    assert (made.rate.low, made.rate.high) == pytest.approx(expected)
    assert made.rate.high - made.rate.low > 0.3
    assert isnan(made.effective)
    assert (made.rate.p < 0.05) == (value == 1.0)


@pytest.mark.parametrize(
    ("answers", "value", "reason"),
    [
        (Answers([], [], []), None, "there are no votes"),
        (Answers([4], [2], [1.0]), 1.0, "at least two annotators or two items"),
        (Answers([4, 4], [2, 2], [1.0, 0.0]), 0.5, "at least two annotators or two items"),
    ],
    ids=["none", "one", "one annotator on one item"],
)
def test_where_there_is_no_interval_it_says_why(answers, value, reason):
    made = preference(answers)
    assert isnan(made.rate.value) if value is None else made.rate.value == value
    assert isnan(made.rate.low)
    assert isnan(made.rate.high)
    assert isnan(made.rate.p)
    assert reason in made.rate.reason
    assert made.holds_for == ()


def test_the_interval_stays_within_rates():
    for seed in range(30):
        made = preference(simulator(Condition(4, 6, rate=0.95))(np.random.default_rng(seed)))
        assert 0 <= made.rate.low <= made.rate.value <= made.rate.high <= 1
        assert made.rate.low < made.rate.high


@pytest.mark.parametrize("name", ["crossed", "few", "uneven"])
def test_it_misses_and_rejects_as_often_as_it_says(name):
    found = measured(CONDITIONS[name], 2000)
    assert 0.035 < found["misses"] < 0.065
    assert 0.035 < found["rejects"] < 0.065
    # What is at stake.
    assert found["naive_misses"] > 0.2
    assert found["naive_rejects"] > 0.15


def test_where_nothing_differs_it_errs_on_the_safe_side():
    assert 0.005 < measured(CONDITIONS["all alike"], 2000)["misses"] < 0.05
