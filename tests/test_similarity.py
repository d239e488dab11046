"""Near copies are found whatever was done to hide them, and only they; quick answers equal slow obvious ones."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steer.similarity import OCCURRENCES, RUN, CopyFinder, Match, clusters, normalise

ONE = "a kettle sings on the stove while rain keeps tapping at the kitchen window all afternoon"
TWO = "nobody repaired the wooden bridge so the carts went round by the mill and came home late"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        (" \t\r\n", ""),
        ("  Warm\tBread\n", "warm bread"),
        ("ﬁne\u00a0day", "fine day"),
        ("Straße", "strasse"),
        ("\uff26\uff35ll\u3000width", "full width"),
        ("e\u0301", "é"),
    ],
)
def test_normalise(text, expected):
    assert normalise(text) == expected


@given(st.text())
def test_normalise_is_idempotent(text):
    assert normalise(normalise(text)) == normalise(text)


# text, source, threshold, the match. Similarities by hand: 2·LCS / (sum of lengths); covered words / words of the text.
GOLDEN = [
    ("abcd", "abce", 0.75, Match(0, 0.75, "near copy")),  # LCS 3 of 4 + 4
    ("abcd", "abce", 0.76, None),
    ("abc", "abcde", 0.75, Match(0, 0.75, "near copy")),  # LCS 3 of 3 + 5: the length bound, met exactly
    ("abc", "abcdef", 0.67, None),  # LCS 3 of 3 + 6 is 2/3
    ("ABC  d", "abc d", 1.0, Match(0, 1.0, "near copy")),
    ("", "", 0.85, Match(0, 1.0, "near copy")),
    ("", "a", 0.01, None),
    ("a", "", 0.01, None),
    ("1 2 3 4 5 6 7 8 x x x x x x x x", "1 2 3 4 5 6 7 8 9", 0.85, Match(0, 0.5, "shared run")),
    ("1 2 3 4 5 6 7 8 x x x x x x x x x", "1 2 3 4 5 6 7 8 9", 0.85, None),  # 8 of 17 words
    ("x x 1 2 3 4 5 6 7 8 9 x x", "y 1 2 3 4 5 6 7 8 9 y y y y y y y y", 0.85, Match(0, 9 / 13, "shared run")),
    ("x x x x 1 2 3 4 5 6 7", "y y y y y y y y y 1 2 3 4 5 6 7", 0.85, None),  # a run of 7
]


@pytest.mark.parametrize(("text", "source", "threshold", "expected"), GOLDEN)
def test_find_golden(text, source, threshold, expected):
    (match,) = CopyFinder([source], threshold).find([text])
    assert (match is None) == (expected is None)
    if expected:
        assert (match.index, match.reason) == (expected.index, expected.reason)
        assert match.similarity == pytest.approx(expected.similarity)


@pytest.mark.parametrize(
    "disguise",
    [
        lambda text: text,
        lambda text: text.upper().replace(" ", "\n  "),
        lambda text: text.replace("rain", "snow"),
        lambda text: text[:-10],
        lambda text: text + " and then the neighbours came over to ask about the noise in our yard",
        lambda text: "as everybody here knows by now, " + text,
        lambda text: "we heard that " + text[16:] + " until the lamps were lit",
    ],
)
def test_disguised_copies_are_found(disguise):
    match = CopyFinder([TWO, ONE]).find([disguise(ONE)])[0]
    assert match is not None
    assert match.index == 1


def test_other_texts_of_the_same_words_are_not_copies():
    words = ONE.split()
    random.Random(0).shuffle(words)
    assert CopyFinder([ONE, TWO]).find([" ".join(words), "", "a"]) == [None, None, None]


def test_the_nearest_of_several_is_named_and_the_first_of_equals():
    finder = CopyFinder([ONE + " or so", TWO, ONE + " x", ONE + " x"], threshold=0.8)
    assert finder.find([ONE])[0].index == 2
    assert finder.nearest([ONE])[0].index == 2
    # Edit similarity goes before a shared run, though the run covers the whole text.
    long = ONE + " " + TWO
    assert CopyFinder([long, ONE + "s"]).find([ONE])[0] == Match(
        1, pytest.approx(2 * len(ONE) / (2 * len(ONE) + 1)), "near copy"
    )
    assert CopyFinder([long]).find([ONE])[0] == Match(0, 1.0, "shared run")


def test_sources_added_later_are_found_like_those_given_first():
    finder = CopyFinder([])
    assert finder.find([ONE, TWO]) == [None, None]
    finder.add([TWO])
    finder.add([ONE, ""])
    assert len(finder) == 3
    assert finder.find([ONE, TWO, ""]) == CopyFinder([TWO, ONE, ""]).find([ONE, TWO, ""])
    assert [match.index for match in finder.find([ONE, TWO, ""])] == [1, 0, 2]


def test_nearest_makes_no_claim():
    match = CopyFinder([ONE, "abce"]).nearest(["abcd"])[0]
    assert match == Match(1, 0.75, "nearest")
    assert CopyFinder(["abc"]).nearest([""])[0] == Match(0, 0.0, "nearest")
    nothing = CopyFinder([]).nearest(["abcd"])[0]
    assert (nothing.index, math.isnan(nothing.similarity)) == (-1, True)


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.01, math.nan])
def test_thresholds_without_meaning_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        CopyFinder([], threshold)


def slow_similarity(a: str, b: str) -> float:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return 2 * table[-1][-1] / (len(a) + len(b)) if a or b else 1.0


def slow_run(a: list[str], b: list[str]) -> int:
    return max(
        (
            n
            for i in range(len(a))
            for n in range(1, len(a) - i + 1)
            for j in range(len(b))
            if a[i : i + n] == b[j : j + n]
        ),
        default=0,
    )


@given(
    st.text("ab", max_size=12),
    st.lists(st.text("ab", max_size=12), max_size=4),
    st.sampled_from([0.5, 0.75, 0.85, 1.0]),
)
def test_edit_similarity_is_the_slow_one(text, sources, threshold):
    similarities = [slow_similarity(text, source) for source in sources]
    best = max(similarities, default=0.0)
    match = CopyFinder(sources, threshold).find([text])[0]
    # A hair below the threshold, rounding may decide; hypothesis finds such cases only by landing on it exactly.
    assert (match is not None) == (best >= threshold)
    if match:
        assert (match.similarity, match.index) == (pytest.approx(best), similarities.index(best))


@given(st.data())
def test_shared_runs_are_the_slow_ones(data):
    word = st.sampled_from([f"{letter}{letter}" for letter in "klmnopqrst"])
    source = data.draw(st.lists(word, min_size=RUN, max_size=30))
    start = data.draw(st.integers(0, len(source) - 1))
    copied = source[start : data.draw(st.integers(start, len(source)))]
    text = data.draw(st.lists(word, max_size=12)) + copied + data.draw(st.lists(word, max_size=12))
    length = slow_run(text, source)
    match = CopyFinder([" ".join(source)], threshold=1.0).find([" ".join(text)])[0]
    if text == source:
        assert match == Match(0, 1.0, "near copy")
    elif length >= RUN and (2 * length >= len(text) or length == len(source)):
        assert match == Match(0, pytest.approx(length / len(text)), "shared run")
    else:
        assert match is None


def test_a_whole_source_is_a_copy_however_long_the_rest():
    source = "the quiet lamps of the harbour went out one by one"
    text = f"{'before ' * 40}{source}{' after' * 60}"
    assert CopyFinder([source]).find([text])[0] == Match(0, pytest.approx(11 / 111), "shared run")
    assert CopyFinder([source + " again"]).find([text]) == [None]


def test_a_run_that_begins_the_source_often_is_found_at_its_longest():
    opening = "it is said by all who know the place that"
    sources = [f"{opening} {number}" for number in range(3 * OCCURRENCES)]
    text = f"{opening} 40 and nothing more was heard of it"
    match = CopyFinder(sources).find([text])[0]
    assert match == Match(40, pytest.approx(11 / 18), "shared run")


@pytest.mark.timeout(60)
def test_very_long_texts_take_seconds():
    rng = random.Random(0)
    words = [f"word{number}" for number in range(2000)]
    one, two = (" ".join(rng.choices(words, k=12_000))[:100_000] for _ in range(2))
    finder = CopyFinder([one, "a " * 50_000, "x"])
    # A book of one repeated word, and one that a repeated word only begins: every position meets every other one.
    half = "a " * 30_000 + "b " * 20_000
    found = finder.find([two, one[5_000:] + " tail" * 3_000, "a " * 49_000, half])
    assert [match and (match.index, match.reason) for match in found] == [
        None,
        (0, "near copy"),
        (1, "near copy"),
        (1, "shared run"),
    ]


def test_clusters_are_the_connected_components():
    chain = ["abcdefgh", "abcdefgi", "abcdefji"]  # neighbours share 7 of 8 letters, the ends 6
    labels = clusters([chain[0], "zzzz", chain[2], chain[1], "zzzz"], threshold=0.85)
    assert labels[0] == labels[2] == labels[3] != labels[1] == labels[4]
    assert len(set(clusters([chain[0], chain[2]], threshold=0.85))) == 2
    assert clusters([]).shape == (0,)
    assert clusters(["", " ", "a"]).tolist() in ([0, 0, 1], [1, 1, 0])


def test_clusters_join_a_text_and_its_longer_version_in_either_order():
    longer = ONE + " " + TWO
    for texts in ([ONE, longer], [longer, ONE]):
        assert len(set(clusters(texts))) == 1
    # Both halves share a run with the whole: a cluster of three, though they have nothing in common.
    assert len(set(clusters([ONE, TWO, longer]))) == 1
    assert len(set(clusters([ONE, TWO]))) == 2


@given(st.lists(st.text("ab", max_size=6), max_size=8), st.randoms())
def test_clusters_do_not_depend_on_order(texts, rng):
    order = list(range(len(texts)))
    rng.shuffle(order)
    labels = clusters(texts)
    assert np.array_equal(clusters([texts[i] for i in order]), labels[order])
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            assert labels[i] == labels[j] or slow_similarity(a, b) < 0.85
