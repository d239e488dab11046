"""study create, size, serve, judge, score: would a person prefer it?"""

from pathlib import Path
from typing import Annotated

import typer

from steer.cli.options import Json, Verbose, emit, names_in, set_verbose

study = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Blind pairwise studies: would a person prefer it?"
)
Folder = Annotated[Path, typer.Argument(metavar="STUDY", help="the folder of a study, or of the run it belongs to")]


@study.command()
def create(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="a run, a folder of steer compare or tune, a file, or NAME=FILE"),
    ],
    out: Annotated[Path | None, typer.Option(help="the study's folder (default: RUN/study)")] = None,
    sets: Annotated[str | None, typer.Option(help="which of the sets, with commas between (default: all)")] = None,
    against: Annotated[
        str | None, typer.Option(metavar="SET", help="what every set is held against (default: nucleus, if there)")
    ] = None,
    match: Annotated[
        str | None, typer.Option(help="columns in which a pair is the same (default: the task's labels)")
    ] = None,
    task: Annotated[Path | None, typer.Option(help="a run file whose task tells columns and example")] = None,
    pairs: Annotated[int, typer.Option(min=1, help="of each comparison")] = 30,
    annotators: Annotated[int, typer.Option(min=1, help="of each group, for every pair")] = 3,
    per_annotator: Annotated[int, typer.Option(min=1, help="pairs that one annotator is asked about at most")] = 50,
    question: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=TEXT", help="in place of the paper's two, which is more creative and plausible"),
    ] = None,
    ties: Annotated[bool, typer.Option(help='whether "no difference" is an answer')] = True,
    gold: Annotated[
        str, typer.Option(metavar="N or FILE", help="gold pairs for attention; a file has columns better and worse")
    ] = "2",
    repeats: Annotated[int, typer.Option(min=0, help="pairs that an annotator meets twice")] = 3,
    title: Annotated[str, typer.Option(help="what annotators see")] = "Which text?",
    prompt: Annotated[str, typer.Option(help="what the texts are, for annotators and judges")] = "",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Draw pairs of texts to be judged blindly."""
    set_verbose(verbose)
    from steer.config import UsageError, load_settings
    from steer.study.create import create as created
    from steer.study.create import gold_of, questions, write
    from steer.study.sources import home, read_sources

    columns = names_in(match) or []
    wanted = names_in(sets)
    wanted = [*wanted, against] if wanted and against and against not in wanted else wanted
    found = read_sources(sources, wanted, load_settings(task).task if task else None, columns)
    folder = out or home(sources)
    if folder is None:
        raise UsageError("the sets belong to no run: name the study's folder with --out")
    made = created(
        found,
        pairs=pairs,
        against=against,
        match=columns,
        gold=gold_of(gold),
        seed=seed,
        title=title,
        prompt=prompt,
        ties=ties,
        annotators=annotators,
        per_annotator=per_annotator,
        repeats=repeats,
        **questions(question or []),
    )
    path = write(made, folder)
    people, minutes = made.people, made.minutes
    line = (
        f"{len(made.asked)} pairs of {len(made.sets)} sets, {len(made.gold)} gold pairs: {path}\n"
        f"{people} people of each group are needed, about {minutes} minutes each; next: steer study serve {folder}"
    )
    told = {"study": str(folder), "pairs": len(made.asked), "gold": len(made.gold), "people": people}
    emit({**told, "minutes": minutes}, as_json, line)


@study.command()
def serve(
    folder: Folder,
    invite: Annotated[
        list[str] | None, typer.Option(metavar="GROUP=N", help="N new links, each for one person, as in expert=3")
    ] = None,
    host: Annotated[str, typer.Option(help="the address to listen on; only this machine by default")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    url: Annotated[str | None, typer.Option(help="how annotators reach it, where that is another address")] = None,
    certificate: Annotated[Path | None, typer.Option(help="for TLS, with --key", exists=True, dir_okay=False)] = None,
    key: Annotated[Path | None, typer.Option(help="for TLS, with --certificate", exists=True, dir_okay=False)] = None,
    verbose: Verbose = False,
) -> None:
    """Serve the study as web pages, and print the links of invitations."""
    set_verbose(verbose)
    from steer.study import needs
    from steer.study.plan import study_folder

    needs("fastapi", "uvicorn", "multipart", "itsdangerous")
    from steer.study.web.serve import Address, invitations
    from steer.study.web.serve import serve as served

    served(study_folder(folder), Address(host, port, url, certificate, key), invitations(invite or []))


@study.command()
def judge(
    folder: Folder,
    judge: Annotated[str, typer.Argument(metavar="JUDGE", help="openai:MODEL, openai:MODEL@URL or model:FOLDER-OR-ID")],
    name: Annotated[str, typer.Option(help="who its votes are of (default: made of the model's name)")] = "",
    workers: Annotated[int, typer.Option(min=1, help="requests under way at once")] = 8,
    price: Annotated[
        str | None, typer.Option(metavar="IN,OUT", help="money for a million tokens in, and for a million out")
    ] = None,
    budget: Annotated[float | None, typer.Option(min=0, help="the most to be spent, in the same money")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="of an answer; models that reason first need hundreds")] = 16,
    timeout: Annotated[float, typer.Option(help="of a request to an endpoint, in seconds")] = 60,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only what would be asked, and what it costs")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Ask a language model the same questions, each pair in both orders; resumable."""
    set_verbose(verbose)
    from dataclasses import asdict

    from steer.evaluate.score import strict
    from steer.progress import say
    from steer.study.judge import estimate, judge_of, prices
    from steer.study.judge import judge as judged
    from steer.study.plan import Study, study_folder

    where = study_folder(folder)
    study, paid = Study.read(where), prices(price)
    who = judge_of(judge, label=name, max_tokens=max_tokens, timeout=timeout)
    plan = estimate(study, who, folder=where, price=paid)
    if dry_run:
        emit(asdict(plan), as_json, str(plan))
        return
    say(str(plan))
    found = judged(study, where, who, workers=workers, price=paid, budget=budget)
    told = {"name": found.name, **asdict(found.spent), "stopped": found.stopped, **asdict(found.consistency)}
    emit(strict(told), as_json, "\n".join(found.lines()))
    if found.stopped:
        raise typer.Exit(1)


