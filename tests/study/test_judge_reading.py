"""What a judge wrote is read strictly."""

import time

import pytest

from steer.study.judge.reading import read

READINGS = [
    ("A", "A"),
    ("b", "B"),
    (" A.\n", "A"),
    ("**B**", "B"),
    ("(A)", "A"),
    ('"B"', "B"),
    ("'A'", "A"),
    ("`B`.", "B"),
    ("\uff21", "A"),
    ("Text A", "A"),
    ("text b", "B"),
    ("Option B.", "B"),
    ("Answer: A.", "A"),
    ("**Answer:** B", "B"),
    ("The answer is **A**.", "A"),
    ("My final answer: text B", "B"),
    ("Therefore, the answer is B!", "B"),
    ("\\boxed{A}", "A"),
    ("$\\boxed{\\text{B}}$", "B"),
    ('{"answer": "A"}', "A"),
    ('```json\n{"Answer": "Text B"}\n```', "B"),
    ('{"reason": "A and B are close", "answer": "B"}', "B"),
    ("Both have their merits. Text A is vivid, B is plain.\n\nAnswer: A", "A"),
    ("A is dull.\nB sings.\n\n**B**", "B"),
    ("<think>Is it A or B? Hm, B.</think>\nA", "A"),
    ("A or B ... so B.\n</think>\n\nA", "A"),
    ("Text A\nis short.\nText B\nis long.\nAnswer: B", "B"),
    ("Text B is a more vivid telling.", "B"),
    ("I would choose text A because its images are new.", "A"),
    ("A: the images are new.", "A"),
    ("B because it surprises", "B"),
    ("Text A seems slightly more creative.", "A"),
    ("tie", "tie"),
    ("**Tie.**", "tie"),
    ("It's a tie.", "tie"),
    ("It\u2019s a tie", "tie"),
    ('{"answer": "tie"}', "tie"),
    ("Both are fine.\nAnswer: tie", "tie"),
    # Nonsense
    ("", None),
    ("  \n ", None),
    ("C", None),
    ("AB", None),
    ("A or B", None),
    ("A/B", None),
    ("A, B", None),
    ("A and B are equally creative.", None),
    ("A\nB", None),
    ("Text A\n\nText B", None),
    ('{"answer": "A or B"}', None),
    ('{"answer": "A"} {"answer": "B"}', None),
    ('{"answer": null}', None),
    ("As an AI, I cannot judge this.", None),
    ("A comparison is not possible.", None),
    ("A difficult question.", None),
    ("I'm sorry, I can't help with that.", None),
    ("I refuse to choose A.", None),
    ("Text A is less creative.", None),
    ("Text A isn't better.", None),
    ("Text A is not more creative.", None),
    ("I prefer A, but B is more plausible", None),
    ("Text A is a text about rings.", None),
    ("Text A is slightly better, yet it is close to a tie.", None),
    ("both", None),
    ("1", None),
    ("<think>A. No, wait", None),
    ("The answer is A. The answer is B.", None),
    ("[" * 5000, None),
]


@pytest.mark.parametrize(("said", "meant"), READINGS)
def test_an_answer_is_what_is_plainly_one(said, meant):
    assert read(said, ties=True) == meant


@pytest.mark.parametrize("said", ["tie", "Answer: tie", '{"answer": "tie"}', "It's a tie."])
def test_a_tie_is_no_answer_where_there_are_none(said):
    assert read(said, ties=False) is None


@pytest.mark.parametrize(
    "said", ["a" * 20_000, "the " * 20_000, "final, " * 9_000 + "x", "{" * 20_000, "<think>" * 9_000]
)
def test_a_long_answer_is_read_quickly(said):
    started = time.monotonic()
    assert read(said, ties=True) is None
    assert time.monotonic() - started < 1
