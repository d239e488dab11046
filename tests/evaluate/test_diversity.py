"""Lexical diversity by hand and against slow obvious code; and what makes two corpora comparable."""

import gzip
from collections import Counter
from itertools import islice
from math import isnan, log, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer.evaluate.diversity import (
    Tokens,
    compression_ratio,
    corpus_diversity,
    ngram_diversity,
    ngrams,
    orders,
    self_repetition,
    simctg_diversity,
    unique_ngram_ratio,
    words,
)
from steer.evaluate.tokens import tokeniser

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


def tokens(texts):
    return Tokens.of(map(words, texts))


def parts(texts):
    return list(islice(orders(tokens(texts)), 4))


@pytest.mark.parametrize(("texts", "n", "expected"), GOLDEN)
def test_unique_ngram_ratio(texts, n, expected):
    assert unique_ngram_ratio(texts, n) == pytest.approx(expected)
    assert ngrams(tokens(texts), n).repeated_ratio() == pytest.approx(1 - expected)


@pytest.mark.parametrize(("texts", "n"), [([], 1), ([""], 1), (["a b", "c"], 3)])
def test_undefined_is_nan(texts, n):
    part = ngrams(tokens(texts), n)
    assert isnan(unique_ngram_ratio(texts, n))
    assert isnan(ngram_diversity(texts))
    assert isnan(self_repetition(part))
    assert all(isnan(ratio()) for ratio in (part.ratio, part.repeated_ratio, part.text_ratio, part.pooled_ratio))


@pytest.mark.parametrize("n", [0, -1])
def test_there_is_no_zerogram(n):
    with pytest.raises(ValueError, match="1 or more"):
        unique_ngram_ratio(["a b"], n)


def test_diversity_is_the_product():
    # Of "a a a a a": 1 distinct of 4, 3 and 2 n-grams.
    assert ngram_diversity(["a a a a a"]) == pytest.approx(1 / 4 * 1 / 3 * 1 / 2)
    assert ngram_diversity(["a b c d e f"]) == 1.0
    assert isnan(ngram_diversity(["a b c"]))


def test_the_tokenisation_can_be_another():
    assert unique_ngram_ratio(["a, a!"], 1) == 1.0
    assert unique_ngram_ratio(["a, a!"], 1, tokeniser("words").split) == 1 / 2
    assert ngram_diversity(["好好好好好"], tokeniser("characters").split) == pytest.approx(1 / 4 * 1 / 3 * 1 / 2)


@pytest.mark.parametrize(
    ("texts", "n", "expected"),
    [
        (["a a a", "b"], 1, (1 / 3 + 1) / 2),
        (["a a a", "", "b"], 1, (1 / 3 + 1) / 2),  # a text without a word has no ratio
        (["a b", "a b"], 2, 1.0),  # each is distinct in itself
        (["a b a b", "c"], 2, 2 / 3),
    ],
)
def test_text_ratio(texts, n, expected):
    assert ngrams(tokens(texts), n).text_ratio() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        # n = 2: of 5 and 4, distinct 2 and 4; n = 3: 2 of 4 and 3 of 3; n = 4: 2 of 3 and 2 of 2.
        (["a b a b a b", "a b c d e"], 6 / 9 * 5 / 7 * 4 / 5),
        (["a b c d", "a b c d"], 1.0),  # they repeat each other, not themselves
        (["a a a a", "", "b"], 1 / 3 * 1 / 2 * 1 / 1),
        (["a b c"], nan),
        ([""], nan),
        ([], nan),
    ],
)
def test_simctg_diversity(texts, expected):
    assert simctg_diversity(parts(texts)[1:]) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a b c d", "a b c d"], log(2)),
        (["a b c d", "e f g h"], 0.0),
        (["a a a a a"], 0.0),  # only other texts count
        (["a a a a a", "a a a a"], log(2)),  # once per text
        # a b c d is in one other text, b c d e in none; the third text is too short to repeat.
        (["a b c d e", "x a b c d", "a b c"], log(2)),
        (["a b c d e", "a b c d e", "a b c d"], (log(4) + log(4) + log(3)) / 3),
        (["a b c", "a b c"], nan),
        ([""], nan),
        ([], nan),
    ],
)
def test_self_repetition(texts, expected):
    assert self_repetition(ngrams(tokens(texts), 4)) == pytest.approx(expected, nan_ok=True)


def slow_self_repetition(texts, n):
    held = [{tuple(words(text)[at : at + n]) for at in range(len(words(text)) - n + 1)} for text in texts]
    values = []
    for one, mine in enumerate(held):
        if mine:
            shared = 0
            for other, theirs in enumerate(held):
                if one != other:
                    shared += len(mine & theirs)
            values.append(log(1 + shared))
    return sum(values) / len(values) if values else nan


