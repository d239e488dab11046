"""Samples do not depend on the order in which texts came, and what is known of a text stays with it."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.evaluate.corpus import Corpus, Question, corpus
from steer.evaluate.sides import Sides

EMPTY = Corpus.of([])


def whole():
    """Every column names the text's place."""
    return Corpus.of(
        [f"text {i}" for i in range(6)],
        labels=["even", "odd"] * 3,
        vectors=[[i, 10 * i] for i in range(6)],
        questions=[None if i == 3 else Question(f"text {i}", ("yes", "no"), i % 2) for i in range(6)],
    )


def places(made):
    """Where each text of a part of `whole` stood, by each column that it has; they have to agree."""
    by_text = [int(text.removeprefix("text ")) for text in made.texts]
    assert list(made.rows) == by_text
    if made.labels is not None:
        assert list(made.labels) == ["odd" if i % 2 else "even" for i in by_text]
    if made.vectors is not None:
        assert made.vectors.tolist() == [[i, 10 * i] for i in by_text]
        assert made.vectors.shape == (len(made), 2)
    if made.questions is not None:
        assert [one and one.question for one in made.questions] == [None if i == 3 else f"text {i}" for i in by_text]
    return by_text


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (lambda one: one, [0, 1, 2, 3, 4, 5]),
        (lambda one: one.take([4, 0, 4]), [4, 0, 4]),
        (lambda one: one.take(np.array([5, 3])), [5, 3]),
        (lambda one: one.take([]), []),
        (lambda one: one.first(2), [0, 1]),
        (lambda one: one.first(0), []),
        (lambda one: one.first(99), [0, 1, 2, 3, 4, 5]),
        (lambda one: one.take([5, 4, 1]).first(2).take([1]), [4]),
    ],
)
def test_columns_stay_together(part, expected):
    made = part(whole())
    assert places(made) == expected
    assert None not in (made.labels, made.questions)
    assert made.vectors is not None
    assert len(made) == len(expected)


@pytest.mark.parametrize(("label", "expected"), [("odd", [1, 3, 5]), ("even", [0, 2, 4]), ("neither", [])])
def test_texts_of_a_label_have_nothing_left_to_learn(label, expected):
    made = whole().labelled(label)
    assert places(made) == expected
    assert made.labels is made.questions is None
    assert places(made.take(range(len(made))[::-1])) == expected[::-1]


def test_a_shuffled_corpus_is_the_same_texts():
    for seed in range(5):
        assert sorted(places(whole().shuffled(seed, "real"))) == list(range(6))


def test_what_is_unknown_stays_unknown():
    plain = Corpus.of(["a", "b"])
    for made in (plain, plain.take([1]), plain.shuffled(0, "real")):
        assert made.labels is made.vectors is made.questions is None
    assert len(plain.labelled("a")) == 0


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        ({"labels": ["x"]}, "1 labels came for 2 texts"),
        ({"labels": ["x", "y", "z"]}, "3 labels came for 2 texts"),
        ({"vectors": np.ones((3, 4))}, "3 embeddings came for 2 texts"),
        ({"vectors": [1.0, 2.0]}, r"shape \(2,\) came, expected \(number of texts, dimensions\)"),
        ({"vectors": np.ones(())}, r"shape \(\) came"),
        ({"questions": []}, "0 questions came for 2 texts"),
    ],
)
def test_there_is_one_of_everything_for_each_text(columns, complaint):
    with pytest.raises(ValueError, match=complaint):
        Corpus.of(["a", "b"], **columns)


def test_a_text_is_no_list_of_texts():
    with pytest.raises(TypeError, match="list of texts"):
        Corpus.of("one text")
    with pytest.raises(TypeError, match="list of texts"):
        corpus("one text")


def test_a_corpus_is_taken_as_it_is_and_a_list_as_its_texts():
    one = whole()
    assert corpus(one) is one
    assert corpus(["a", "b"]).texts == corpus(("a", "b")).texts == ("a", "b")
    assert len(corpus([])) == 0


@pytest.mark.parametrize(("choices", "answer"), [(("yes", "no"), 2), (("yes", "no"), -1), (("yes",), 0), ((), 0)])
def test_a_question_has_choices_and_an_answer_among_them(choices, answer):
    with pytest.raises(ValueError, match=f"answer {answer} of {len(choices)} choices"):
        Question("?", choices, answer)


TEXTS = st.lists(st.sampled_from(["", "a", "b", "c", "\ud800", "a\0b"]), max_size=12)


