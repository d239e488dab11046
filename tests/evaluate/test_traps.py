"""Sets of which it is known what is wrong: which scores have to notice, and which do not."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.traps import sets
from steer.data import read_texts
from steer.evaluate import Corpus, evaluate
from steer.evaluate.adversary import discriminate

DATA = Path(__file__).parents[2] / "examples" / "data"
QUICK = [
    "ngram_diversity",
    "vendi",
    "cosine_similarity",
    "adversarial_auroc",
    "mmd",
    "precision",
    "coverage",
    "hull_recall_pca",
    "authenticity",
    "copied_share",
    "calibrated_authenticity",
    "membership_auroc",
]


@pytest.fixture(scope="module")
def texts():
    return sets(read_texts(DATA / "hypotheses.jsonl"), read_texts(DATA / "comments.jsonl"), 100)


@pytest.fixture(scope="module")
def scores(texts):
    """Trap -> score; "real" is the ceiling."""
    rivals = {name: some for name, some in texts.items() if name not in ("real", "train", "halves")}
    made = evaluate(texts["real"], texts["halves"], train=texts["train"], rivals=rivals, metrics=QUICK)
    return {"halves": made.scores, **made.rivals}


# Score -> how far it moves at least, seen from the ceiling (+ up, - down); 0: within so much of it.
MUST = {
    "halves": {
        "ngram_diversity": (0, 0.05),
        "vendi": (0, 3),
        "mmd": (0, 0.003),
        "coverage": (0, 0.1),
        "copied_share": (0, 0.05),
        "calibrated_authenticity": (0, 0.1),
        "membership_auroc": (0, 0.1),
    },
    # What is learnt by heart is perfect wherever it is not compared with the training texts.
    "copies": {
        "adversarial_auroc": (0, 0.01),
        "ngram_diversity": (0, 0.01),
        "coverage": (0, 0.05),
        "mmd": (0, 0.003),
        "copied_share": (1, 0.9),
        "authenticity": (-1, 0.4),
        "calibrated_authenticity": (-1, 0.8),
        "membership_auroc": (1, 0.4),
    },
    "noisy": {
        "copied_share": (1, 0.9),
        "authenticity": (-1, 0.4),
        "calibrated_authenticity": (-1, 0.8),
        "membership_auroc": (1, 0.4),
    },
    "collapsed": {
        "ngram_diversity": (-1, 0.8),
        "vendi": (-1, 40),
        "coverage": (-1, 0.6),
        "cosine_similarity": (-1, 0.3),
        "mmd": (1, 0.03),
        "precision": (0, 0.1),  # each text by itself is as good as real
        "copied_share": (0, 0.05),
    },
    "outliers": {"ngram_diversity": (-1, 0.8), "vendi": (-1, 40), "coverage": (-1, 0.6), "mmd": (1, 0.03)},
    "shuffled": {
        "adversarial_auroc": (1, 0.1),
        "ngram_diversity": (1, 0.02),
        "mmd": (1, 0.002),
        "copied_share": (0, 0.05),
    },
    "foreign": {
        "adversarial_auroc": (1, 0.3),
        "cosine_similarity": (-1, 0.3),
        "coverage": (-1, 0.3),
        "precision": (-1, 0.2),
        "mmd": (1, 0.01),
        "copied_share": (0, 0.05),
        "membership_auroc": (0, 0.12),
    },
}


@pytest.mark.parametrize(("trap", "name"), [(trap, name) for trap, moves in MUST.items() for name in moves])
def test_a_score_moves_as_it_must(scores, trap, name):
    direction, least = MUST[trap][name]
    score = scores[trap][name]
    apart = score.value - score.ceiling
    assert abs(apart) <= least if direction == 0 else direction * apart >= least, (score.value, score.ceiling)


def test_intervals_of_innocent_texts_hold_what_chance_gives(scores):
    fair = scores["halves"]
    assert fair["adversarial_auroc"].low < 0.5 < fair["adversarial_auroc"].high
    assert fair["membership_auroc"].low < 0.5 < fair["membership_auroc"].high
    assert fair["calibrated_authenticity"].low <= 0.95 <= fair["calibrated_authenticity"].high
    assert fair["mmd"].p > 0.01


@pytest.mark.parametrize("trap", ["copies", "noisy"])
def test_a_leak_is_beyond_chance(scores, trap):
    leak = scores[trap]
    assert leak["copied_share"].low > leak["copied_share"].ceiling
    assert leak["membership_auroc"].low > 0.5
    assert leak["membership_auroc"].p < 1e-6
    assert leak["calibrated_authenticity"].high < 0.95


def test_exact_copies_of_the_real_texts_give_a_coin_toss(texts):
    """Folds that keep copies together: ungrouped, each text is recognised by its twin of the other label."""
    real = texts["real"]
    again = evaluate(real, real[::-1], metrics=["adversarial_auroc"], train=texts["train"])
    assert again.scores["adversarial_auroc"].value == 0.5
    ungrouped = discriminate(real, real, np.arange(2 * len(real)))
    assert ungrouped.auroc() < 0.3


def test_a_collapsed_set_is_recognised_by_itself_without_groups(texts):
    real, collapsed = texts["real"], texts["collapsed"]
    assert discriminate(real, collapsed, np.arange(200)).auroc() > 0.95


def test_outliers_deceive_hulls_and_not_neighbourhoods():
    """A hull is spanned by its outermost points: 3 wild texts in 100 reach around everything."""
    rng = np.random.default_rng(0)
    real, train = rng.normal(size=(2, 300, 3))
    wild = 12 * np.concatenate([np.eye(3), -np.eye(3), np.ones((1, 3)), -np.ones((1, 3)), np.zeros((1, 3))])
    collapsed = np.repeat(0.3 * rng.normal(size=(15, 3)), 20, axis=0)
    deceiving = np.concatenate([collapsed[:-9], wild])

    def measure(vectors):
        sets = {"real": real, "synthetic": vectors, "training": train}
        given, mine, learnt = (
            Corpus.of([f"{name} {row}" for row in range(300)], vectors=side) for name, side in sets.items()
        )
        made = evaluate(given, mine, train=learnt, metrics=["hull_recall_pca", "coverage"]).scores
        return made["hull_recall_pca"].value, made["coverage"].value

    (hull, coverage), (hull_deceived, coverage_deceived) = measure(collapsed), measure(deceiving)
    assert hull < 0.05
    assert hull_deceived > 0.9
    assert coverage_deceived < coverage + 0.1 < 0.5
