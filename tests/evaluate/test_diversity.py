"""Distinct over total n-grams, by hand; and what makes two corpora comparable."""

from math import isnan

import numpy as np
import pytest

from steer.evaluate.diversity import Ngrams, estimate, ngram_diversity, truncate, unique_ngram_ratio

GOLDEN = [
    (["the cat and the hat"], 1, 4 / 5),
    (["the cat and The  CAT"], 1, 3 / 5),
    (["the cat and the cat"], 2, 3 / 4),  # the cat, cat and, and the, the cat
    (["a b c", "a b c"], 3, 1 / 2),
    (["a b", "c d"], 2, 1.0),  # b c would cross from text to text
    (["a b", "c d e"], 3, 1.0),
    (["a a a a a"], 2, 1 / 4),
    (["a", "", "a"], 1, 1 / 2),
]


@pytest.mark.parametrize(("texts", "n", "expected"), GOLDEN)
def test_unique_ngram_ratio(texts, n, expected):
    assert unique_ngram_ratio(texts, n) == pytest.approx(expected)


@pytest.mark.parametrize(("texts", "n"), [([], 1), ([""], 1), (["a b", "c"], 3)])
def test_undefined_is_nan(texts, n):
    assert isnan(unique_ngram_ratio(texts, n))
    assert isnan(ngram_diversity(texts))


def test_diversity_is_the_product():
    # Of "a a a a a": 1 distinct of 4, 3 and 2 n-grams.
    assert ngram_diversity(["a a a a a"]) == pytest.approx(1 / 4 * 1 / 3 * 1 / 2)
    assert ngram_diversity(["a b c d e f"]) == 1.0
    assert isnan(ngram_diversity(["a b c"]))


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, []),
        (2, ["One two"]),
        (3, ["One two three"]),
        (4, ["One two three", "four"]),
        (9, ["One two three", "four five"]),
    ],
)
def test_truncate_counts_words_over_texts(count, expected):
    assert truncate(["One two\tthree", "four five"], count) == expected


def test_truncate_keeps_empty_texts_between():
    assert truncate(["a", "", "b c"], 2) == ["a", "", "b"]


def test_larger_corpora_of_one_source_score_lower_and_truncated_ones_alike(write):
    small, large = write(50, 1), write(500, 2)
    assert unique_ngram_ratio(large, 2) < unique_ngram_ratio(small, 2) - 0.1
    cut = truncate(large, sum(len(text.split()) for text in small))
    assert unique_ngram_ratio(cut, 2) == pytest.approx(unique_ngram_ratio(small, 2), abs=0.03)


def test_a_part_of_the_table_is_the_ratio_of_those_texts(write):
    texts = [*write(30, 3), "", "a"]
    chosen = np.arange(len(texts)) % 3 == 0
    part = [text for text, keep in zip(texts, chosen, strict=True) if keep]
    for n in (1, 2, 3):
        assert Ngrams.of(texts, n).ratio(chosen) == unique_ngram_ratio(part, n)


def test_the_interval_holds_the_value_and_what_fresh_corpora_give(write):
    corpora = [truncate(write(120, seed), 2000) for seed in range(40)]
    estimates = [estimate([Ngrams.of(corpus, 2)]) for corpus in corpora]
    assert all(e.low < e.value < e.high for e in estimates)
    values = np.array([e.value for e in estimates])
    width = np.mean([e.high - e.low for e in estimates])
    assert 0.6 < width / (2 * 1.96 * values.std(ddof=1)) < 1.6


def test_one_text_has_a_value_and_says_why_it_has_no_interval():
    score = estimate([Ngrams.of(["a b a b"], 2)])
    assert score.value == pytest.approx(2 / 3)
    assert isnan(score.low)
    assert "two independent texts" in score.reason
    assert "2 words" in estimate([Ngrams.of(["a", ""], 2)]).reason
