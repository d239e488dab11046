"""Agreement: the tables printed by those who invented the measures, an oracle, and where nothing can be said."""

from math import isnan

import numpy as np
import pytest
from statsmodels.stats.inter_rater import fleiss_kappa as oracle

from steer.study.score.agreement import counts_of, fleiss_kappa, krippendorff_alpha, raw_agreement
from steer.study.score.rates import Answers

# Fourteen psychiatrists on ten patients, in five categories; kappa .210.
PATIENTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]
# Krippendorff (2011), section C: four observers, twelve units, five values, missing ones; nominal alpha .743.
OBSERVERS = """
    1 2 3 3 2 1 4 1 2 . . .
    1 2 3 3 2 2 4 1 2 5 . 3
    . 3 3 3 2 3 4 2 2 5 1 .
    1 2 3 3 2 4 4 1 2 5 1 .
"""
ROWS = [line.split() for line in OBSERVERS.strip().splitlines()]
UNITS = [[unit.count(value) for value in "12345"] for unit in zip(*ROWS, strict=True)]


def test_fleiss_kappa_is_as_printed():
    assert fleiss_kappa(PATIENTS).value == pytest.approx(0.210, abs=5e-4)


def test_krippendorff_alpha_is_as_printed():
    assert krippendorff_alpha(UNITS).value == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize("seed", range(5))
def test_fleiss_kappa_is_that_of_statsmodels(seed):
    table = np.random.default_rng(seed).multinomial(6, [0.5, 0.2, 0.3], size=20)
    assert fleiss_kappa(table).value == pytest.approx(oracle(table))


def test_alpha_is_kappa_but_for_small_numbers():
    # Krippendorff draws chance pairs without replacement: 1 - alpha = (1 - kappa) (n - 1) / n, n answers in all.
    kappa, alpha = fleiss_kappa(PATIENTS).value, krippendorff_alpha(PATIENTS).value
    assert 1 - alpha == pytest.approx((1 - kappa) * 139 / 140)


@pytest.mark.parametrize(
    ("counts", "share"),
    [
        ([[2, 0], [0, 2]], 1.0),
        ([[1, 1], [1, 1]], 0.0),
        ([[3, 1]], 0.5),  # three of six pairs
        ([[3, 1], [2, 0], [1, 0]], 4 / 7),  # an item with one answer has no pair
    ],
)
def test_raw_agreement_counts_pairs(counts, share):
    assert raw_agreement(counts).value == pytest.approx(share)


@pytest.mark.parametrize("measure", [fleiss_kappa, krippendorff_alpha])
def test_full_agreement_is_one_and_opposition_below_chance(measure):
    assert measure([[3, 0], [0, 3], [3, 0]]).value == pytest.approx(1)
    assert measure([[1, 1], [1, 1], [1, 1]]).value < 0


@pytest.mark.parametrize("measure", [fleiss_kappa, krippendorff_alpha, raw_agreement])
def test_answers_at_random_agree_by_chance(measure):
    table = np.random.default_rng(0).multinomial(5, [0.5, 0.5], size=20_000)
    assert measure(table).value == pytest.approx(0.5 if measure is raw_agreement else 0, abs=0.01)


@pytest.mark.parametrize("measure", [krippendorff_alpha, raw_agreement])
def test_an_item_with_one_answer_says_nothing(measure):
    assert measure([*PATIENTS, [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]]) == measure(PATIENTS)


@pytest.mark.parametrize(
    ("measure", "counts", "reason"),
    [
        (fleiss_kappa, [[3, 0], [3, 0]], "all answers are the same"),
        (krippendorff_alpha, [[3, 0], [2, 0]], "all answers are the same"),
        (fleiss_kappa, [[1, 0], [0, 1]], "no item has two"),
        (krippendorff_alpha, [[1, 0], [0, 1]], "no item has two"),
        (raw_agreement, [[1, 0], [0, 1]], "no item has two"),
        (fleiss_kappa, [[1, 2], [0, 4]], "items have 3 to 4 answers"),
        (fleiss_kappa, np.zeros((0, 3)), "no item has two"),
        (krippendorff_alpha, np.zeros((0, 3)), "no item has two"),
        (raw_agreement, np.zeros((0, 3)), "no item has two"),
    ],
)
def test_where_nothing_can_be_said_it_says_why(measure, counts, reason):
    made = measure(counts)
    assert isnan(made.value)
    assert reason in made.reason


@pytest.mark.parametrize("measure", [fleiss_kappa, krippendorff_alpha, raw_agreement])
@pytest.mark.parametrize("counts", [[1, 2, 3], [[1, -1], [2, 0]]])
def test_what_is_no_table_is_refused(measure, counts):
    with pytest.raises(ValueError, match="items by categories"):
        measure(counts)


def test_votes_are_counted_by_item():
    answers = Answers([0, 1, 2, 0, 1, 9], [7, 7, 7, 4, 4, 5], [1, 1, 0.5, 0, 0, 1])
    assert counts_of(answers).tolist() == [[2, 0, 0], [0, 0, 1], [0, 1, 2]]
    assert counts_of(Answers([], [], [])).shape == (0, 3)
