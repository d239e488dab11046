"""What it takes to measure: seconds and memory of every default score, embedding and first-use compilation aside.

    python benchmarks/evaluate.py [--count 1000] [--words 30]

Three sets of texts (held out, training, synthetic) are put together from the words of the examples, by chance: what
they say changes no time. Their vectors are TF-IDF, made beforehand. Prints a table, and writes
benchmarks/results/evaluate.json, or evaluate-COUNT.json for another count.
"""

import argparse
import json
import os
import platform
import random
import resource
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples" / "data"


def texts(count: int, words: int, seed: int) -> list[str]:
    from steer.data import read_texts

    rng = random.Random(seed)
    known = [word for text in read_texts(EXAMPLES / "hypotheses.jsonl") for word in text.split()]
    return [" ".join(rng.choices(known, k=rng.randint(words // 2, 3 * words // 2))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--words", type=int, default=30)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    from steer.evaluate import Corpus, TfidfSvd, evaluate
    from steer.evaluate.catalogue import FAMILIES, chosen

    sets = [texts(arguments.count, arguments.words, seed) for seed in range(3)]
    embedder = TfidfSvd([text for some in sets for text in some[:5000]])
    corpora = [Corpus.of(some, vectors=embedder.embed(some)) for some in sets]
    small = [Corpus.of(some[:60], vectors=embedder.embed(some[:60])) for some in sets]
    evaluate(small[0], small[1], train=small[2])  # imports and compiles what is used first

    names, rows = set(chosen(None)), []
    started = time.perf_counter()
    for family in FAMILIES:
        some = [name for name in family.scores if name in names]
        if some:
            begun = time.perf_counter()
            evaluate(corpora[0], corpora[1], train=corpora[2], metrics=some)
            rows.append({"scores": some, "seconds": round(time.perf_counter() - begun, 2)})
            print(f"| {', '.join(some)} | {rows[-1]['seconds']:.1f} s |", flush=True)
    total = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{arguments.count} against {arguments.count} texts: {total:.1f} s, {peak:.2f} GiB at most")
    result = {
        "count": arguments.count,
        "words": arguments.words,
        "seconds": round(total, 1),
        "peak_gib": round(peak, 2),
        "families": rows,
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
    }
    name = "evaluate.json" if arguments.count == 1000 else f"evaluate-{arguments.count}.json"
    (HERE / "results" / name).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
