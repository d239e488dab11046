"""Sets of texts of which it is known what is wrong, and what every score says of them.

    python benchmarks/traps.py [TEXTS.jsonl] [--count 200]

Half of the texts are held out, the other half is what a generator was trained on. From these the traps are made:

    halves      nothing is wrong: other texts of the same source
    copies      the training texts themselves
    noisy       the training texts with every tenth character changed
    collapsed   a twentieth of the texts, each twenty times
    outliers    the same, but 3 in 100 are wild: one word, over and over
    shuffled    texts of the same source with their words in another order
    foreign     texts of another domain

Prints a table, and writes benchmarks/results/traps.json.
"""

import argparse
import json
import random
import string
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "data"
SHOWN = (
    "ngram_diversity",
    "vendi",
    "cosine_similarity",
    "adversarial_auroc",
    "mmd",
    "mauve",
    "precision",
    "recall",
    "density",
    "coverage",
    "hull_precision",
    "hull_recall",
    "hull_recall_pca",
    "copied_share",
    "authenticity",
    "calibrated_authenticity",
    "membership_auroc",
)


def copies(train: Sequence[str], fresh: Sequence[str], rng: random.Random) -> list[str]:
    return list(train)


def noisy(train: Sequence[str], fresh: Sequence[str], rng: random.Random) -> list[str]:
    def changed(text: str) -> str:
        letters = list(text)
        for place in rng.sample(range(len(letters)), len(letters) // 10):
            letters[place] = rng.choice(string.ascii_lowercase)
        return "".join(letters)

    return [changed(text) for text in train]


def collapsed(train: Sequence[str], fresh: Sequence[str], rng: random.Random) -> list[str]:
    return [text for text in fresh[: len(fresh) // 20] for _ in range(20)]


def outliers(train: Sequence[str], fresh: Sequence[str], rng: random.Random) -> list[str]:
    made = collapsed(train, fresh, rng)
    for place in rng.sample(range(len(made)), max(1, 3 * len(made) // 100)):
        made[place] = " ".join([rng.choice(fresh).split()[-1].strip("?.,")] * 12)
    return made


def shuffled(train: Sequence[str], fresh: Sequence[str], rng: random.Random) -> list[str]:
    return [" ".join(rng.sample(text.split(), len(text.split()))) for text in fresh]


TRAPS: dict[str, Callable[[Sequence[str], Sequence[str], random.Random], list[str]]] = {
    "halves": lambda train, fresh, rng: list(fresh),
    "copies": copies,
    "noisy": noisy,
    "collapsed": collapsed,
    "outliers": outliers,
    "shuffled": shuffled,
}


def sets(texts: Sequence[str], foreign: Sequence[str], count: int) -> dict[str, list[str]]:
    """ "real", "train" and every trap, of at most `count` texts each, from a source three times as large."""
    rng = random.Random(0)
    texts = rng.sample(list(texts), len(texts))
    count = min(count, len(texts) // 3)
    real, train, fresh = (texts[start : start + count] for start in range(0, 3 * count, count))
    made = {name: trap(train, fresh, rng) for name, trap in TRAPS.items()}
    return {"real": real, "train": train, **made, "foreign": list(foreign)[:count]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="?", type=Path, default=EXAMPLES / "hypotheses.jsonl")
    parser.add_argument("--foreign", type=Path, default=EXAMPLES / "comments.jsonl")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--embedder", default="tfidf")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    from steer.config import Evaluation
    from steer.data import read_texts
    from steer.evaluate import Corpus
    from steer.measure import measure

    given = sets(read_texts(arguments.texts), read_texts(arguments.foreign), arguments.count)
    corpora = {name: Corpus.of(texts) for name, texts in given.items()}
    corpora["synthetic"] = corpora.pop("halves")
    made = measure(corpora, Evaluation(embedders=(arguments.embedder,)))
    scores = {"real": {name: score.ceiling for name, score in made.scores.items()}}
    scores["halves"] = {name: score.value for name, score in made.scores.items()}
    scores |= {trap: {name: score.value for name, score in of.items()} for trap, of in made.rivals.items()}
    shown = [name for name in SHOWN if name in made.scores]
    print("| score | " + " | ".join(scores) + " |\n|---|" + "---:|" * len(scores))
    for name in shown:
        print(f"| `{name}` | " + " | ".join(f"{of[name]:.2f}" for of in scores.values()) + " |")
    result = {
        "texts": {name: len(texts) for name, texts in given.items()},
        "python": sys.version.split()[0],
        "scores": {trap: {name: of[name] for name in shown} for trap, of in scores.items()},
        "signatures": {name: made.scores[name].signature for name in shown},
    }
    path = HERE / "results" / "traps.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
