"""evaluate: any texts against any others."""

from pathlib import Path
from typing import Annotated

import typer

from steer.cli.gates import gates_of, hold
from steer.cli.options import Embeddings, FailUnder, Json, Verbose, emit, names_in, set_verbose
from steer.terminal import score_table


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
    set_verbose(verbose)
    from steer.config import UsageError, evaluation_settings, load_settings
    from steer.evaluate.catalogue import chosen
    from steer.measure import Source, measure, read_sets

    gates = gates_of(fail_under)
    for path in filter(None, (html and html.parent, figures and figures.parent)):
        if not path.is_dir():
            raise UsageError(f"{path} is no folder: choose another place for the report")
    if (train_embeddings and not train) or (baseline_embeddings and not baseline):
        raise UsageError("embeddings came for texts that did not: name the file with --train or --baseline")
    changes = {
        "embedders": names_in(embedder),
        "metrics": names_in(metrics),
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
        emit(result, True, "")
    else:
        score_table(result)
        for what, written in (("report", html), ("figures", figures)):
            if written:
                typer.echo(f"{what}: {written}")
    hold(gates, result)


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
