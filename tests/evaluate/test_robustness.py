"""Any texts, labels and vectors: a score, or NaN with a reason; never a traceback, never 0 for what is not known."""

import json
import math
from importlib import import_module

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steer.evaluate import Corpus, Question, evaluate
from steer.evaluate.catalogue import NAMES

# UMAP and MAUVE take seconds each; they see what the others see, and have tests of their own.
METRICS = [name for name in NAMES if name not in ("mauve", "hull_precision", "hull_recall", "hull_f")]
ODD = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "a a a a",
            "🙂",
            "🙂🙃 🙂",
            "שלום עולם",
            "مرحبا بالعالم",
            "今天天气很好",
            "สวัสดีชาวโลก",
            "\0",
            "a\0b",
            "\ud800",
            "\u200f",
            "ﬁ ﬁ",
            "x" * 100_000,
            "again and " * 10_000,
        ]
    ),
    st.just("the same text of quite a few more words than eight again and again"),
    st.text(max_size=30),
)


@pytest.fixture(autouse=True, scope="module")
def no_umap():
    """Details hold a UMAP map, too, which would take seconds for each example."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("steer.evaluate.details"), "METHODS", ("pca",))
        yield


EXAMPLES = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def check(evaluation):
    json.dumps(evaluation.to_json(), allow_nan=False)
    for scores in (evaluation.scores, *evaluation.rivals.values(), *evaluation.labels.values()):
        for score in scores.values():
            undefined = math.isnan(score.value) or math.isnan(score.low) or math.isnan(score.high)
            assert undefined == (score.reason is not None), score
            assert undefined or score.low <= score.value <= score.high, score


@pytest.mark.filterwarnings("error")
@settings(max_examples=15, **EXAMPLES)
@given(
    st.lists(ODD, max_size=8),
    st.lists(ODD, max_size=50),
    st.none() | st.lists(ODD, max_size=8),
    st.none() | st.lists(ODD, max_size=4),
)
def test_any_texts(real, synthetic, train, baseline):
    check(evaluate(real, synthetic, train=train, baseline=baseline, metrics=METRICS, details=True))


@st.composite
def corpora(draw):
    """A set with vectors of one width, any of them NaN, infinite, huge or constant; and labels."""
    size = draw(st.integers(0, 30))
    numbers = st.floats(width=32) | st.sampled_from([0.0, 1.0])
    vectors = draw(arrays(np.float64, (size, 3), elements=numbers) | st.just(np.ones((size, 3))))
    labels = draw(st.lists(st.sampled_from(["yes", "no"]), min_size=size, max_size=size))
    return Corpus.of([f"text {row}" for row in range(size)], vectors=vectors, labels=labels)


@pytest.mark.filterwarnings("error:invalid value", "error:divide by zero")
@settings(max_examples=15, **EXAMPLES)
@given(corpora(), corpora(), st.none() | corpora())
def test_any_vectors_and_labels(real, synthetic, train):
    check(evaluate(real, synthetic, train=train, metrics=METRICS, details=True))


@pytest.mark.parametrize(
    "vectors", [np.zeros((40, 2)), np.ones((40, 2)), np.full((40, 2), np.nan)], ids=["0", "1", "NaN"]
)
def test_vectors_without_information_give_reasons_to_the_slow_scores(vectors):
    sets = [Corpus.of(list(map(str, range(40))), vectors=vectors) for _ in range(2)]
    check(evaluate(*sets, metrics=["mauve", "hull_precision", "hull_precision_pca"]))


def test_odd_questions():
    asked = Question("Why?", ("a", "b"), 0)
    real = Corpus.of(["t"] * 30, questions=[asked, None, Question("", ("", "", ""), 2)] * 10)
    check(evaluate(real, Corpus.of(["u"] * 3, questions=[None] * 3), metrics=["useful"]))
    check(evaluate(real, real, metrics=["useful"]))


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_few_texts_against_very_many(size, write):
    many = write(10_000, 1)
    check(evaluate(many, write(size, 2), train=write(10_000, 3), metrics=METRICS))
    check(evaluate(write(size, 2), many, metrics=METRICS))
