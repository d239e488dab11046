"""The command line: a thin layer on the library. Heavy modules are imported by the command that needs them."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steer.terminal import comparison_table, number, recommendation, score_table

if TYPE_CHECKING:
    from steer.run import Run

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Synthetic text by guided decoding: pulled towards your texts, pushed away from what exists already.",
)
_verbose = False

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


@app.command()
def run(
    file: File,
    settings: Overrides = None,
    out: Out = None,
    fail_under: FailUnder = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Fine-tune, generate, refuse copies, measure, report: everything, in order, resumable."""
    gates = _gates(fail_under)
    folder = _make(file, settings, out, "report", verbose).folder
    _hold(gates, _show_scores(folder, as_json))


@app.command()
def finetune(
    file: File, settings: Overrides = None, out: Out = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Base model + real texts -> domain adapter."""
    made = _make(file, settings, out, "domain", verbose)
    adapter = made.settings.domain or str(made.folder / "domain")
    _print({"domain": adapter}, as_json, f"domain adapter: {adapter}")


@app.command()
def generate(
    file: File, settings: Overrides = None, out: Out = None, as_json: Json = False, verbose: Verbose = False
) -> None:
    """Domain adapter -> synthetic.jsonl."""
    path = _make(file, settings, out, "synthetic", verbose).folder / "synthetic.jsonl"
    from steer.records import read_jsonl

    count = len(read_jsonl(path))
    _print({"synthetic": str(path), "count": count}, as_json, f"{count} texts: {path}")


@app.command()
def evaluate(
    real: Annotated[Path, typer.Argument(help="held-out real texts")],
    synthetic: Annotated[Path, typer.Argument(help="synthetic texts")],
    rivals: Annotated[list[Path] | None, typer.Argument(help="other sets, to compare with the synthetic one")] = None,
    train: Annotated[Path | None, typer.Option(help="the texts the generator was trained on")] = None,
    baseline: Annotated[Path | None, typer.Option(help="texts of plain nucleus sampling")] = None,
    task: Annotated[Path | None, typer.Option(help="a run file whose task tells columns and example")] = None,
    label: Annotated[str | None, typer.Option(help='the column of classes (default: one called "label")')] = None,
    metrics: Annotated[str | None, typer.Option(help="scores or questions, with commas between, or all")] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="tfidf, minilm, sentence-transformers/NAME, FOLDER, model2vec:NAME, openai:MODEL, or several"
        ),
    ] = None,
    real_embeddings: Embeddings = None,
    synthetic_embeddings: Embeddings = None,
    train_embeddings: Embeddings = None,
    baseline_embeddings: Embeddings = None,
    rival_embeddings: Annotated[
        list[Path] | None, typer.Option(metavar="FILE.npy", help="once for each rival, in order")
    ] = None,
    tokenisation: Annotated[
        str | None, typer.Option(help="auto, whitespace, words, characters or model:NAME, for n-grams")
    ] = None,
    classifier: Annotated[str | None, typer.Option(help="logistic or xgboost")] = None,
    choice_model: Annotated[
        str | None, typer.Option(help="an encoder that learns to answer multiple-choice questions")
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    fail_under: FailUnder = None,
    html: Annotated[Path | None, typer.Option(help="write the report, too")] = None,
    figures: Annotated[Path | None, typer.Option(help="write its figures as SVG files into this folder")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure any two files against each other, and any rivals; no model needed."""
    _set_verbose(verbose)
    from steer.config import UsageError, evaluation_settings, load_settings
    from steer.evaluate.catalogue import chosen
    from steer.measure import Source, measure, read_sets

    gates = _gates(fail_under)
    for path in filter(None, (html and html.parent, figures and figures.parent)):
        if not path.is_dir():
            raise UsageError(f"{path} is no folder: choose another place for the report")
    if (train_embeddings and not train) or (baseline_embeddings and not baseline):
        raise UsageError("embeddings came for texts that did not: name the file with --train or --baseline")
    changes = {
        "embedders": _listed(embedder),
        "metrics": _listed(metrics),
        "label": label,
        "tokenisation": tokenisation,
        "classifier": classifier,
        "choice_model": choice_model,
    }
    settings = load_settings(task) if task else None
    asked = evaluation_settings(settings.evaluate if settings else None, changes)
    try:
        names = chosen(asked.metrics)
    except ValueError as error:
        raise UsageError(f"--metrics: {error}") from None
    for name in gates:
        if name.partition("[")[0] not in names:
            raise UsageError(f"--fail-under {name}: it is not among the scores that --metrics names")
    sources = {"real": Source(real, real_embeddings), "synthetic": Source(synthetic, synthetic_embeddings)}
    sources |= {"train": Source(train, train_embeddings)} if train else {}
    sources |= {"baseline": Source(baseline, baseline_embeddings)} if baseline else {}
    sources |= {name: Source(*pair) for name, pair in _rivals(rivals or [], rival_embeddings or []).items()}
    sets = read_sets(sources, asked, settings.task if settings else None)
    made = measure(sets, asked, seed=seed, details=bool(html or figures))
    result = made.to_json()
    if html or figures:
        from steer.report import write_evaluation

        texts = {name: one.texts for name, one in sets.items()}
        write_evaluation(made, texts, {name: source.path.name for name, source in sources.items()}, html, figures)
    if as_json:
        _print(result, True, "")
    else:
        score_table(result)
        for what, written in (("report", html), ("figures", figures)):
            if written:
                typer.echo(f"{what}: {written}")
    _hold(gates, result)


@app.command()
def explain(
    folder: RunFolder,
    sample: Annotated[str | None, typer.Argument(metavar="[ID]", help="a sample of the run")] = None,
    text: Annotated[str | None, typer.Option(help="any text, in place of a sample")] = None,
    html: Annotated[Path | None, typer.Option(help="write the table as a page, too")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """How each stream of the formula moved each token of a text."""
    _set_verbose(verbose)
    from steer.explain import explain as explained

    result = explained(folder, sample, text)
    if html:
        from steer.records import write_text
        from steer.report import explanation_page

        write_text(html, explanation_page(result))
    if as_json:
        _print(result.to_json(), True, "")
    else:
        result.print()
        if html:
            typer.echo(f"page: {html}")


@app.command()
def replay(
    folder: RunFolder,
    sample: Annotated[str, typer.Argument(metavar="ID", help="a sample of the run")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Draw one sample again, from its provenance alone."""
    _set_verbose(verbose)
    from steer.explain import replay as replayed

    text = replayed(folder, sample)
    _print({"id": sample, "text": text, "same": True}, as_json, text)


@app.command()
def report(folder: RunFolder, as_json: Json = False, verbose: Verbose = False) -> None:
    """Write report.html again from what the run holds."""
    _set_verbose(verbose)
    from steer.report import write_report

    path = write_report(folder)
    _print({"report": str(path)}, as_json, str(path))


@app.command()
def compare(
    folder: RunFolder,
    samples: Annotated[int, typer.Option(min=2, help="texts by each decoder")] = 500,
    decoders: Annotated[str | None, typer.Option(help="names with commas between (default: all; --list shows)")] = None,
    formula: Annotated[list[str] | None, typer.Option(metavar="NAME=FORMULA", help="one of your own, beside")] = None,
    train_sizes: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="instead: how scores grow with the training texts")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="show the decoders there are, and draw nothing")] = False,
    out: Annotated[Path | None, typer.Option(help="where (default: RUN/compare, or RUN/sizes)")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Decoders side by side from one checkpoint, or training sizes: tables, tests, figures; resumable."""
    _set_verbose(verbose)
    from steer.compare.decoders import chosen
    from steer.config import UsageError
    from steer.run import Run

    run = Run.open(folder)
    wanted = chosen(run.settings, run.records("train"), _listed(decoders), formula or [])
    if listed:
        _print({one.name: one.label for one in wanted}, as_json, "\n".join(f"{d.name:22} {d.label}" for d in wanted))
        return
    if train_sizes is not None:
        if decoders or formula:
            raise UsageError("--train-sizes compares STEER and nucleus sampling: leave out --decoders and --formula")
        from steer.compare.sizes import grow, parse_sizes

        where = out or folder / "sizes"
        result = grow(run, parse_sizes(train_sizes), where, samples, seed)
    else:
        from steer.compare import compare as side_by_side

        where = out or folder / "compare"
        result = side_by_side(run, wanted, where, samples, seed).to_json()
    from steer.report.comparison import write_comparison

    page = write_comparison(where)
    if as_json:
        _print(result, True, "")
    else:
        comparison_table(result)
        typer.echo(f"texts:  {where / 'texts'}\nscores: {where / 'compare.json'}\npage:   {page}")


@app.command()
def tune(
    folder: RunFolder,
    want: Annotated[
        str | None, typer.Option(help='the goal, as in "calibrated_authenticity >= 0.95, maximise coverage"')
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="points to try")] = 40,
    samples: Annotated[int | None, typer.Option(min=2, help="texts a point (default: 200, of --paper 50)")] = None,
    dials: Annotated[str | None, typer.Option(help="what is turned (default: gamma,eta,top_p,temperature)")] = None,
    grid: Annotated[
        list[str] | None, typer.Option(metavar="DIAL=V,V,...", help="instead: measure every combination of these")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="instead: grids of γ and η, and one dial at a time")] = False,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="begin no point of the search after 30m, 2h, 90s")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="where (default: RUN/tune)")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Search γ, η, sampling and negatives for the best trade-off: a front, a knee, a recommended point; resumable."""
    _set_verbose(verbose)
    from steer.config import UsageError
    from steer.evaluate.catalogue import NAMES
    from steer.pareto import Want
    from steer.run import Run
    from steer.tune import WANT
    from steer.tune.of_run import PAPER_SAMPLES, Tuning, dial, parse_axes, parse_budget

    if grid and paper:
        raise UsageError("--grid and --paper are two things to measure: ask for one of them")
    for option, given in (("--budget", budget), ("--dials", dials), ("--want", want)):
        if given and (grid or paper):
            raise UsageError(f"{option} is for the search, and has no part in --grid and --paper: leave it out")
    try:
        goal = Want.parse(want, NAMES) if want else WANT
    except ValueError as error:
        raise UsageError(f"--want: {error}") from None
    try:
        turned = tuple(dial(name) for name in _listed(dials) or ())
    except ValueError as error:
        raise UsageError(f"--dials: {error}") from None
    where = out or folder / "tune"
    tuning = Tuning(Run.open(folder), where, goal, seed)
    if paper:
        result = tuning.figures(samples or PAPER_SAMPLES)
    elif grid:
        result = tuning.grid(parse_axes(grid), samples or 200)
    else:
        limit = parse_budget(budget) if budget else None
        asked: dict[str, Any] = {"dials": turned} if turned else {}
        result = tuning.conclude(tuning.plan(trials=trials, samples=samples or 200, budget=limit, **asked))
    from steer.report.tuning import write_tuning

    page = write_tuning(where)
    if as_json:
        _print(result, True, "")
    else:
        if not (paper or grid):
            recommendation(result)
        typer.echo(f"page: {page}")


def _make(file: Path, overrides: list[str] | None, out: Path | None, until: str, verbose: bool) -> "Run":
    _set_verbose(verbose)
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
        _print({"run": str(folder), "report": str(folder / "report.html"), **metrics}, True, "")
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


def _listed(value: str | None) -> list[str] | None:
    return None if value is None else [one.strip() for one in value.split(",")]


def _gates(asked: list[str] | None) -> dict[str, float]:
    """Raises UsageError on what is no SCORE=VALUE, and ImportError where the score takes a package."""
    if not asked:
        return {}
    from steer.config import UsageError
    from steer.evaluate.catalogue import chosen

    gates = {}
    for one in asked:
        name, equals, value = one.rpartition("=")
        try:
            gates[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name or gates[name] != gates[name]:
            raise UsageError(f"--fail-under {one!r}: expected SCORE=VALUE, as in adversarial_auroc=0.8")
        try:
            chosen([name.partition("[")[0]])
        except ValueError as error:
            raise UsageError(f"--fail-under: {error}") from None
    return gates


def _hold(gates: dict[str, float], metrics: dict[str, Any]) -> None:
    """Exit with 3 where a score is worse than it has to be, or not known."""
    from steer.config import UsageError

    failed = []
    for name, limit in gates.items():
        if name not in metrics["scores"]:
            raise UsageError(f"--fail-under {name}: it was not measured; there are {', '.join(metrics['scores'])}")
        score = metrics["scores"][name]
        value, above = score["value"], score["higher_is_better"]
        if value is None or (value < limit if above else value > limit):
            failed.append(f"{name} is {number(value)}, expected {'at least' if above else 'at most'} {limit:g}")
    if failed:
        typer.echo(f"steer: {'; '.join(failed)}", err=True)
        raise typer.Exit(3)


def _rivals(files: list[Path], embeddings: list[Path]) -> dict[str, tuple[Path, Path | None]]:
    """By name: that of the file, or its whole path where another set has the same."""
    from steer.config import UsageError
    from steer.measure import TAKEN

    if embeddings and len(embeddings) != len(files):
        raise UsageError(f"{len(embeddings)} --rival-embeddings came for {len(files)} rivals: expected one for each")
    if len(set(files)) < len(files):
        raise UsageError("a rival came twice: name each file once")
    stems = [file.name.split(".")[0] for file in files]
    names = [
        stem if stems.count(stem) == 1 and stem not in TAKEN else str(file)
        for stem, file in zip(stems, files, strict=True)
    ]
    given: list[Path | None] = [*embeddings] or [None for _ in files]
    return {name: (file, array) for name, file, array in zip(names, files, given, strict=True)}


def _print(value: dict[str, Any], as_json: bool, line: str) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False, allow_nan=False) if as_json else line)


def _set_verbose(verbose: bool) -> None:
    """Quiet the libraries, unless everything is wanted; must come before they are imported."""
    global _verbose
    _verbose = verbose
    if not verbose:
        import warnings

        warnings.filterwarnings("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"steer {version('steer-text')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="show the version")
    ] = False,
) -> None:
    pass


def main(arguments: list[str] | None = None, exit: Callable[[int], Any] = sys.exit) -> Any:
    """The entry point: errors in one or two lines on standard error, and the exit code.

    0 done, 1 failed, 2 wrong usage. -v shows the traceback instead.
    """
    given = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(args=given or ["--help"], prog_name="steer", standalone_mode=False)
        if code == 130:
            raise KeyboardInterrupt  # which newer versions of typer return as this code
        return exit(code if isinstance(code, int) else 0)
    except typer.Abort:
        typer.echo("stopped", err=True)
        return exit(130)
    except KeyboardInterrupt:
        resumed = given[:1] and given[0] in ("run", "finetune", "generate", "compare", "tune")
        typer.echo("stopped; the same command goes on from here" if resumed else "stopped", err=True)
        return exit(130)
    except Exception as error:
        # Of click, or of the copy of click that newer versions of typer hold: there is no class common to both.
        if hasattr(error, "format_message"):
            return exit(_wrong_usage(error))
        if _verbose:
            raise
        return exit(_complain(error))


def _wrong_usage(error: Any) -> int:
    command = error.ctx.command_path if getattr(error, "ctx", None) else "steer"
    said = " ".join(error.format_message().split()).rstrip(".")
    typer.echo(f"steer: {said}; {command} --help shows what there is", err=True)
    return int(error.exit_code)


def _complain(error: Exception) -> int:
    from steer.config import UsageError

    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        said = f"{error.filename}: {error.strerror}"
    if not isinstance(error, ValueError | OSError | ImportError):
        said = f"unexpected {type(error).__name__}: {said} (-v shows where)"
    typer.echo(f"steer: {said}", err=True)
    return 2 if isinstance(error, UsageError) else 1
