"""Self-BLEU: by hand, and equal to sacrebleu's."""

import random
from math import exp

import numpy as np
import pytest

from steer.evaluate.bleu import self_bleu


def split(*texts):
    return [text.split() for text in texts]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a b c d", "a b c d"], [1, 1]),
        (["a b c d e", "v w x y z"], [0, 0]),
        (["a", "a"], [1, 1]),  # only the first order exists
        # 2 of 3 unigrams, 1 of 2 bigrams, no trigram: half a match of 1.
        (["a b c", "a b d"], [(2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3)] * 2),
        # Of "a a", one "a" is matched; the bigram is half a match. "a" is matched, but is shorter: exp(1 - 2/1).
        (["a a", "a"], [(1 / 2 * 1 / 2) ** (1 / 2), exp(-1)]),
        # References of 1 and 3 words are equally close to 2: the shorter counts, so nothing is paid.
        (["a b", "a", "a b c"], [1, exp(-1), (2 / 3 * 1 / 2 * 1 / 2) ** (1 / 3)]),
        # The most that any one reference has, not their sum.
        (["a a a", "a b a", "a c d"], [(2 / 3 * 1 / 4 * 1 / 4) ** (1 / 3), None, None]),
        (["", "a", "a"], [np.nan, 1, 1]),
        (["", ""], [np.nan, np.nan]),
        (["a b"], [np.nan]),
        ([], []),
    ],
)
def test_by_hand(texts, expected):
    found = self_bleu(split(*texts))
    assert found.shape == (len(texts),)
    for value, wanted in zip(found, expected, strict=True):
        assert wanted is None or value == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize("vocabulary", [2, 6, 60])
@pytest.mark.parametrize("longest", [5, 40])
def test_equal_to_sacrebleu(vocabulary, longest):
    bleu = pytest.importorskip("sacrebleu.metrics").BLEU(tokenize="none", smooth_method="exp", effective_order=True)
    rng = random.Random(vocabulary * longest)
    words = [f"w{index}" for index in range(vocabulary)]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, longest))) for _ in range(25)]
    texts += ["", texts[3], texts[4] + " w0", "unheard of", "x"]
    found = self_bleu(split(*texts))
    for index, text in enumerate(texts):
        if text:
            others = texts[:index] + texts[index + 1 :]
            assert found[index] == pytest.approx(bleu.sentence_score(text, others).score / 100, abs=1e-6)
        else:
            assert np.isnan(found[index])


def test_the_order_of_the_texts_does_not_matter(write):
    texts = split(*write(20, 0))
    np.testing.assert_array_equal(self_bleu(texts)[::-1], self_bleu(texts[::-1]))


def test_copies_raise_it(write):
    texts = split(*write(20, 0))
    assert self_bleu(texts).mean() < 0.5
    assert self_bleu(texts + texts).tolist() == [1.0] * 40
