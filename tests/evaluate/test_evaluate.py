"""The whole evaluation: what must hold of any texts, and what the known cases have to show."""

import json
import math
import random
import re
from importlib import import_module

import numpy as np
import pytest

from steer.evaluate import Corpus, HiddenStates, Score, evaluate
from steer.evaluate.catalogue import FAMILIES, USEFULNESS, chosen

# Every kind of score, without those that take seconds each.
SLOW = ("mauve", "hull_precision", "hull_recall", "hull_f")
METRICS = [name for name in chosen(None) if name not in (*SLOW, *USEFULNESS)]
SEEN = [name for family in FAMILIES if family.sees in ("vectors", "leak") for name in family.scores if name in METRICS]


def lengths(texts):
    return np.array([[1.0, len(text), text.count("e")] for text in texts])


LENGTHS = HiddenStates(lengths, "a:1|b:2", name="lengths")


@pytest.fixture(scope="module")
def sets(write):
    return {
        "real": write(50, 1),
        "train": write(60, 2),
        "synthetic": write(55, 3),
        "baseline": write(40, 4),
        "collapsed": write(6, 5) * 10,
    }


@pytest.fixture(scope="module")
def whole(sets):
    return evaluate(
        sets["real"],
        sets["synthetic"],
        train=sets["train"],
        baseline=sets["baseline"],
        rivals={"collapsed": sets["collapsed"], "copies": sets["train"]},
        embedder=["tfidf", LENGTHS],
        metrics=METRICS,
    )


def test_names_order_and_yardsticks(whole):
    assert list(whole.scores) == METRICS + [f"{name}[lengths]" for name in SEEN]
    assert list(whole.rivals) == ["nucleus", "collapsed", "copies"]
    for name, score in whole.scores.items():
        assert score.name == name
        assert score.low <= score.value <= score.high
        assert score.baseline == whole.rivals["nucleus"][name].value
        assert all(scores[name].ceiling == score.ceiling for scores in whole.rivals.values())
        assert all(scores[name].baseline == score.baseline for scores in whole.rivals.values())
    lower = {name.partition("[")[0] for name, score in whole.scores.items() if not score.higher_is_better}
    assert lower == {
        "adversarial_auroc",
        "copied_share",
        "mmd",
        "membership_auroc",
        "self_repetition",
        "compression_ratio",
    }


def test_texts_of_the_same_source_are_at_the_ceiling(whole):
    for name in ("unique_ngram_ratio", "unique_ngram_ratio_2", "cosine_similarity"):
        assert whole.scores[name].value == pytest.approx(whole.scores[name].ceiling, abs=0.05)
    assert whole.scores["adversarial_auroc"].value == pytest.approx(0.5, abs=0.3)
    assert whole.scores["copied_share"].value == whole.scores["copied_share"].ceiling == 0.0


def test_what_is_wrong_with_a_set_shows_in_its_score(whole):
    collapsed, copies = whole.rivals["collapsed"], whole.rivals["copies"]
    for name in ("unique_ngram_ratio", "unique_ngram_ratio_1", "unique_ngram_ratio_4", "ngram_diversity"):
        assert collapsed[name].high < whole.scores[name].low
        assert collapsed[name].value < 0.7 * whole.scores[name].ceiling
    assert copies["copied_share"].value == 1.0
    # Nothing else sees that these texts are stolen.
    assert copies["unique_ngram_ratio"].value == pytest.approx(whole.scores["unique_ngram_ratio"].value, abs=0.05)


def test_every_set_is_measured_at_one_size(whole):
    # The baseline is the smallest set of texts, the collapsed one has the fewest words or it is the same one.
    assert "sizes:40 texts against 50 real" in whole.scores["cosine_similarity"].signature
    assert "40 texts a set" in whole.notes[0]
    words = int(re.search(r"(\d+) words a set", whole.notes[0])[1])
    given = [int(number) for number in re.findall(r"texts, (\d+) words", whole.notes[0])]
    assert len(given) == 6
    assert words == min(given)
    assert f"sizes:{words} tokens a set" in whole.scores["ngram_diversity"].signature