@study.command()
def size(
    rate: Annotated[float, typer.Option(help="the win rate to be found, above 0.5; ties count half")] = 0.6,
    annotators: Annotated[int, typer.Option(min=2)] = 8,
    per_pair: Annotated[int | None, typer.Option(min=1, help="annotators of each pair (default: all of them)")] = None,
    pairs: Annotated[int | None, typer.Option(min=2, help="also: what a study of so many pairs would find")] = None,
    ties: Annotated[float, typer.Option(min=0, max=1, help="share of votes that are ties")] = 0.1,
    annotator_sd: Annotated[
        float | None, typer.Option(help="how far the win rates of annotators differ (default: 0.1, or of the pilot)")
    ] = None,
    pair_sd: Annotated[
        float | None, typer.Option(help="how far the win rates of pairs differ (default: 0.15, or of the pilot)")
    ] = None,
    pilot: Annotated[Path | None, typer.Option(metavar="STUDY", help="a small study whose votes tell both")] = None,
    power: Annotated[float, typer.Option(help="the chance to find it")] = 0.8,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """How many votes a study needs, for a one-sided p below .05."""
    set_verbose(verbose)
    from dataclasses import asdict

    from steer.study.power import Design, more_annotators, needed
    from steer.study.power import power as found
    from steer.terminal import study_size

    differ = {"annotator_sd": annotator_sd, "item_sd": pair_sd}
    if pilot:
        from steer.study.plan import study_folder
        from steer.study.scored import scored

        learnt = scored(study_folder(pilot)).spreads()
        differ = {name: learnt[name] if value is None else value for name, value in differ.items()}
    design = Design(rate, annotators, per_pair, ties, **{k: v for k, v in differ.items() if v is not None})
    told = {
        "power": power,
        "design": asdict(design),
        "needed": asdict(needed(design, power)),
        "more_annotators": more_annotators(design, power),
        "planned": asdict(found(design, pairs)) if pairs else None,
    }
    emit(told, as_json, study_size(told))


@study.command()
def score(
    folder: Folder,
    attention: Annotated[
        float | None, typer.Option(min=0, max=1, help="leave out who is right on less of the gold pairs, as in 0.7")
    ] = None,
    level: Annotated[float, typer.Option(min=0.5, max=0.999, help="of the intervals")] = 0.95,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """What the votes say: win rates, tests, rankings, agreement; a page of it, and the report of the run anew."""
    set_verbose(verbose)
    from steer.report import write_report
    from steer.report.study import run_of_study, write_study
    from steer.study.plan import study_folder
    from steer.study.scored import scored, write
    from steer.terminal import study_table

    where = study_folder(folder)
    result = write(where, scored(where, attention, level))
    page = write_study(where)
    run = run_of_study(where)
    report = write_report(run) if run else None  # which tells of the study, too
    if as_json:
        emit(result, True, "")
    else:
        study_table(result)
        typer.echo(f"votes:  {where / 'votes.csv'}\nscores: {where / 'scores.json'}\npage:   {page}")
        if report:
            typer.echo(f"report: {report}")
