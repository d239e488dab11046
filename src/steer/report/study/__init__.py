"""What a study found, as one page: would a person prefer it? With figures, a CSV and a table for a paper.

write_study(Path("runs/hypotheses/study"))    # -> .../study.html, scores.csv, winrates.tex, figures/*.svg
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from steer.records import write_text
from steer.report.drawing import Figure, inline
from steer.report.pictures import write_pictures
from steer.report.study.cards import cards
from steer.report.study.files import as_csv, latex
from steer.report.study.method import about, commands, limits, method
from steer.report.study.method import cautions as of_judges
from steer.report.study.pictures import Shown, dial_pictures, strengths, win_rates
from steer.report.study.tables import (
    Table,
    agreement_table,
    annotators_table,
    beside_table,
    judges_table,
    sets_table,
    strengths_table,
    votes_table,
)
from steer.report.study.verdict import Paragraph, cautions, verdict
from steer.report.study.voted import SCORES, Voted
from steer.report.study.words import called, name
from steer.report.templates import clean, render

PAGE, STUDY = "study.html", "study"  # the second: the folder in a run
PICTURES = ("winrates*.svg", "gamma-*.svg", "eta-*.svg", "heat-*.svg", "strengths-*.svg")
LINES = 24  # of a table that is not folded away


def write_study(folder: Path) -> Path:
    """Write scores.csv, winrates.tex, figures/*.svg and, last, study.html from scores.json and study.json.

    Each is written whole or not at all, and pictures of what is no longer there are removed. Raises FileNotFoundError
    where the folder holds no scores.
    """
    found = Voted.read(folder)
    rates, dials, ranks = win_rates(found), dial_pictures(found), strengths(found)
    page, rows, table = _page(found, rates, dials, ranks), as_csv(found), latex(found) if found.rows else ""
    write_text(folder / "scores.csv", clean(rows))
    if table:
        write_text(folder / "winrates.tex", clean(table))
    else:
        (folder / "winrates.tex").unlink(missing_ok=True)
    drawn = [shown.picture for shown in (*rates, *dials, *ranks)]
    write_pictures(drawn, folder / "figures")
    kept = {f"{picture.name}.svg" for picture in drawn}
    for path in [path for one in PICTURES for path in (folder / "figures").glob(one) if path.name not in kept]:
        path.unlink(missing_ok=True)
    # Last, since this file says that all is there.
    path = folder / PAGE
    write_text(path, page)
    return path


def _page(found: Voted, rates: Sequence[Shown], dials: Sequence[Shown], ranks: Sequence[Shown]) -> str:
    return render(
        "study/page.html.j2",
        title=name(found.title, 120) if found.title else "",
        found=found,
        about=about(found),
        verdict=verdict(found),
        cautions=cautions(found),
        cards=cards(found),
        rates=rates,
        votes=_votes(found),
        dials=dials,
        ranks=ranks,
        strengths=strengths_table(found),
        agreement=agreement_table(found),
        beside=beside_table(found),
        judges=judges_table(found),
        of_judges=of_judges(found),
        annotators=annotators_table(found),
        sets=sets_table(found),
        method=method(found),
        limits=limits(found),
        commands=commands(found),
        lines=LINES,
        version=metadata.version("steer-text"),
        inline=inline,
    )


def _votes(found: Voted) -> list[Table]:
    """One table where it is short; else those who are spoken of first, and all others."""
    whole = votes_table(found, found.ordered, "Votes and tests")
    if whole.lines <= LINES or found.lead is None:
        return [whole] if whole.lines else []
    tables = [
        votes_table(found, [found.lead], f"Votes and tests of {called(found, found.lead)}"),
        votes_table(found, found.ordered[1:], "Votes and tests of other groups"),
    ]
    return [table for table in tables if table.lines]


@dataclass(frozen=True)
class InRun:
    """What the report of a run tells of its study. page: where the rest stands, relative to the report."""

    verdict: Sequence[Paragraph]
    figure: Figure | None
    page: str | None


def run_of_study(folder: Path) -> Path | None:
    """The run whose report tells of this study; None where there is none."""
    for place in (folder, folder.resolve()):
        if place.name == STUDY and all((place.parent / name).is_file() for name in ("config.yaml", "manifest.json")):
            return place.parent
    return None


def study_of_run(folder: Path) -> InRun | None:
    """Of a run's folder; None where it has no study with scores."""
    study = folder / STUDY
    if not (study / SCORES).is_file():
        return None
    found = Voted.read(study)
    rates = win_rates(found)
    page = f"{study.name}/{PAGE}" if (study / PAGE).is_file() else None
    return InRun(verdict(found), rates[0].picture.figure if rates else None, page)