def test_size_itself_changes_no_score(write):
    asked = []
    spy = HiddenStates(lambda texts: asked.append(len(texts)) or lengths(texts), "spy")
    rivals = {"large": write(400, 6)}
    metrics = ["unique_ngram_ratio_2", "cosine_similarity"]
    evaluation = evaluate(write(30, 1), write(20, 3), train=write(60, 2), rivals=rivals, embedder=spy, metrics=metrics)
    assert asked == [30, 20, 20, 20]
    # The 400 texts as a whole have a ratio of 0.45, 20 of them 0.97.
    large, small = evaluation.rivals["large"]["unique_ngram_ratio_2"], evaluation.scores["unique_ngram_ratio_2"]
    assert large.value == pytest.approx(small.value, abs=0.05)


def test_signatures_are_lines_of_pairs_that_decide_the_number(whole):
    for name, score in whole.scores.items():
        pairs = dict(pair.split(":", 1) for pair in score.signature.split("|"))
        assert "\n" not in score.signature
        assert {"definition", "interval", "steer"} <= set(pairs), name
    assert "lengths" not in whole.scores["cosine_similarity"].signature
    assert "hidden states (a:1,b:2)" in whole.scores["cosine_similarity[lengths]"].signature
    assert "sources:60 training texts" in whole.scores["copied_share"].signature


def test_row_order_changes_nothing(sets, whole):
    def mixed(name):
        return random.Random(name).sample(sets[name], len(sets[name]))

    again = evaluate(
        mixed("real"),
        mixed("synthetic"),
        train=mixed("train"),
        baseline=mixed("baseline"),
        rivals={"collapsed": mixed("collapsed"), "copies": sets["train"][::-1]},
        embedder=["tfidf", LENGTHS],
        metrics=METRICS,
    )
    assert json.dumps(scores_of(again)) == json.dumps(scores_of(whole))


def scores_of(evaluation):
    """Without the rows of suspects, which are places in what was given."""
    return {key: value for key, value in evaluation.to_json().items() if key != "suspects"}


def test_row_order_changes_nothing_without_training_texts(sets):
    real = sets["real"][:21]
    one = evaluate(real, sets["collapsed"], metrics=METRICS)
    again = evaluate(real[::-1], sets["collapsed"][::-1], metrics=METRICS)
    assert scores_of(again) == scores_of(one)


def test_the_seed_samples_others(sets):
    metrics = ["cosine_similarity"]
    real, synthetic = sets["real"][:20], sets["synthetic"]
    one, other = (evaluate(real, synthetic, metrics=metrics, seed=seed).scores for seed in (0, 1))
    assert one["cosine_similarity"].value != other["cosine_similarity"].value
    assert one["cosine_similarity"].ceiling != other["cosine_similarity"].ceiling


def test_without_training_texts_real_is_halved(sets):
    metrics = ["cosine_similarity", "authentic"]
    evaluation = evaluate(sets["real"], sets["real"] + ["brand new words stand here alone"], metrics=metrics)
    scores = evaluation.scores
    assert "25 texts against 25 real" in scores["cosine_similarity"].signature
    # Copies of either half are copies; the halves are none of each other.
    assert scores["copied_share"].value == pytest.approx(50 / 51)
    assert scores["copied_share"].ceiling == 0.0
    assert any("halved" in note for note in evaluation.notes)
    assert math.isnan(scores["copied_share"].baseline)
    assert evaluation.rivals == {}


def test_copies_of_the_reference_are_indistinguishable_from_it(sets):
    metrics = ["adversarial_auroc", "cosine_similarity", "copied_share"]
    scores = evaluate(sets["real"], sets["real"], train=sets["train"], metrics=metrics).scores
    assert scores["adversarial_auroc"].value == pytest.approx(0.5, abs=0.01)
    assert scores["cosine_similarity"].value == pytest.approx(1.0)
    assert scores["copied_share"].value == 0.0


def test_repeats_are_sampled_one_by_one():
    texts = ["same"] * 500 + [f"other {number}" for number in range(500)]
    sample = Corpus.of(texts).shuffled(0, "candidate").texts
    assert sorted(sample) == sorted(texts)
    assert 60 < sample[:200].count("same") < 140
    assert sample == Corpus.of(texts[::-1]).shuffled(0, "candidate").texts
    assert sample != Corpus.of(texts).shuffled(1, "candidate").texts
    assert sample != Corpus.of(texts).shuffled(0, "real").texts


