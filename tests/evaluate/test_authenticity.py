"""Copies are counted, also the edited and the extended ones; other texts of the same source are not."""

from math import isnan

import pytest

from steer.evaluate.authenticity import copied_share, estimate
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
    assert "no texts" in estimate([], CopyFinder(["a"])).reason
    assert "no real texts" in estimate(["a"], CopyFinder([])).reason


def test_none_found_of_few_is_not_certainty(write):
    none = estimate(write(10, 2), CopyFinder(write(10, 1)))
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.2775, abs=1e-4)
