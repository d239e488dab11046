"""A shortlist finds the copies that comparing every pair finds, and verbatim runs in any case."""

import random

import numpy as np
import pytest

from steer.evaluate import copies
from steer.similarity import THRESHOLD, CopyFinder, clusters

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def mistyped(text, seed):
    """Every tenth character is another."""
    rng = random.Random(seed)
    places = set(rng.sample(range(len(text)), len(text) // 10))
    return "".join(rng.choice(LETTERS) if at in places else character for at, character in enumerate(text))


def swapped(text, seed):
    """Two words change places with their neighbours."""
    words = text.split()
    for at in random.Random(seed).sample(range(0, len(words) - 1, 2), 2):
        words[at : at + 2] = words[at + 1], words[at]
    return " ".join(words)


@pytest.fixture(scope="module")
def sources(write):
    return write(300, 1)


@pytest.fixture(scope="module")
def texts(write, sources):
    """300 texts: mistyped and swapped copies, a few verbatim with a tail, and others."""
    made = [mistyped(text, i) for i, text in enumerate(sources[:100])]
    made += [swapped(text, i) for i, text in enumerate(sources[60:160])]
    made += [f"{text} {tail}" for text, tail in zip(sources[200:220], write(20, 2, length=16), strict=True)]
    return made + write(80, 3)


@pytest.fixture
def _dear(monkeypatch):
    """All pairs are too many."""
    monkeypatch.setattr(copies, "AFFORDABLE", 0)


@pytest.fixture
def looked(monkeypatch):
    """How many texts were looked up in a shortlist."""
    seen = []
    search = copies.k_nearest
    monkeypatch.setattr(copies, "k_nearest", lambda *given: seen.append(len(given[0])) or search(*given))
    return seen


@pytest.mark.usefixtures("_dear")
def test_a_shortlist_finds_what_all_pairs_find(texts, sources, looked):
    finder = CopyFinder(sources)
    every = finder.find(texts)
    assert not copies.affordable(texts, sources)
    assert copies.find(texts, finder, sources) == every
    assert looked == [300]
    assert [match.reason for match in every if match] == ["near copy"] * 200 + ["shared run"] * 20
    assert [match.index for match in every if match] == [*range(100), *range(60, 160), *range(200, 220)]


@pytest.mark.usefixtures("_dear")
def test_vectors_that_were_learned_from_a_sample_miss_few(texts, sources, monkeypatch):
    monkeypatch.setattr(copies, "FITTED", 60)
    finder = CopyFinder(sources)
    pairs = zip(copies.find(texts, finder, sources), finder.find(texts), strict=True)
    assert sum(found != expected for found, expected in pairs) <= 5


@pytest.mark.usefixtures("_dear")
def test_clusters_of_a_shortlist_are_those_of_all_pairs(texts, sources, looked):
    both = [*sources, *texts, *texts[:30]]
    every = clusters(both)
    assert copies.near_clusters(both, THRESHOLD).tolist() == every.tolist()
    assert looked == [600]
    # A source, its mistyped copy and its swapped one are one cluster.
    assert every[60] == every[300 + 60] == every[300 + 100]
    assert len(set(every)) == 300 + 80


def test_few_are_all_compared(texts, sources, looked):
    finder = CopyFinder(sources)
    assert copies.affordable(texts, sources)
    assert copies.find(texts, finder, sources) == finder.find(texts)
    assert copies.near_clusters(texts, THRESHOLD).tolist() == clusters(texts).tolist()
    assert not looked


def test_what_is_affordable_grows_with_the_product_of_characters(monkeypatch):
    monkeypatch.setattr(copies, "AFFORDABLE", 12)
    assert copies.affordable(["ab", "c"], ["abcd"])
    assert not copies.affordable(["ab", "c"], ["abcd", "e"])


def test_the_threshold_is_that_of_the_clusters(monkeypatch):
    for affordable in (1e9, 0):
        monkeypatch.setattr(copies, "AFFORDABLE", affordable)
        assert len(set(copies.near_clusters(["abcd", "abce"], 0.75))) == 1
        assert len(set(copies.near_clusters(["abcd", "abce"], 0.76))) == 2


@pytest.mark.parametrize("texts", [[], [""], ["", "a"], ["", " ", "?"], ["a"] * 30])
@pytest.mark.parametrize("sources", [[], [""], ["a", "b"], ["?"] * 30])
def test_odd_texts(texts, sources, monkeypatch):
    monkeypatch.setattr(copies, "AFFORDABLE", -1)
    finder = CopyFinder(sources)
    assert copies.find(texts, finder, sources) == finder.find(texts)
    assert copies.near_clusters(texts, THRESHOLD).tolist() == clusters(texts).tolist()


def test_among_is_all_that_characters_are_compared_with(sources):
    finder, text = CopyFinder(sources), mistyped(sources[7], 0)
    (match,) = finder.find([text])
    assert (match.index, match.reason) == (7, "near copy")
    for among in ([3, 7, 9], np.array([7]), [299, 7]):
        assert finder.find([text], [among]) == [match]
    assert finder.find([text, text], [[], [8, 9]]) == [None, None]
    # Runs of words are looked up in every source all the same.
    (run,) = finder.find([sources[7]], [[]])
    assert (run.index, run.similarity, run.reason) == (7, 1.0, "shared run")


def test_of_equals_the_first_source_whatever_the_order_of_the_list():
    finder = CopyFinder(["abcd", "abcf", "abcd"])
    for among in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        (match,) = finder.find(["abcd"], [among])
        assert (match.index, match.similarity) == (0, 1.0)


@pytest.mark.parametrize("among", [[], [[0]], [[0], [0], [0]]])
def test_among_is_one_list_for_each_text(among):
    with pytest.raises(ValueError, match="argument 2"):
        CopyFinder(["abcd"]).find(["abcd", "b"], among)


def test_a_shortlist_of_clusters_counts_from_either_side():
    texts = ["abcdefgh", "abcdefgx", "abcdefyx", "zzzzzzzz"]
    asked = []

    def by(lists):
        def shortlist(distinct):
            asked.append(list(distinct))
            return [np.array([distinct.index(texts[j]) for j in lists.get(texts.index(one), [])]) for one in distinct]

        return clusters([*texts, texts[0]], 0.85, shortlist).tolist()

    everything = {i: [0, 1, 2, 3] for i in range(4)}
    assert by(everything) == clusters([*texts, texts[0]], 0.85).tolist()
    assert len(set(by(everything))) == 2
    # Either of two may name the other, and what none names is not compared.
    assert by({0: [1], 1: [2]}) == by({1: [0], 2: [1]}) == by(everything)
    assert len(set(by({0: [1]}))) == 3
    assert len(set(by({}))) == 4
    assert all(sorted(each) == sorted(texts) for each in asked)