def test_json_is_strict_and_whole(whole):
    row = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert set(row) == {"scores", "rivals", "notes"}
    keys = {"value", "low", "high", "higher_is_better", "ceiling", "baseline", "signature"}
    assert all(set(score) - {"p"} == keys for score in row["scores"].values())
    tested = {name for name, score in row["scores"].items() if "p" in score}
    assert {name.partition("[")[0] for name in tested} == {"adversarial_auroc", "mmd", "membership_auroc"}
    assert set(row["rivals"]) == {"nucleus", "collapsed", "copies"}
    assert row["rivals"]["nucleus"]["scores"]["copied_share"]["value"] == 0.0


def test_undefined_is_null_with_a_reason():
    score = Score("x", math.nan, -math.inf, math.inf, True, 0.5, math.nan, "definition:x", "no texts to measure")
    assert score.to_json() == {
        "value": None,
        "low": None,
        "high": None,
        "higher_is_better": True,
        "ceiling": 0.5,
        "baseline": None,
        "signature": "definition:x",
        "reason": "no texts to measure",
    }


def test_empty_texts_are_counted_not_dropped(sets):
    def measure(*given, **train):
        return evaluate(*given, **train, metrics=["copied_share"])

    evaluation = measure(sets["real"][:9], [sets["train"][0], "", " ", ""], train=sets["train"][:2])
    assert evaluation.scores["copied_share"].value == 0.25
    assert evaluation.notes[1] == "3 of 4 synthetic texts are empty; they are counted, not dropped"
    trained = measure(["a b"], ["c d"], train=["", "e f"])
    assert trained.notes[1] == "1 of 2 training texts are empty; they are counted, not dropped"
    divided = measure(["a b", "", "c d", "e f"], ["g h"])
    assert divided.notes[2] == "1 of 4 real texts are empty; they are counted, not dropped"


def test_a_set_without_texts_takes_no_other_down(sets):
    given = {"real": sets["real"][:20], "synthetic": sets["synthetic"][:20], "train": sets["train"], "metrics": METRICS}
    evaluation = evaluate(**given, rivals={"none": [], "blank": [""] * 30})
    alone = evaluate(**given)
    assert evaluation.scores == alone.scores
    assert evaluation.rivals["none"]["cosine_similarity"].reason == "no texts to measure"
    # What has no words is like nothing that has some.
    assert evaluation.rivals["blank"]["cosine_similarity"].value == 0
    assert evaluation.rivals["blank"]["coverage"].value == evaluation.rivals["blank"]["precision"].value == 0
    assert evaluation.rivals["blank"]["vendi"].value == pytest.approx(1)
    assert "enough words" in evaluation.rivals["blank"]["ngram_diversity"].reason
    assert evaluation.rivals["blank"]["copied_share"].value == 0.0


def test_vectors_that_are_not_numbers_are_undefined(sets):
    broken = HiddenStates(lambda texts: np.full((len(texts), 2), np.nan), "broken")
    scores = evaluate(sets["real"], sets["synthetic"], train=sets["train"], embedder=broken, metrics=["all"]).scores
    for name in SEEN:
        assert math.isnan(scores[name].value)
        assert "not finite" in scores[name].reason


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"embedder": "word2vec"}, ValueError, "word2vec.*expected"),
        ({"embedder": []}, ValueError, "at least one"),
        ({"embedder": ["tfidf", "tfidf"]}, ValueError, "twice"),
        ({"embedder": HiddenStates(lambda texts: np.zeros(len(texts)), "flat")}, ValueError, "expected \\(N, D\\)"),
        ({"baseline": ["a"], "rivals": {"nucleus": ["b"]}}, ValueError, "rename the rival"),
        ({"threshold": 0.0}, ValueError, "threshold"),
        ({"train": "one text"}, TypeError, "train: one text came"),
        ({"rivals": {"ceiling": ["a"]}}, ValueError, "names something else"),
        ({"metrics": ["unique_ngram_ration"]}, ValueError, "did you mean 'unique_ngram_ratio'"),
        ({"tokenisation": "word"}, ValueError, "words"),
        ({"train": Corpus.of(["a"], vectors=[[0.0]])}, ValueError, "train came with embeddings and real without"),
    ],
)
def test_settings_without_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        evaluate(["a b", "c d"], ["a b", "e f"], **options)


