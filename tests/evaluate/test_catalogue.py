"""Scores by name, by question, or all; what is not installed is left out, unless somebody asked for it."""

from math import isnan

import numpy as np
import pytest

from steer.evaluate import catalogue
from steer.evaluate.authenticity import Sources
from steer.evaluate.catalogue import (
    FAMILIES,
    NAMES,
    QUESTIONS,
    USEFULNESS,
    chosen,
    missing,
)
from steer.evaluate.tokens import whitespace
from steer.evaluate.views import Copies, Leak, Vectors, Words

OF_QUESTION = {question: [] for question in QUESTIONS} | {"useful": list(USEFULNESS)}
for family in FAMILIES:
    OF_QUESTION[family.question] += family.scores
DOUBLES = {
    "repeated_ngram_ratio",
    "text_ngram_ratio",
    "simctg_diversity",
    "self_bleu",
    "mean_pairwise_cosine",
}


@pytest.fixture
def _all_installed(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: name)


@pytest.fixture
def _none_installed(monkeypatch):
    monkeypatch.setattr(catalogue, "find_spec", lambda name: None)


def test_no_name_is_there_twice():
    assert len(set(NAMES)) == len(NAMES)
    assert all(OF_QUESTION.values())
    assert all(family.optional <= set(family.scores) for family in FAMILIES)
    assert set().union(*(family.optional for family in FAMILIES)) == DOUBLES


@pytest.mark.usefixtures("_all_installed")
def test_by_default_every_score_but_the_doubles():
    assert chosen(None) == [name for name in NAMES if name not in DOUBLES]
    assert missing() == {}


@pytest.mark.usefixtures("_all_installed")
def test_every_score_can_be_asked_for_alone():
    assert {name: chosen([name]) for name in NAMES} == {name: [name] for name in NAMES}


@pytest.mark.usefixtures("_all_installed")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], []),
        (["mmd"], ["mmd"]),
        (["mmd", "vendi", "mmd"], ["vendi", "mmd"]),  # in the order of the catalogue, once
        (["self_bleu"], ["self_bleu"]),
        (["all"], list(NAMES)),
        (["vendi", "all"], list(NAMES)),
        (["useful"], list(USEFULNESS)),
        *([[question], OF_QUESTION[question]] for question in QUESTIONS),
        (["authentic", "mmd"], ["mmd", *OF_QUESTION["authentic"]]),
    ],
)
def test_by_name_by_question_or_all(asked, expected):
    assert chosen(asked) == expected


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        (["adversarial_auc"], "unknown metric 'adversarial_auc'; did you mean 'adversarial_auroc'?"),
        (["mmd", "divrese"], "unknown metric 'divrese'; did you mean 'diverse'?"),
        (["al"], "did you mean 'all'?"),
        (["Vendi"], "did you mean 'vendi'?"),
        (["zzzz"], "unknown metric 'zzzz'; known: "),
    ],
)
def test_an_unknown_name_names_the_nearest(asked, complaint):
    with pytest.raises(ValueError) as raised:
        chosen(asked)
    assert complaint in str(raised.value)
    if "known: " in complaint:
        assert all(name in str(raised.value) for name in (*NAMES, *QUESTIONS, "all"))


@pytest.mark.usefixtures("_none_installed")
@pytest.mark.parametrize(
    ("asked", "name", "extra"),
    [
        (["mauve"], "mauve", "mauve"),
        (["hull_f"], "hull_f", "eval"),
        (["vendi", "hull_recall", "hull_f"], "hull_recall", "eval"),
        (["faithful"], "mauve", "mauve"),
        (["covered"], "hull_precision", "eval"),
        (["all"], "mauve", "mauve"),
    ],
)
def test_what_is_asked_for_and_not_installed_is_an_error_that_names_the_extra(asked, name, extra):
    with pytest.raises(ImportError) as raised:
        chosen(asked)
    assert repr(name) in str(raised.value)
    assert f"pip install 'steer-text[{extra}]'" in str(raised.value)