CORPORA = st.lists(st.lists(st.sampled_from("abc"), max_size=9).map(" ".join), max_size=8)


@settings(deadline=None, max_examples=60)
@given(CORPORA)
def test_equal_to_slow_obvious_code(texts):
    for n, part in enumerate(parts(texts), 1):
        held = [Counter(tuple(words(text)[at : at + n]) for at in range(len(words(text)) - n + 1)) for text in texts]
        corpus = sum(held, Counter())
        assert part.n == n
        assert part.texts == len(texts)
        assert sorted(np.bincount(part.ids).tolist()) == sorted(corpus.values())
        assert part.totals.tolist() == [text.total() for text in held]
        assert part.distinct.tolist() == [len(text) for text in held]
        assert sorted(part.table[2].tolist()) == sorted(count for text in held for count in text.values())
        if corpus:
            assert part.ratio() == len(corpus) / corpus.total()
            assert part.pooled_ratio() == sum(map(len, held)) / corpus.total()
            ratios = [len(text) / text.total() for text in held if text]
            assert part.text_ratio() == pytest.approx(sum(ratios) / len(ratios))
        assert self_repetition(part) == pytest.approx(slow_self_repetition(texts, n), nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(CORPORA, st.integers(0, 255))
def test_chosen_texts_count_as_if_there_were_no_others(texts, bits):
    chosen = np.array([bits >> index & 1 for index in range(len(texts))], dtype=bool)
    whole = parts(texts)
    alone = parts([text for text, keep in zip(texts, chosen, strict=True) if keep])
    for score in (corpus_diversity, simctg_diversity):
        assert score(whole[1:], chosen) == pytest.approx(score(alone[1:]), nan_ok=True)
    for ours, theirs in zip(whole, alone, strict=True):
        assert self_repetition(ours, chosen) == pytest.approx(self_repetition(theirs), nan_ok=True)
        for name in ("ratio", "repeated_ratio", "text_ratio", "pooled_ratio"):
            assert getattr(ours, name)(chosen) == pytest.approx(getattr(theirs, name)(), nan_ok=True)


def test_tokens_are_numbered_as_they_come():
    found = tokens(["a b a", "", "c a"])
    assert found.ids.tolist() == [0, 1, 0, 2, 0]
    assert found.owners.tolist() == [0, 0, 0, 2, 2]
    assert found.texts == 3


@pytest.mark.parametrize(
    ("count", "ids", "owners", "texts"),
    [
        (-1, [], [], 0),
        (0, [], [], 0),
        (2, [0, 1], [0, 0], 1),
        (3, [0, 1, 2], [0, 0, 0], 1),
        (4, [0, 1, 2, 3], [0, 0, 0, 2], 3),  # empty texts between are kept
        (5, [0, 1, 2, 3, 0], [0, 0, 0, 2, 2], 4),
        (9, [0, 1, 2, 3, 0], [0, 0, 0, 2, 2], 4),
    ],
)
def test_truncate_counts_tokens_over_texts(count, ids, owners, texts):
    cut = tokens(["One two\tthree", "", "four one", ""]).truncate(count)
    assert cut.ids.tolist() == ids
    assert cut.owners.tolist() == owners
    assert cut.texts == texts


def test_larger_corpora_of_one_source_score_lower_and_truncated_ones_alike(write):
    small, large = tokens(write(50, 1)), tokens(write(500, 2))
    ratio = ngrams(small, 2).ratio()
    assert ngrams(large, 2).ratio() < ratio - 0.1
    assert ngrams(large.truncate(len(small.ids)), 2).ratio() == pytest.approx(ratio, abs=0.03)


@pytest.mark.parametrize("texts", [[], [""]])
def test_nothing_cannot_be_compressed(texts):
    assert isnan(compression_ratio(texts))


def test_compression_ratio(write):
    assert compression_ratio(["ab", "c"]) == 4 / len(gzip.compress(b"ab\nc"))
    assert compression_ratio(["é"]) == compression_ratio(["ab"]) > compression_ratio(["e"])
    assert compression_ratio(["\ud800"]) > 0
    varied, repeated = write(100, 0), write(1, 0) * 100
    joined = "\n".join(varied).encode()
    assert compression_ratio(varied) == len(joined) / len(gzip.compress(joined, 9))
    assert 1 < compression_ratio(varied) < 10 < compression_ratio(repeated)


def test_compression_sees_only_what_is_near(write):
    far = write(2000, 0)  # beyond the window of 32 KiB
    assert compression_ratio([text for text in far for _ in range(2)]) > 1.5 * compression_ratio(far + far)
