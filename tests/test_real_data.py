"""The three tasks on real data, with the embedded model and with small public ones: slow, and outside the repository.

STEER_DATA names a folder with hypotheses.jsonl, comments/surge.jsonl and commonsenseqa/train.jsonl, STEER_MODELS one
with the models' folders.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from steer.config import load_settings
from steer.pipeline import make
from steer.run import PARTS, Run
from steer.similarity import CopyFinder

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = {
    "hypotheses": "hypotheses.jsonl",
    "comments": "comments/surge.jsonl",
    "commonsenseqa": "commonsenseqa/train.jsonl",
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("model", ["steer-nano", "tinystories-656k", "stories-260k"])
@pytest.mark.parametrize("task", FILES)
def test_two_hundred_accepted_samples(task, model, data_folder, tmp_path):
    if model != "steer-nano":
        if not os.environ.get("STEER_MODELS"):
            pytest.skip("STEER_MODELS names no folder of models")
        model = str(Path(os.environ["STEER_MODELS"]) / model)
    overrides = [f"task.data={data_folder / FILES[task]}", f"model={model}"]
    settings = load_settings(EXAMPLES / f"{task}.yaml", overrides)
    with Run.create(tmp_path / "run", settings) as run:
        make(run, "synthetic")
    texts = [record.text for record in run.synthetic_records()]
    assert len(texts) == 200
    rows = [settings.task.parse(text, row) for text, row in zip(texts, run.synthetic_rows(), strict=True)]
    assert None not in rows
    real = [record.text for part in PARTS for record in run.records(part)]
    assert CopyFinder(real).find(texts) == [None] * 200
    for label in settings.task.balance:
        counts = Counter(row[label] for row in run.synthetic_rows())
        assert len(set(counts.values())) == 1
