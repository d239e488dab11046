"""Texts as vectors: what TF-IDF and SVD know, of whom, and how little they need."""

import numpy as np
import pytest

from steer.evaluate.embed import HiddenStates, TfidfSvd, vectors


def test_it_knows_the_words_it_was_fitted_on():
    embedder = TfidfSvd(["warm bread", "cold stone", "warm stone"])
    known = embedder.embed(["warm bread", "warm bread", "unknown", ""])
    assert known.shape[1] <= 4
    assert np.allclose(known[0], known[1])
    assert np.linalg.norm(known[0]) == pytest.approx(1.0)
    # Without a known word: like each other, and like nothing else.
    assert known[2:].tolist() == [[0.0] * (known.shape[1] - 1) + [1.0]] * 2


def test_the_signature_tells_the_texts_and_not_their_order():
    assert "lexical" in TfidfSvd(["a"]).signature
    assert TfidfSvd(["b", "a"]).signature == TfidfSvd(["a", "b"]).signature != TfidfSvd(["a", "c"]).signature
    assert TfidfSvd(["a"], dimensions=2).signature != TfidfSvd(["a"]).signature


def test_neither_does_the_order_change_the_vectors(write):
    texts = write(120, 1)
    one, other = TfidfSvd(texts).embed(texts), TfidfSvd(texts[::-1]).embed(texts)
    assert (one == other).all()
    assert one.shape == (120, 65)


@pytest.mark.parametrize("fit", [[], [""], ["", " \t"], ["a"], ["a", "a", "a"]])
def test_of_little(fit):
    made = TfidfSvd(fit).embed(["a", "", "b"])
    assert made.shape == (3, 1 + ("a" in fit))
    assert np.linalg.norm(made, axis=1) == pytest.approx(1.0)
    assert (made[0] == made[1]).all() == ("a" not in fit)
    assert TfidfSvd(fit).embed([]).shape == (0, 1 + ("a" in fit))


def test_at_most_the_dimensions_that_were_asked_for(write):
    assert TfidfSvd(write(100, 1), dimensions=5).embed(["the old bridge"]).shape == (1, 6)
    # Ten copies of two texts span two directions, whatever was asked for.
    assert TfidfSvd(write(2, 1) * 10).embed(["the old bridge"]).shape == (1, 3)


def test_without_an_svd_to_cut_it_is_the_cosine_of_tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = ["the warm bread", "the cold stone", "bread on a stone", "bread a bread a bread"]
    plain = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"\w+").fit_transform(texts)
    made = TfidfSvd(texts).embed(texts)
    assert made @ made.T == pytest.approx((plain @ plain.T).toarray())


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("old bridge", "bridge old", False),
        ("old bridge", "old bridge!", False),
        ("用面包", "吃面包", False),  # no space divides them, and they share a pair of characters
        ("Old", "old", True),
    ],
)
def test_it_sees_order_marks_and_characters_of_scripts_without_spaces(one, other, same):
    a, b = TfidfSvd([one, other]).embed([one, other])
    assert a @ b == pytest.approx(1.0) if same else 0.1 < a @ b < 0.99


def test_what_an_embedder_gives_is_checked():
    def asked(texts):
        raise AssertionError("asked about no texts")

    assert vectors(HiddenStates(asked, "model"), []).shape == (0, 1)
    whole = vectors(HiddenStates(lambda texts: np.ones((len(texts), 2), dtype=int), "model"), ["a", "b"])
    assert (whole.shape, whole.dtype) == ((2, 2), np.float64)
    for shape in [(1, 2), (2,), (2, 2, 2)]:
        with pytest.raises(ValueError, match=r"domain gave .* for 2 texts"):
            vectors(HiddenStates(lambda texts, shape=shape: np.ones(shape), "model"), ["a", "b"])
