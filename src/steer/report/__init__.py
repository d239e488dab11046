"""What came out, as a page for someone who was sent the file: report.html of a run, the same of any two files, and a
text under its formula.

    write_report(Path("runs/hypotheses"))        # -> runs/hypotheses/report.html, runs/hypotheses/figures/*.svg
    write_evaluation(evaluation, texts, files, html=Path("page.html"), figures=Path("figures"))
    explanation_page(explain(folder, "0000-00-00"))

One file each, with nothing to fetch and nothing to run. What is said is decided in Python; the templates place it.
"""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from steer.records import write_text
from steer.report.card import card
from steer.report.explanation import explanation_view
from steer.report.figures import inline
from steer.report.formula import formula_view, written
from steer.report.judged import Judged
from steer.report.method import about_files, about_run, method, run_limits
from steer.report.pictures import pictures, write_pictures
from steer.report.refused import refused_view
from steer.report.scores import is_first, label_table, score_groups
from steer.report.settings import settings_view
from steer.report.stored import Stored
from steer.report.study import study_of_run
from steer.report.templates import render
from steer.report.texts import texts_view
from steer.report.training import course_view, growth_view, training_view
from steer.report.verdict import verdict

if TYPE_CHECKING:
    from steer.evaluate import Evaluation
    from steer.explain import Explanation

__all__ = ["explanation_page", "is_first", "write_evaluation", "write_report"]


def write_report(folder: Path) -> Path:
    """Write report.html from what the run folder holds, whole or not at all, and its pictures into figures/; what is
    missing is said on the page. README.md beside it is the dataset card.

    Raises FileNotFoundError where the folder is no run, ValueError where its config.yaml cannot be read.
    """
    stored = Stored.read(folder)
    settings, judged = stored.settings, stored.judged
    growth, training = growth_view(stored.manifest), training_view(stored.manifest, settings.domain)
    course = course_view(stored.manifest)
    run = {
        "stored": stored,
        "refused": refused_view(stored),
        "formula": formula_view(settings.guidance.resolve(), settings.negatives),
        "written": written(settings.guidance),
        "growth": growth,
        "course": course,
        "training": training,
        "study": study_of_run(folder),
        "limits": run_limits(stored),
        "settings": settings_view(stored),
        "config": yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=78),
    }
    version = stored.manifest.get("versions", {}).get("steer-text", "")
    if judged and judged.metrics:
        write_text(folder / "README.md", card(stored, judged))
    path = folder / "report.html"
    drawn = [*(pictures(judged) if judged else []), growth.picture, training.picture, *(one.picture for one in course)]
    write_pictures([picture for picture in drawn if picture], folder / "figures")
    # Last, since this file says that the report is there.
    write_text(path, _page(judged, stored.name, about_run(stored), version, run))
    return path


def write_evaluation(
    evaluation: "Evaluation",
    texts: Mapping[str, Sequence[str]],
    files: Mapping[str, str],
    html: Path | None,
    figures: Path | None,
) -> None:
    """Write the report of any two files, and its pictures as figures/NAME.svg; whichever is asked for.

    texts, files: by set, the texts that were measured in their order, and the name of their file: "real", "synthetic",
    and, where there are any, "train", "baseline" and the rivals by name. An evaluation without details gives a page
    without pictures.
    """
    details = None if evaluation.details is None else evaluation.details.to_json()
    judged = Judged.of_files(texts, files, evaluation.to_json(), details)
    if html is not None:
        version = metadata.version("steer-text")
        write_text(html, _page(judged, judged.files["synthetic"], about_files(judged), version, None))
    if figures is not None:
        write_pictures(pictures(judged), figures)


def _page(judged: Judged | None, name: str, about: str, version: str, run: Mapping[str, object] | None) -> str:
    """run: what only the report of a run has."""
    return render(
        "page.html.j2",
        name=name,
        about=about,
        version=version,
        judged=judged,
        verdict=verdict(judged) if judged else [],
        groups=score_groups(judged) if judged else [],
        labels=label_table(judged) if judged else None,
        pictures=pictures(judged) if judged else [],
        texts=texts_view(judged) if judged else None,
        method=method(judged) if judged else None,
        inline=inline,
        run=run,
    )


def explanation_page(explanation: "Explanation") -> str:
    """A text under a formula, token by token, as a page of its own."""
    return render("explanation.html.j2", view=explanation_view(explanation))
