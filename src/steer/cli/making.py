"""run, finetune, generate: a run, or part of one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from steer.cli.gates import gates_of, hold
from steer.cli.options import FailUnder, File, Json, Out, Overrides, Verbose, emit, set_verbose
from steer.terminal import score_table

if TYPE_CHECKING:
    from steer.run import Run


def run(
    file: File,
    settings: Overrides = None,
    out: Out = None,
    fail_under: FailUnder = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune, generate, refuse copies, measure, report: everything, in order, resumable."""
    gates = gates_of(fail_under)
    folder = _make(file, settings, out, "report", verbose).folder
    hold(gates, _show_scores(folder, as_json))


def finetune(
    file: File, settings: Overrides = None, out: Out = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Base model + real texts -> domain adapter."""
    made = _make(file, settings, out, "domain", verbose)
    adapter = made.settings.domain or str(made.folder / "domain")
    emit({"domain": adapter}, as_json, f"domain adapter: {adapter}")


def generate(
    file: File, settings: Overrides = None, out: Out = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Domain adapter -> synthetic.jsonl."""
    path = _make(file, settings, out, "synthetic", verbose).folder / "synthetic.jsonl"
    from steer.records import read_jsonl

    count = len(read_jsonl(path))
    emit({"synthetic": str(path), "count": count}, as_json, f"{count} texts: {path}")


def _make(file: Path, overrides: list[str] | None, out: Path | None, until: str, verbose: bool) -> "Run":
    set_verbose(verbose)
    from steer.config import load_settings
    from steer.pipeline import make
    from steer.run import Run

    settings = load_settings(file, overrides or [])
    with Run.create(out or Path("runs") / file.name.split(".")[0], settings) as made:
        make(made, until)
        return made


def _show_scores(folder: Path, as_json: bool) -> dict[str, Any]:
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if as_json:
        emit({"run": str(folder), "report": str(folder / "report.html"), **metrics}, True, "")
    else:
        from steer.report import is_first

        first = {name: score for name, score in metrics["scores"].items() if is_first(name)} or metrics["scores"]
        score_table({**metrics, "scores": first})
        rest = len(metrics["scores"]) - len(first)
        typer.echo(
            f"texts:  {folder / 'synthetic.jsonl'}\n"
            f"scores: {folder / 'metrics.json'}{f' ({rest} more than above)' if rest else ''}\n"
            f"report: {folder / 'report.html'}"
        )
    return metrics
