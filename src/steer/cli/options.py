"""What commands share: their options, and how they print."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from steer.run import Run

File = Annotated[Path, typer.Argument(help="a run file (.yaml), or the data itself (.jsonl, .csv, .parquet, .txt)")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings on top, as in guidance.eta=0.6")
]
Out = Annotated[Path | None, typer.Option("--out", help="the run's folder (default: runs/NAME)")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON object on standard output and nothing else")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="show the traceback of an error")]
FailUnder = Annotated[
    list[str] | None,
    typer.Option(metavar="SCORE=VALUE", help="exit with 3 where a score is worse: below, or above if lower is better"),
]
Embeddings = Annotated[Path | None, typer.Option(metavar="FILE.npy", help="your own, a row for each text")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="the folder of a run")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="processes of a Ray cluster that draw, 0 for this one (default: the run's)")
]
Cluster = Annotated[str | None, typer.Option("--ray", metavar="HOST:PORT", help="the cluster (default: the run's)")]
verbose_wanted = False


def opened(folder: Path, workers: int | None, ray: str | None) -> "Run":
    """A run to draw more from, with workers of its own or others."""
    from steer.config import changed
    from steer.run import Run

    run = Run.open(folder)
    given: dict[str, Any] = {} if ray is None else {"ray": ray}
    if workers is not None:
        given |= {"workers": workers} if workers else {"workers": None, "ray": "auto"}
    return replace(run, settings=changed(run.settings, given))


def names_in(value: str | None) -> list[str] | None:
    return None if value is None else [one.strip() for one in value.split(",")]


def emit(value: dict[str, Any], as_json: bool, line: str) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False) if as_json else line)


def set_verbose(verbose: bool) -> None:
    """Quiet the libraries, unless everything is wanted; must come before they are imported."""
    global verbose_wanted
    verbose_wanted = verbose
    if not verbose:
        import warnings

        warnings.filterwarnings("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