@pytest.mark.usefixtures("_none_installed")
def test_what_is_not_asked_for_and_not_installed_is_left_out():
    absent = {"mauve": "mauve", "hull_precision": "eval", "hull_recall": "eval", "hull_f": "eval"}
    assert missing() == absent
    assert chosen(None) == [name for name in NAMES if name not in DOUBLES | set(absent)]
    assert chosen(["hull_f_pca", "diverse"]) == [*OF_QUESTION["diverse"], "hull_f_pca"]


@pytest.mark.parametrize(
    ("count", "passages"),
    [
        (0, []),
        (1, ["one"]),
        (2, ["one two"]),
        (3, ["one two", "", "three"]),
        (5, ["one two", "", "three four one"]),
        (9, ["one two", "", "three four one", "two"]),
    ],
)
def test_words_are_cut_to_the_same_number(count, passages):
    words = Words.of(["One  two", "", "three four one", "TWO"], whitespace, count, 0)
    assert words.passages == passages
    assert [part.n for part in words.ngrams] == [1, 2, 3, 4]
    assert len(words.ngrams[0].ids) == min(count, 6)
    assert all(part.texts == len(passages) for part in words.ngrams)


def view(sees, texts, lexical=True):
    """What a family sees of the texts beside themselves in another order."""
    vectors = np.array([[len(text), text.count("e"), text.count("a")] for text in texts], float).reshape(-1, 3)
    if sees == "words":
        return Words.of(texts, whitespace, 10**6, 0)
    if sees == "copies":
        return Copies([None] * len(texts), len(texts), len(texts))
    if sees == "leak":
        return Leak(vectors, Sources(vectors[::-1], vectors[1:]), trained=True, seed=0)
    labels = np.arange(2 * len(texts))
    return Vectors(vectors[::-1], vectors, texts[::-1], texts, lambda: labels, lexical, "logistic", 0)


FEW = {"none": 0, "one": 1, "two": 2, "three": 3}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: next(iter(family.scores)))
@pytest.mark.parametrize("count", FEW.values(), ids=FEW)
@pytest.mark.filterwarnings("error", "ignore::ImportWarning")
def test_every_family_has_a_value_or_a_reason_for_each_of_its_scores(write, family, count):
    if not family.installed:
        pytest.skip(f"{family.package} is not installed")
    made = family.measure(view(family.sees, write(count, 1)))
    assert set(made) == set(family.scores)
    for one in made.values():
        assert (one.low <= one.value <= one.high) or one.reason
        assert not isnan(one.value) or one.reason
        assert count or isnan(one.value)


@pytest.mark.parametrize("texts", [[""] * 8, ["a"] * 8, ["", "a b c d e"] * 4], ids=["empty", "same", "two"])
@pytest.mark.parametrize(
    "family", [one for one in FAMILIES if one.package is None], ids=lambda family: next(iter(family.scores))
)
@pytest.mark.filterwarnings("error", "ignore::ImportWarning")
def test_of_texts_that_are_all_alike_too(family, texts):
    for one in family.measure(view(family.sees, texts)).values():
        assert (one.low <= one.value <= one.high) or one.reason
        assert not isnan(one.value) or one.reason


def test_words_of_the_texts_are_learned_inside_the_folds_and_vectors_are_taken(write):
    family = next(one for one in FAMILIES if "adversarial_auroc" in one.scores)
    texts = write(12, 1)
    of_words, of_vectors = (family.measure(view("vectors", texts, lexical))["adversarial_auroc"] for lexical in (1, 0))
    assert of_words.value != of_vectors.value


def test_membership_takes_texts_that_are_known_to_be_trained_on(write):
    family = next(one for one in FAMILIES if "membership_auroc" in one.scores)
    seen = view("leak", write(12, 1))
    assert family.measure(seen)["membership_auroc"].value >= 0
    unknown = family.measure(Leak(seen.vectors, seen.sources, trained=False, seed=0))["membership_auroc"]
    assert isnan(unknown.value)
    assert "--train" in unknown.reason
