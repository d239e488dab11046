"""Copies of training texts are caught, as characters and as vectors; texts that know nothing of them are not."""

from math import isnan

import numpy as np
import pytest

from steer.evaluate.authenticity import (
    ENOUGH,
    Sources,
    closest,
    copied_share,
    estimate_authenticity,
    estimate_copied,
    estimate_membership,
)
from steer.evaluate.intervals import difference
from steer.similarity import CopyFinder

TAIL = " but nobody had told the ferryman about any of this"


def edited(text: str) -> str:
    return text.replace("e", "a", 2).upper()


@pytest.mark.parametrize("disguise", [str, edited, lambda text: text + TAIL, lambda text: "Once, " + text])
def test_copies_are_all_found(write, disguise):
    train = write(40, 1)
    assert copied_share([disguise(text) for text in train], train) == 1.0


def test_other_texts_are_no_copies(write):
    assert copied_share(write(40, 2), write(40, 1)) == 0.0


def test_the_share_is_of_all_texts_repeats_and_empty_ones_too(write):
    train = write(20, 1)
    texts = [train[3], train[3], train[3] + TAIL, *write(5, 2), "", ""]
    assert copied_share(texts, train) == pytest.approx(0.3)


def test_the_threshold_decides():
    assert copied_share(["abcd"], ["abce"], threshold=0.75) == 1.0
    assert copied_share(["abcd"], ["abce"], threshold=0.76) == 0.0


def test_nothing_on_a_side_is_undefined_and_says_so():
    assert isnan(copied_share([], ["a"]))
    assert isnan(copied_share(["a"], []))
    assert "no texts" in estimate_copied([], 1).reason
    assert "no real texts" in estimate_copied([None], 0).reason


def test_none_found_of_few_is_not_certainty(write):
    none = estimate_copied(CopyFinder(write(10, 1)).find(write(10, 2)), 10)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.2775, abs=1e-4)


