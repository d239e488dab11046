"""The dataset card of a run: metadata that the Hub reads, the numbers of the scores, and none of the texts."""

import json

import pytest
import yaml

from steer.config import Settings
from steer.evaluate import evaluate
from steer.records import write_json, write_jsonl, write_text
from steer.report import write_report


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "run"
    settings = Settings.model_validate(
        {"task": {"data": "x.jsonl", "instruction": "A {kind} text."}, "model": str(tmp_path / "models" / "tiny")}
    )
    write_text(folder / "config.yaml", settings.to_yaml())
    texts = {
        part: [f"{part} sentence {i} of some words" for i in range(12)] for part in ("train", "validation", "test")
    }
    for part, some in texts.items():
        rows = ({"id": f"{part}{i}", "text": text, "fields": {"text": text}} for i, text in enumerate(some))
        write_jsonl(folder / "data" / f"{part}.jsonl", rows)
    made = [f"made up sentence {i} | with a bar" for i in range(12)]
    write_jsonl(folder / "synthetic.jsonl", ({"id": f"s{i}", "text": t, "kind": "odd"} for i, t in enumerate(made)))
    metrics = ["adversarial_auroc", "ngram_diversity", "copied_share"]
    scores = evaluate(texts["test"], made, train=texts["train"], metrics=metrics)
    write_json(folder / "metrics.json", scores.to_json())
    return folder


def test_the_card_has_metadata_scores_and_no_text(folder):
    write_report(folder)
    card = (folder / "README.md").read_text()
    _, metadata, body = card.split("---\n", 2)
    facts = yaml.safe_load(metadata)
    assert facts["size_categories"] == ["n<1K"]
    assert facts["task_categories"] == ["text-generation", "text-classification"]
    assert facts["configs"] == [{"config_name": "default", "data_files": "synthetic.jsonl"}]
    score = json.loads((folder / "metrics.json").read_text())["scores"]["ngram_diversity"]
    assert f"| {score['value']:.3f} |" in body
    assert "`copied_share`" in body
    assert "`id`, `text`, `kind`" in body
    assert "sentence" not in body
    assert "{" not in body
    assert "Model `tiny`" in body


def test_there_is_none_before_anything_was_measured(folder):
    (folder / "metrics.json").unlink()
    write_report(folder)
    assert not (folder / "README.md").exists()