def test_repeats_among_the_training_texts_change_nothing(sets):
    """Nothing innocent is condemned for them, and nothing that leaks is cleared."""
    real, train = sets["real"], sets["train"]
    for texts in (sets["synthetic"], [text + " indeed" for text in train]):
        once, twice = (evaluate(real, texts, train=some, metrics=METRICS) for some in (train, train * 2))
        assert {n: s.value for n, s in once.scores.items()} == {n: s.value for n, s in twice.scores.items()}
        assert any("60 training texts repeat others" in note for note in twice.notes)


def test_what_was_trained_on_is_not_held_out(sets):
    again = evaluate(sets["train"], sets["synthetic"], train=sets["train"], metrics=["membership_auroc", "coverage"])
    assert all(math.isnan(score.value) for score in again.scores.values())
    assert any("60 real texts are training texts, too" in note for note in again.notes)
    some = evaluate(sets["real"] + sets["train"][:7], sets["synthetic"], train=sets["train"], metrics=["coverage"])
    alone = evaluate(sets["real"], sets["synthetic"], train=sets["train"], metrics=["coverage"])
    assert some.scores["coverage"].value == alone.scores["coverage"].value


def test_empty_texts_are_no_good_texts(sets):
    blank = evaluate(sets["real"], [""] * 50, train=sets["train"], metrics=METRICS).scores
    half = evaluate(sets["real"], [""] * 25 + sets["synthetic"][:25], train=sets["train"], metrics=METRICS).scores
    assert blank["precision"].value == blank["coverage"].value == blank["density"].value == 0
    assert blank["vendi"].value == pytest.approx(1)
    assert half["precision"].value <= 0.5


def test_more_training_texts_than_are_fitted_give_no_leak_away(monkeypatch, write):
    """TF-IDF is fitted on the same share of each set: else held-out texts lie elsewhere than training texts."""
    monkeypatch.setattr(import_module("steer.evaluate.spaces"), "MOST", 150)
    found = [
        evaluate(write(100, seed), write(100, seed + 1), train=write(900, seed + 2), metrics=["membership_auroc"])
        for seed in (10, 20, 30)
    ]
    assert np.mean([one.scores["membership_auroc"].value for one in found]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("row", [0, 7, 39])
def test_one_broken_number_is_a_reason_wherever_it_stands(write, row):
    vectors = np.random.default_rng(0).normal(size=(40, 3))
    vectors[row] = np.nan
    given = [Corpus.of(write(40, seed), vectors=v) for seed, v in enumerate((vectors, np.ones((40, 3))))]
    made = evaluate(*given, metrics=["vendi", "coverage", "cosine_similarity"])
    assert all(math.isnan(score.value) and "not finite" in score.reason for score in made.scores.values())


def test_usefulness_without_labels_says_so_where_it_is_asked_for(sets):
    made = evaluate(sets["real"], sets["synthetic"], metrics=["useful"])
    assert "no labels" in made.scores["downstream_accuracy"].reason
    labelled = Corpus.of(sets["real"], labels=["a", "b"] * 25)
    made = evaluate(labelled, sets["synthetic"], metrics=["useful"])
    assert "not all of the sets have labels" in made.scores["downstream_accuracy"].reason


def test_intervals_of_vendi_hold_the_difference_of_equals(write):
    """Half samples of a number that grows with the number of texts vary less than the whole does."""
    found = []
    for seed in range(0, 60, 3):
        vectors = [np.random.default_rng(seed + side).normal(size=(60, 40)) for side in range(3)]
        real, one, other = (Corpus.of(write(60, seed + side), vectors=v) for side, v in enumerate(vectors))
        difference = evaluate(real, one, rivals={"other": other}, train=real.take([]), metrics=["vendi"])
        found.append(difference.differences["other"]["vendi"].p)
    assert sum(p < 0.05 for p in found) <= 4