def drawn(*counts, seed=0, dimensions=8):
    """Sets from one source."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(count, dimensions)) for count in counts]


def scores(mine, training, held_out):
    """All three scores."""
    sources = Sources(training, held_out)
    return estimate_authenticity(mine, sources) | estimate_membership(mine, sources)


def slow_authenticity(mine, training):
    """Alaa et al. 2022, section 3.3: a text is authentic if a different training text is nearer to its nearest one."""
    authentic = 0
    for text in mine:
        lengths = [np.linalg.norm(text - source) for source in training]
        nearest = int(np.argmin(lengths))
        others = [np.linalg.norm(training[nearest] - source) for source in training]
        authentic += lengths[nearest] > min(length for length in others if length > 0)
    return authentic / len(mine)


@pytest.mark.parametrize("duplicates", [False, True])
def test_authenticity_is_its_definition(duplicates):
    training, mine, held_out = drawn(30, 25, 20, dimensions=3)
    mine[:4] = training[:4] + 0.01
    if duplicates:
        training[20:] = training[:10]
        mine[4:6] = training[20:22]
    value = scores(mine, training, held_out)["authenticity"].value
    assert value == slow_authenticity(mine, training)
    assert 0.2 < value < 0.9


def test_copies_of_training_texts_are_nobodys_own():
    training, held_out = drawn(200, 100)
    made = scores(training, training, held_out)
    assert made["authenticity"].value == made["calibrated_authenticity"].value == 0.0
    assert made["membership_auroc"].value == 1.0
    assert made["membership_auroc"].p < 0.001


def test_noisy_copies_are_caught_where_every_other_text_is_left_alone():
    training, held_out, others = drawn(200, 100, 100)
    noisy = training[:100] + 0.05 * drawn(100, seed=9)[0]
    made = scores(np.concatenate([noisy, others]), training, held_out)
    assert made["calibrated_authenticity"].value == pytest.approx(0.5 * 0.95, abs=0.03)
    assert made["membership_auroc"].low > 0.6
    assert made["membership_auroc"].p < 0.001
    alone = scores(noisy, training, held_out)
    assert alone["calibrated_authenticity"].value < 0.02
    assert alone["authenticity"].value < 0.02


def test_texts_of_the_same_source_that_know_nothing_of_the_training_texts():
    made = [scores(*drawn(150, 200, 150, seed=seed)) for seed in range(10)]
    values = {name: [one[name].value for one in made] for name in made[0]}
    assert np.mean(values["calibrated_authenticity"]) == pytest.approx(0.95, abs=0.02)
    assert np.mean(values["membership_auroc"]) == pytest.approx(0.5, abs=0.03)
    # As real as the real ones, and by this count hardly more than half of them are authentic.
    assert 0.3 < np.mean(values["authenticity"]) < 0.7
    assert sum(one["membership_auroc"].p < 0.05 for one in made) <= 2
    assert sum(one["membership_auroc"].low <= 0.5 <= one["membership_auroc"].high for one in made) >= 8


def test_training_texts_that_are_repeated_count_once():
    """A repeat is no neighbour: else all that lies near a repeated text, copies too, would be far by comparison."""
    (half, held_out), (mine,) = drawn(50, 40), drawn(40, seed=1)
    once, twice = Sources(half, held_out), Sources(np.concatenate([half, half]), held_out)
    for texts in (half, mine, half + 0.01):
        assert twice.ratios(texts)[1] == pytest.approx(once.ratios(texts)[1])
        assert estimate_authenticity(texts, twice) == estimate_authenticity(texts, once)
    assert estimate_authenticity(half, twice)["calibrated_authenticity"].value == 0.0


def test_repeated_texts_are_no_more_certain_than_one(write):
    training, held_out = drawn(200, 100)
    (five,) = drawn(5, seed=2)
    few, many = (
        estimate_authenticity(texts, Sources(training, held_out)) for texts in (five, np.repeat(five, 20, axis=0))
    )
    for name, one in few.items():
        assert many[name].value == one.value
        assert many[name].high - many[name].low > 0.4


@pytest.mark.parametrize("count", [20, 21, 39, 100])
def test_the_closest_5_percent_of_held_out_texts_set_the_limit(count):
    training, held_out, mine = drawn(80, count, 60)
    sources = Sources(training, held_out)
    limit = closest(sources)
    share = np.mean(sources.usual <= limit)
    assert 0.05 <= share < 0.05 + 1 / count
    value = estimate_authenticity(mine, sources)["calibrated_authenticity"].value
    assert value == np.mean(sources.ratios(mine)[1] > limit)
    # Of the held-out texts themselves all but these are as far as they should be.
    own = estimate_authenticity(held_out, sources)["calibrated_authenticity"]
    assert own.value == pytest.approx(1 - share)


def test_scores_do_not_depend_on_units_or_the_order_of_texts():
    training, held_out, mine = drawn(50, 40, 30)
    plain = scores(mine, training, held_out)
    turned = scores(mine[::-1] * 7 + 3, training[::-1] * 7 + 3, held_out[::-1] * 7 + 3)
    assert {name: one.value for name, one in turned.items()} == pytest.approx({n: o.value for n, o in plain.items()})


@pytest.mark.parametrize(
    ("estimate", "name"),
    [(estimate_authenticity, "calibrated_authenticity"), (estimate_membership, "membership_auroc")],
)
def test_of_sets_from_one_source_most_differences_hold_0(estimate, name):
    held = 0
    for seed in range(40):
        training, held_out, mine, other = drawn(100, 60, 80, 80, seed=seed, dimensions=5)
        one, two = (estimate(each, Sources(training, held_out))[name] for each in (mine, other))
        assert one.low <= one.value <= one.high
        made = difference(one, two)
        held += made.low <= 0 <= made.high
    assert held >= 34


@pytest.mark.parametrize("held_out", [np.zeros((0, 1)), np.ones((ENOUGH - 1, 8)), np.full((40, 8), np.nan)])
def test_calibration_takes_held_out_texts(held_out):
    training, mine = drawn(40, 30)
    made = estimate_authenticity(mine, Sources(training, held_out))
    assert made["authenticity"].value == slow_authenticity(mine, training)
    assert isnan(made["calibrated_authenticity"].value)
    assert f"at least {ENOUGH} held-out" in made["calibrated_authenticity"].reason
    assert isnan(closest(Sources(training, held_out)))


EMPTY = np.zeros((0, 1))


@pytest.mark.parametrize(
    ("training", "mine", "reason"),
    [
        (EMPTY, drawn(9)[0], "no real texts"),
        (drawn(9)[0], EMPTY, "no texts to measure"),
        (EMPTY, EMPTY, "no real texts"),
        (drawn(1)[0], drawn(9)[0], "fewer than two different training texts"),
        (drawn(9)[0], np.full((3, 8), np.inf), "not finite"),
    ],
)
def test_authenticity_that_is_undefined_says_why(training, mine, reason):
    for one in estimate_authenticity(mine, Sources(training, drawn(40)[0])).values():
        assert isnan(one.value)
        assert reason in one.reason


@pytest.mark.parametrize(
    ("training", "held_out", "mine", "reason"),
    [
        (EMPTY, drawn(9)[0], drawn(9)[0], "training texts and held-out ones"),
        (drawn(9)[0], EMPTY, drawn(9)[0], "training texts and held-out ones"),
        (drawn(9)[0], drawn(9)[0], EMPTY, "no texts to measure"),
        (drawn(9)[0], np.full((3, 8), np.nan), drawn(9)[0], "not finite"),
    ],
)
def test_membership_that_is_undefined_says_why(training, held_out, mine, reason):
    (one,) = estimate_membership(mine, Sources(training, held_out)).values()
    assert isnan(one.value)
    assert reason in one.reason


def test_equal_distances_are_no_evidence_of_membership():
    # Every text is as far from the synthetic ones as every other, up to rounding.
    rng = np.random.default_rng(0)
    around = rng.normal(size=(60, 3))
    around /= np.linalg.norm(around, axis=1, keepdims=True)
    made = estimate_membership(np.zeros((2, 3)), Sources(around[:30], around[30:]))["membership_auroc"]
    assert made.value == 0.5
    assert made.p > 0.4


def test_half_of_the_held_out_texts_stand_where_synthetic_ones_do():
    training, held_out = drawn(9, 7)
    sources, mine = Sources(training, held_out).halved()
    assert (sources.training is training, len(mine), len(sources.held_out)) == (True, 3, 4)
    assert (np.concatenate([mine, sources.held_out]) == held_out).all()
