"""A run: one folder with everything, made stage by stage, resumable at each.

    data -> domain -> synthetic -> baseline -> metrics -> report

A stage whose result stands in the folder is not done again. Results are written whole or not at all, so a run that
was killed goes on where it stood and ends with the same files as one that never stopped (timings aside).
"""

import contextlib
import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from steer.config import Negatives, Sampling, Settings, UsageError, differences
from steer.data import load_records, split_records
from steer.progress import say
from steer.records import Record, Sample, read_jsonl, write_json, write_jsonl, write_text

if TYPE_CHECKING:
    from steer.generate import Generator

PARTS = ("train", "validation", "test")
STAGES = ("data", "domain", "synthetic", "baseline", "metrics", "report")


@dataclass(frozen=True)
class Run:
    """A run's folder and settings; make one with `Run.create` or `Run.open`."""

    folder: Path
    settings: Settings

    @classmethod
    @contextlib.contextmanager
    def create(cls, folder: Path, settings: Settings) -> Iterator["Run"]:
        """Begin a run in `folder`, or go on with the one that is there; held against other processes meanwhile.

        Raises UsageError where the folder holds a run of other settings or something that is no run, and ValueError
        where another process is at work in it.
        """
        from filelock import FileLock, Timeout

        config = folder / "config.yaml"
        if folder.is_dir() and not config.is_file() and any(p.name[0] != "." for p in folder.iterdir()):
            raise UsageError(f"{folder} exists and is no run; choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(f"{folder} is in use by another process; wait for it or choose another --out") from None
        try:
            if not config.is_file():
                write_text(config, settings.to_yaml())
            else:
                changed = differences(cls.open(folder).settings, settings)
                if changed:
                    more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
                    raise UsageError(
                        f"{folder} holds a run of other settings: {changed[0]}{more}; choose another --out"
                    )
            yield cls(folder, settings)
        finally:
            lock.release()

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """A run that exists, to be read. Raises FileNotFoundError or ValueError where there is none."""
        if not (folder / "config.yaml").is_file():
            raise FileNotFoundError(f"{folder} is no run: it holds no config.yaml")
        try:
            tree = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
            return cls(folder, Settings.model_validate(tree))
        except ValueError as error:
            raise ValueError(f"{folder / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from None

    def make(self, until: str = "report") -> None:
        """Do what is missing of the stages up to and with `until`."""
        stages: dict[str, Callable[[], None]] = {
            "data": self._make_data,
            "domain": self._make_domain,
            "synthetic": self._make_synthetic,
            "baseline": self._make_baseline,
            "metrics": self._make_metrics,
            "report": self._make_report,
        }
        for stage in STAGES[: STAGES.index(until) + 1]:
            started = time.monotonic()
            before = self._done(stage)
            stages[stage]()
            if not before:
                self._note({"timings": {stage: round(time.monotonic() - started, 1)}})
                self._log(stage, seconds=round(time.monotonic() - started, 1))

    def _done(self, stage: str) -> bool:
        results = {
            "data": "data/test.jsonl",
            "domain": "domain",
            "synthetic": "synthetic.jsonl",
            "baseline": "baseline.jsonl",
            "metrics": "metrics.json",
            "report": "report.html",
        }
        if (stage == "domain" and self.settings.domain) or (
            stage == "baseline" and not self.settings.evaluate.baseline
        ):
            return True
        return (self.folder / results[stage]).exists()

    # -- the stages ----------------------------------------------------------------------------------------------

    def _make_data(self) -> None:
        source = Path(self.settings.task.data)
        found = _hash(source) if source.is_file() else None
        if self._done("data"):
            if found and found != self.manifest.get("data", {}).get("sha256"):
                raise ValueError(f"{source} has changed since {self.folder} was begun; choose another --out")
            return
        loaded = load_records(self.settings.task)
        splits = split_records(loaded.records, seed=self.settings.seed)
        for part in PARTS:
            rows = ({"id": r.id, "text": r.text, "fields": dict(r.fields)} for r in getattr(splits, part))
            write_jsonl(self.folder / "data" / f"{part}.jsonl", rows)
        sizes = {part: len(getattr(splits, part)) for part in PARTS}
        self._note({"data": {"sha256": found, "dropped": loaded.dropped, **sizes}, "versions": _versions()})
        dropped = ", ".join(f"{n} {reason}" for reason, n in loaded.dropped.items() if n)
        split = ", ".join(f"{n} {part}" for part, n in sizes.items())
        say(f"data: {len(loaded.records)} texts ({dropped or 'none'} dropped): {split}")

    def _make_domain(self) -> None:
        if self._done("domain"):
            return
        from steer.domain import finetune

        s = self.settings
        facts = finetune(
            s.task,
            self.records("train"),
            self.records("validation"),
            self.folder / "domain",
            model=s.model,
            settings=s.finetune,
            seed=s.seed,
            revision=s.revision,
            device=s.device,
            dtype=s.dtype,
            trust_remote_code=s.trust_remote_code,
        )
        self._note({"finetune": facts})

    def _make_synthetic(self) -> None:
        if self._done("synthetic"):
            return
        from steer.generate import BudgetError, convergence

        failure = None
        try:
            samples = self.generator.run()
        except BudgetError as error:
            samples, failure = self.generator.stored(), error
        accepted = [sample for sample in samples if sample.verdict == "accepted"]
        refused = [sample for sample in samples if sample.verdict not in ("accepted", "surplus")]
        sources = {r.id: r.text for part in PARTS for r in self.records(part)} | {s.id: s.text for s in accepted}
        sampling = self.generator.sampling.model_copy(update={"max_new_tokens": self.generator.max_new_tokens()})
        formula = str(self.generator.guidance)
        write_jsonl(self.folder / "provenance.jsonl", (self._provenance(s, formula, sampling) for s in accepted))
        write_jsonl(self.folder / "rejected.jsonl", (_rejection(s, sources) for s in refused))
        self._note(
            {
                "weights": self.weight_hashes(),
                "convergence": convergence(samples, self.records("train")),
                "gates": {"steer": dict(sorted(Counter(sample.verdict for sample in samples).items()))},
            }
        )
        if failure:
            raise failure
        # Last, since this file says that the stage is done.
        write_jsonl(self.folder / "synthetic.jsonl", ({"id": s.id, **s.fields} for s in accepted))

    def _make_baseline(self) -> None:
        if self._done("baseline"):
            return
        samples = self.rival.run()
        self._note({"gates": {"nucleus": dict(sorted(Counter(sample.verdict for sample in samples).items()))}})
        accepted = (sample for sample in samples if sample.verdict == "accepted")
        write_jsonl(self.folder / "baseline.jsonl", ({"id": s.id, **s.fields} for s in accepted))

    def _make_metrics(self) -> None:
        if self._done("metrics"):
            return
        from steer.evaluate import evaluate

        say("evaluate: measuring against held-out real texts")
        names = self.settings.evaluate.embedders
        embedders: list[Any] = [self._domain_embedder() if name == "domain" else name for name in names]
        evaluation = evaluate(
            [record.text for record in self.records("test")],
            self.synthetic_texts(),
            train=[record.text for record in self.records("train")],
            baseline=self.synthetic_texts("baseline.jsonl") if self.settings.evaluate.baseline else None,
            embedder=embedders,
            seed=self.settings.seed,
            threshold=self.settings.gates.copy_threshold,
        )
        write_json(self.folder / "metrics.json", evaluation.to_json())

    def _make_report(self) -> None:
        from steer.report import write_report

        if not self._done("report"):
            write_report(self.folder)

    # -- what the stages share -----------------------------------------------------------------------------------

    @cached_property
    def pair(self) -> Any:
        from steer.engine.models import load

        s = self.settings
        adapter = s.domain or self.folder / "domain"
        return load(
            s.model,
            adapter,
            revision=s.revision,
            device=s.device,
            dtype=s.dtype,
            trust_remote_code=s.trust_remote_code,
        )

    @cached_property
    def generator(self) -> "Generator":
        """What draws this run's samples."""
        from steer.generate import Generator

        s = self.settings
        return Generator(
            pair=self.pair,
            task=s.task,
            real=tuple(self.records("train")),
            guidance=s.guidance.resolve(),
            sampling=s.sampling,
            negatives=s.negatives,
            settings=s.generate,
            gates=s.gates,
            held_out=(*self.records("validation"), *self.records("test")),
            seed=s.seed,
            folder=self.folder / "rounds",
        )

    @cached_property
    def rival(self) -> "Generator":
        """Plain nucleus sampling from the same checkpoint, as many texts through the same gates."""
        from steer.guidance import domain

        s = self.settings
        return replace(
            self.generator,
            guidance=1.0 * domain,
            sampling=Sampling(max_new_tokens=s.sampling.max_new_tokens),
            negatives=Negatives(count=0),
            settings=s.generate.model_copy(update={"until": "count"}),
            folder=self.folder / "baseline",
            name="baseline",
        )

    def records(self, part: str) -> list[Record]:
        return [Record(**row) for row in read_jsonl(self.folder / "data" / f"{part}.jsonl")]

    def synthetic_texts(self, name: str = "synthetic.jsonl") -> list[str]:
        """The texts of a data file of this run, as the example template writes them."""
        return [self.settings.task.render(row) for row in read_jsonl(self.folder / name)]

    @property
    def manifest(self) -> dict[str, Any]:
        path = self.folder / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}

    def weight_hashes(self) -> dict[str, str]:
        """SHA-256 of the weights that decide the texts, by file."""
        from steer.engine.models import model_path

        s = self.settings
        folders = [Path(model_path(s.model)), Path(s.domain or self.folder / "domain")]
        return {f"{folder.name}/{f.name}": _hash(f) for folder in folders for f in sorted(folder.glob("*.safetensors"))}

    def _domain_embedder(self) -> Any:
        weights = " ".join(f"{name}={digest[:12]}" for name, digest in self.weight_hashes().items())
        return _HiddenStates(self.pair, f"mean final hidden state of the domain model {weights}")

    def _provenance(self, sample: Sample, formula: str, sampling: Sampling) -> dict[str, Any]:
        row = sample.to_json()
        kept = ("id", "round", "group", "index", "seed", "labels", "negatives", "finish", "token_ids", "logprobs")
        return {
            **{name: row[name] for name in kept},
            "prompt": self.settings.task.prompt(sample.labels),
            "formula": formula,
            "sampling": sampling.model_dump(),
        }

    def _note(self, facts: dict[str, Any]) -> None:
        """Add to the manifest; sections are joined, not replaced."""
        manifest = self.manifest
        for key, value in facts.items():
            manifest[key] = {**manifest.get(key, {}), **value} if isinstance(value, dict) else value
        write_json(self.folder / "manifest.json", manifest)

    def _log(self, event: str, **facts: Any) -> None:
        with open(self.folder / "log.jsonl", "a", encoding="utf-8") as file:
            moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            file.write(json.dumps({"time": moment, "event": event, **facts}) + "\n")


@dataclass(frozen=True)
class _HiddenStates:
    """The domain model as an embedder of `steer.evaluate`."""

    pair: Any
    signature: str
    name: str = "domain"

    def embed(self, texts: Sequence[str]) -> Any:
        return self.pair.embed(texts).numpy().astype("float64")


def _rejection(sample: Sample, sources: dict[str, str]) -> dict[str, Any]:
    row = {name: asdict(sample)[name] for name in ("id", "verdict", "reason", "text", "labels", "source", "similarity")}
    return {**row, "source_text": sources.get(sample.source or "")}


def _hash(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _versions() -> dict[str, str]:
    packages = ("steer-text", "torch", "transformers", "peft", "numpy", "scikit-learn")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def texts_by_id(run: Run, ids: Sequence[str]) -> list[Record]:
    """The negatives a sample was shown: real texts, accepted samples, or those given by hand, by their ids.

    Raises ValueError where one is no longer in the run.
    """
    task = run.settings.task
    known = {record.id: record for record in run.records("train")}
    for row in read_jsonl(run.folder / "synthetic.jsonl"):
        fields = {name: value for name, value in row.items() if name != "id"}
        known[row["id"]] = Record(row["id"], fields, task.render(fields))
    for i, text in enumerate(run.settings.negatives.texts):
        known[f"hand{i}"] = Record(f"hand{i}", {}, text)
    missing = [i for i in ids if i not in known]
    if missing:
        raise ValueError(f"{run.folder}: the text {missing[0]} that the sample was shown is no longer in the run")
    return [known[i] for i in ids]
