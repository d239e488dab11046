"""What a run folder holds, read once. What is not there is None: a run may have stopped anywhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steer.config import Settings
from steer.records import Record, read_jsonl
from steer.report.judged import NUCLEUS, Judged
from steer.run import PARTS, Run

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Stored:
    """A run, as far as it came.

    real: the real texts by part. synthetic, baseline, rejected: rows of the files of these names; metrics, details: the
    objects of metrics.json and details.json. fell_short: the budget of attempts ran out, and `synthetic` are those
    accepted until then. date: of the last finished stage, as YYYY-MM-DD.
    """

    name: str
    settings: Settings
    manifest: Mapping[str, Any]
    metrics: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    real: Mapping[str, Sequence[Record]]
    synthetic: Rows | None
    baseline: Rows | None
    rejected: Rows | None
    fell_short: bool
    date: str | None

    @classmethod
    def read(cls, folder: Path) -> "Stored":
        run = Run.open(folder)
        log = _rows(folder / "log.jsonl")
        synthetic, partial = _rows(folder / "synthetic.jsonl"), _rows(folder / "synthetic.partial.jsonl")
        return cls(
            name=folder.resolve().name,
            settings=run.settings,
            manifest=run.manifest,
            metrics=_object(folder / "metrics.json"),
            details=_object(folder / "details.json"),
            real={part: run.records(part) if (folder / "data" / f"{part}.jsonl").is_file() else [] for part in PARTS},
            synthetic=partial if synthetic is None else synthetic,
            baseline=_rows(folder / "baseline.jsonl"),
            rejected=_rows(folder / "rejected.jsonl"),
            fell_short=synthetic is None and partial is not None,
            date=log[-1]["time"][:10] if log else None,
        )

    @property
    def all_real(self) -> list[Record]:
        return [record for part in PARTS for record in self.real[part]]

    @property
    def drawn(self) -> Mapping[str, Mapping[str, int]]:
        """ "steer" and "nucleus" -> verdict -> how many texts; without the decoder that has drawn nothing yet."""
        gates: Mapping[str, Mapping[str, int]] = self.manifest.get("gates", {})
        return gates

    @property
    def judged(self) -> Judged | None:
        """The texts and what was measured of them; None where no synthetic texts were written."""
        if self.synthetic is None:
            return None
        task = self.settings.task
        rows = {"synthetic": self.synthetic, NUCLEUS: self.baseline or []}
        copies = {
            decoder: (counts.get("copy", 0), sum(counts.values()))
            for decoder, counts in sorted(self.drawn.items(), reverse=True)
        }
        return Judged(
            texts={
                **{of: [task.render(row) for row in some] for of, some in rows.items()},
                "real": [record.text for record in self.real["test"]],
                "train": [record.text for record in self.real["train"]],
            },
            files={
                "real": "data/test.jsonl",
                "synthetic": "synthetic.jsonl",
                "train": "data/train.jsonl",
                NUCLEUS: "baseline.jsonl",
            },
            metrics=self.metrics,
            details=self.details if self.metrics else None,
            ids=[str(row["id"]) for row in self.synthetic],
            labels=[{name: str(row[name]) for name in task.labels if name in row} for row in self.synthetic],
            refused=copies,
        )

    @property
    def missing(self) -> list[str]:
        """The stages that have not been done, in words."""
        wants_rival = self.settings.evaluate.baseline
        stages = {
            "dividing the real texts": not self.all_real,
            "writing the synthetic texts": self.synthetic is None or self.fell_short,
            "drawing the rival's texts": self.baseline is None and wants_rival,
            "measuring": self.metrics is None,
        }
        return [stage for stage, undone in stages.items() if undone]


def _rows(path: Path) -> list[dict[str, Any]] | None:
    return read_jsonl(path) if path.is_file() else None


def _object(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
