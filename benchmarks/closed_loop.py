"""Does eta: auto(duplicates=...) hold its share on texts that repeat heavily, from a bad start on either side?

    python benchmarks/closed_loop.py FOLDER --target 0.2

Real texts from a small grammar of our own (300 of 5,040 sentences), steer-nano fine-tuned on them, and runs of
rounds of 128 texts that begin at η = 0 and at η = 6, with several seeds. Copies of real texts are noted and kept, so
that duplicates are what is refused. Prints each round's η and share, and the share over the last half of the rounds of
all seeds with its 95% interval (Wilson). Beside it, with no loop, what the share comes to at η = 0.

Writes benchmarks/results/closed-loop.json.
"""

import argparse
import json
import random
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from steer.closed_loop import seen
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
    parser.add_argument("--target", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=0.9)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "closed-loop.json")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    data = args.folder / "data.jsonl"
    if not data.exists():
        sentences = [" ".join(words) + "." for words in product(*(p.split(",") for p in (SUBJECTS, VERBS, ENDS)))]
        texts = random.Random(0).sample(sentences, 300)
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    settings = load_settings(data, ["task.instruction=Write about the sky.", "guidance.gamma=0.2"])
    with Run.create(args.folder / "run", settings) as run:
        make(run, "domain")
    found = {}
    for name, eta in (
        ("no loop", 0.0),
        ("from η 0", f"auto(duplicates={args.target}, start=0)"),
        ("from η 6", f"auto(duplicates={args.target}, start=6)"),
    ):
        seeds = [follow(run, eta, args.rounds, args.temperature, seed) for seed in range(args.seeds)]
        late = [one for rounds in seeds for one in rounds[len(rounds) // 2 :]]
        share = proportion(sum(one["hits"] for one in late), sum(one["drawn"] for one in late))
        print(f"{name}: {share.value:.4f} [{share.low:.4f}, {share.high:.4f}] over the later half", flush=True)
        found[name] = {"seeds": seeds, "late": [share.value, share.low, share.high]}
    facts = {"target": args.target, "temperature": args.temperature, "model": settings.model, "runs": found}
    args.out.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(f"written: {args.out}")


def follow(run: Run, eta: float | str, rounds: int, temperature: float, seed: int) -> list[dict[str, Any]]:
    """Rounds of one run: η, texts that came to the gate, near duplicates among them."""
    settings = changed(
        run.settings,
        {
            "seed": seed,
            "guidance.eta": eta,
            "sampling.temperature": temperature,
            "gates.keep": ["copy"],
            "generate.round_size": 128,
            "generate.count": 100 * rounds,
            "generate.attempts": 2,
        },
    )
    generator = replace(run.drawing(settings, run.folder / f"{eta} T{temperature} {seed}", ""), logprobs=False)
    try:
        samples = generator.run()
    except BudgetError:
        samples = generator.stored()
    if generator.loop:
        found = generator.loop.seen(samples)
    else:
        numbers = sorted({sample.round for sample in samples})
        found = [seen("duplicates", 0.0, [s for s in samples if s.round == number]) for number in numbers]
    told = [vars(one) for one in found[:rounds]]
    print(
        f"{eta}, seed {seed}: " + ", ".join(f"{one['eta']:.2f} {one['hits']}/{one['drawn']}" for one in told),
        flush=True,
    )
    return told


if __name__ == "__main__":
    main()
