"""Does eta: auto(duplicates=...) hold its share on texts that repeat heavily, from a bad start on either side?

    python benchmarks/closed_loop.py FOLDER --target 0.05

Real texts from a small grammar of our own (300 of 5,040 sentences), steer-nano fine-tuned on them, and two runs of
rounds of 128 texts that begin at η = 0 and at η = 6. Copies of real texts are noted and kept, so that duplicates are
what is refused. Prints each round's η and share, and the share over the last half of the rounds with its 95% interval
(Wilson).

Writes benchmarks/results/closed-loop.json.
"""

import argparse
import json
import random
from itertools import product
from pathlib import Path
from typing import Any

from steer.config import changed, load_settings
from steer.evaluate.intervals import proportion
from steer.generate import BudgetError
from steer.pipeline import make
from steer.run import Run

SUBJECTS = "Old stars,Young stars,Dim galaxies,Cold planets,Dusty discs,Small moons,Bright comets,Red dwarfs,Hot winds"
SUBJECTS += ",Faint haloes,Giant clusters,Ringed worlds"
VERBS = (
    "shrink,cool,grow,merge,drift apart,lose their gas,spin faster,fall silent,turn red,split in two,keep their rings"
)
VERBS += ",glow at night,lose their moons,heat their dust"
ENDS = "inside dense clusters,after a close encounter,before the first supernova,around a pulsar,in the outer halo"
ENDS += ",near the galactic bar,when the wind stops,where metals are rare,long after the merger,on every third orbit"
ENDS += (
    ",beyond the snow line,within a thousand years,behind a veil of dust,at the edge of the void,once the disc is gone"
)
ENDS += ",far from any light,under strong tides,between two shocks,as models predict,against all models"
ENDS += ",without any warning,for no known reason,more often than we think,only in pairs,twice a century"
ENDS += ",at low redshift,during the dark ages,while we watch,in the simplest runs,over many epochs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", type=float, default=0.05)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "closed-loop.json")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    data = args.folder / "data.jsonl"
    if not data.exists():
        sentences = [" ".join(words) + "." for words in product(*(p.split(",") for p in (SUBJECTS, VERBS, ENDS)))]
        texts = random.Random(0).sample(sentences, 300)
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    settings = load_settings(data, ["task.instruction=Write about the sky."])
    with Run.create(args.folder / "run", settings) as run:
        make(run, "domain")
    found = {}
    for start in (0.0, 6.0):
        rounds = follow(run, f"auto(duplicates={args.target}, start={start})", args.rounds, args.temperature)
        late = rounds[len(rounds) // 2 :]
        hits, drawn = sum(one["hits"] for one in late), sum(one["drawn"] for one in late)
        share = proportion(hits, drawn)
        print(
            f"from η {start:g}: {share.value:.4f} [{share.low:.4f}, {share.high:.4f}] over the last {len(late)} rounds"
        )
        found[f"start {start:g}"] = {"rounds": rounds, "late": [share.value, share.low, share.high]}
    facts = {"target": args.target, "temperature": args.temperature, "model": settings.model, "runs": found}
    args.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"written: {args.out}")


def follow(run: Run, eta: str, rounds: int, temperature: float) -> list[dict[str, Any]]:
    """Rounds of one run: η, texts drawn, near duplicates among them."""
    settings = changed(
        run.settings,
        {
            "guidance.eta": eta,
            "sampling.temperature": temperature,
            "gates.keep": ["copy"],
            "generate.round_size": 128,
            "generate.count": 100 * rounds,
            "generate.attempts": 3,
        },
    )
    generator = run.drawing(settings, run.folder / f"{eta} T{temperature}")
    loop = generator.loop
    assert loop is not None
    try:
        samples = generator.run()
    except BudgetError:
        samples = generator.stored()
    told = [{"eta": one.eta, "drawn": one.drawn, "hits": one.hits} for one in loop.seen(samples)]
    for number, one in enumerate(told, 1):
        print(f"{eta} round {number:2}: η {one['eta']:.3f}  {one['hits']}/{one['drawn']}", flush=True)
    return told


if __name__ == "__main__":
    main()
