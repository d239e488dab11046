"""More data or more steering? The same decoders from adapters fine-tuned on nested parts of the training texts.

STEER's authors leave the question open (arXiv 2308.07645); every adapter is measured against the same held-out texts.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from steer.compare import judged
from steer.compare.decoders import NUCLEUS, Decoder
from steer.config import UsageError, changed
from steer.pipeline import make
from steer.progress import say
from steer.records import write_jsonl
from steer.run import PARTS, Run
from steer.trials import Drawn, Trials


def parse_sizes(text: str) -> list[int]:
    """ "50,100,200" -> the sizes, each once, ascending. Raises UsageError."""
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 2:
        raise UsageError(f"--train-sizes {text!r}: expected numbers of texts, 2 or more, as in 50,100,200")
    return sizes


def grow(run: Run, sizes: Sequence[int], folder: Path, samples: int, seed: int) -> dict[str, Any]:
    """Fine-tune on each number of training texts, draw by STEER and by plain nucleus sampling, and measure.

    Raises UsageError where there are fewer training texts than asked for.
    """
    train = run.records("train")
    if sizes[-1] > len(train):
        raise UsageError(f"--train-sizes {sizes[-1]}: {run.folder} has {len(train)} training texts")
    # Every smaller part lies within the larger ones.
    order = random.Random(seed).sample(train, len(train))
    decoders: list[Decoder] = []
    drawn: dict[str, Drawn] = {}
    for size in reversed(sizes):
        say(f"{size} training texts")
        where = folder / f"seed-{seed}" / str(size)
        part = _part(run, order[:size], where)
        for decoder in (Decoder("steer", "STEER", "steer"), NUCLEUS):
            name, label = f"{decoder.name}_{size}", f"{decoder.label}, {size} training texts"
            trials = Trials(part, where / "drawn")
            drawn[name] = trials.draw(decoder.changes, samples, seed, name)
            decoders.append(replace(decoder, name=name, label=label))
        part.release()  # the workers of the next size have other weights
    known = {one.name: int(one.name.rpartition("_")[2]) for one in decoders}
    return judged(run, decoders, drawn, folder, samples, seed, known).to_json()


def _part(run: Run, train: Sequence[Any], folder: Path) -> Run:
    """A run of its own with these training texts, the same held-out ones, and its own adapter."""
    settings = changed(run.settings, {"domain": None})
    with Run.create(folder, settings) as part:
        # The last one to be written says that the data is there.
        for name in PARTS if not (folder / "data" / f"{PARTS[-1]}.jsonl").exists() else ():
            records = train if name == "train" else run.records(name)
            rows = ({"id": r.id, "text": r.text, "fields": dict(r.fields)} for r in records)
            write_jsonl(folder / "data" / f"{name}.jsonl", rows)
        make(part, "domain")
        return part
