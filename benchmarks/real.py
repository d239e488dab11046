"""Real texts in the place of synthetic ones: what the scores say where the answer is known.

    python benchmarks/real.py DATA [--count 300] [--embedder tfidf]

DATA holds hypotheses.jsonl, astro_abstracts.jsonl.gz, commonsenseqa/train.jsonl and comments/surge.jsonl (public data,
described in the log). Each set is held against another part of itself, then hypotheses against abstracts and toxic
comments against others; a third part stands for the training texts. Prints a table, and writes
benchmarks/results/real-EMBEDDER.json.
"""

import argparse
import json
import random
import re
import warnings
from pathlib import Path

HERE = Path(__file__).parent
QUESTION = "{question} A. {a} B. {b} C. {c} D. {d} E. {e} Answer: {answer}."
COLUMNS = {name: f"question.choices.{i}.text" for i, name in enumerate("abcde")}
COLUMNS |= {"question": "question.stem", "answer": "answerKey"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--embedder", default="tfidf")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    from steer.config import Evaluation
    from steer.data import read_records
    from steer.evaluate import Corpus
    from steer.measure import measure
    from steer.task import Task

    rng, data = random.Random(0), arguments.data
    questions = data / "commonsenseqa" / "train.jsonl"
    abstracts = Task(data="-", example="{abstract}")
    records = {
        "hypotheses": read_records(data / "hypotheses.jsonl"),
        "abstracts": read_records(data / "astro_abstracts.jsonl.gz", abstracts),
        "questions": read_records(questions, Task(data=str(questions), columns=COLUMNS, example=QUESTION)),
        "comments": read_records(data / "comments" / "surge.jsonl", None, ["label"]),
    }
    texts = {name: rng.sample([record.text for record in some], len(some)) for name, some in records.items()}
    for label in ("toxic", "non-toxic"):
        texts[label] = [record.text for record in records["comments"] if record.fields["label"].lower() == label]
    pairs = [(name, name) for name in ("hypotheses", "abstracts", "questions", "comments")]
    pairs += [("hypotheses", "abstracts"), ("toxic", "non-toxic")]
    settings, scores = Evaluation(embedders=(arguments.embedder,)), {}
    for one, other in pairs:
        count = min(arguments.count, len(texts[one]) // 3)
        real, train = texts[one][:count], texts[one][count : 2 * count]
        mine = texts[other][2 * count : 3 * count] if one == other else texts[other][:count]
        sets = {name: Corpus.of(some) for name, some in (("real", real), ("train", train), ("synthetic", mine))}
        name = f"{one} ({count})" if one == other else f"{one} and {other} ({count})"
        scores[name] = measure(sets, settings).to_json()["scores"]
    names = list(next(iter(scores.values())))
    print("| score | " + " | ".join(scores) + " |\n|---|" + "---:|" * len(scores))
    for name in names:
        cells = [f"{_two(of[name]['value'])} ({_two(of[name]['ceiling'])})" for of in scores.values()]
        print(f"| `{name}` | " + " | ".join(cells) + " |")
    result = {"embedder": arguments.embedder, "count": arguments.count, "scores": scores}
    name = re.sub(r"\W+", "-", arguments.embedder.rpartition("/")[2])
    (HERE / "results" / f"real-{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _two(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