@given(TEXTS, st.randoms())
def test_the_order_texts_came_in_decides_nothing(texts, rng):
    turned = rng.sample(texts, len(texts))
    one, other = (Corpus.of(some).shuffled(3, "real").texts for some in (texts, turned))
    assert one == other
    assert Counter(one) == Counter(texts)


def test_samples_are_random_nested_and_by_seed_and_role():
    texts = Corpus.of([f"text {i}" for i in range(400)])
    order = texts.order(0, "real")
    # Half of a random half lies in the first half.
    assert sum(place < 200 for place in order[:200]) == pytest.approx(100, abs=25)
    for other in (texts.order(1, "real"), texts.order(0, "candidate")):
        assert len(set(order[:200]) & set(other[:200])) == pytest.approx(100, abs=25)
    # Further texts come in between, and change the order of none.
    some = Corpus.of(texts.texts[:300]).shuffled(0, "real").texts
    kept = set(some)
    assert tuple(text for text in texts.shuffled(0, "real").texts if text in kept) == some


def test_of_equal_texts_a_sample_takes_its_share():
    texts = Corpus.of(["same"] * 100 + [f"text {i}" for i in range(100)])
    for seed in range(5):
        assert texts.shuffled(seed, "real").first(100).texts.count("same") == pytest.approx(50, abs=15)


def sides(real, synthetic, training=EMPTY, seed=0, **rivals):
    others = {name: corpus(rival) for name, rival in rivals.items()}
    return Sides.of(corpus(real), corpus(synthetic), corpus(training), others, str.split, seed)


def contents(made):
    return {
        "real": made.real.texts,
        "reference": made.reference.texts,
        "sources": made.sources.texts,
        "held out": made.held_out.texts,
        **{name: one.texts for name, one in made.sets.items()},
    }


@pytest.mark.parametrize("trained", [True, False])
def test_no_side_depends_on_the_order_of_its_texts(write, trained):
    real, synthetic, training, rival = (write(30 + i, i)[: 20 + i] * 2 for i in range(4))
    training = training if trained else []
    made = sides(real, synthetic, training, nucleus=rival)
    turned = sides(real[::-1], synthetic[::-1], training[::-1], nucleus=rival[::-1])
    assert contents(made) == contents(turned)
    assert contents(made) != contents(sides(real, synthetic, training, nucleus=rival, seed=1))


def test_with_training_texts_they_are_the_ceiling_and_the_sources(write):
    real, synthetic, training, rival = write(11, 1), write(9, 2), write(15, 3), write(7, 4)
    made = sides(real, synthetic, training, nucleus=rival)
    assert list(made.sets) == ["synthetic", "ceiling", "nucleus"]
    assert sorted(made.reference.texts) == sorted(made.held_out.texts) == sorted(real)
    assert sorted(made.sets["ceiling"].texts) == sorted(made.sources.texts) == sorted(training)
    assert sorted(made.sets["synthetic"].texts) == sorted(synthetic)
    # A sample of the ceiling is not to be a sample of what it is compared with.
    assert made.sets["ceiling"].texts != made.training.texts
    assert made.texts == 7
    assert made.sizes() == "7 texts against 11 real, sampled by seed"


@pytest.mark.parametrize("count", [0, 1, 2, 7, 30])
def test_without_training_texts_the_real_ones_are_halved(write, count):
    real = write(count, 1)
    made = sides(real, write(9, 2))
    reference, ceiling = made.reference.texts, made.sets["ceiling"].texts
    assert sorted(reference + ceiling) == sorted(real)
    assert len(reference) - len(ceiling) in (0, 1)
    assert sorted(made.sources.texts) == sorted(reference)
    assert sorted(made.held_out.texts) == sorted(ceiling)
    assert "halved" in " ".join(made.notes())


def test_sizes_are_those_of_the_smallest_set_that_has_any():
    made = sides(["a b"] * 9, ["a b c"] * 4, list("acdefghi"), empty=[], wordless=["", " "] * 3)
    assert (made.texts, made.words) == (4, 8)
    (sizes, *empties) = made.notes()
    assert "4 texts a set" in sizes
    assert "8 words a set" in sizes
    assert empties == ["6 of 6 wordless texts are empty; they are counted, not dropped"]
    nothing = sides([], [])
    assert nothing.words == 0
    assert len(nothing.reference) == len(nothing.sets["ceiling"]) == 0


def test_columns_stay_together_in_every_side():
    made = Sides.of(whole(), whole(), EMPTY, {"other": whole()}, str.split, 0)
    assert sorted(places(made.reference) + places(made.sets["ceiling"])) == list(range(6))
    assert sorted(places(made.sets["synthetic"])) == sorted(places(made.sets["other"])) == list(range(6))
