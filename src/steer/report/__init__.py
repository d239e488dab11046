"""What came out, as a page for someone who was sent the file: report.html of a run, and a text under its formula.

    write_report(Path("runs/hypotheses"))        # -> runs/hypotheses/report.html
    explanation_page(explain(folder, "0000-00-00"))

One file each, with nothing to fetch and nothing to run. What is said is decided in Python; the templates place it.
"""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from steer.records import write_text
from steer.report.explanation import explanation_view
from steer.report.formula import formula_view, written
from steer.report.limits import limits
from steer.report.scores import score_groups
from steer.report.settings import settings_view
from steer.report.stored import Stored
from steer.report.texts import refused_view, samples_view
from steer.report.training import growth_view, training_view
from steer.report.verdict import verdict

if TYPE_CHECKING:
    from steer.explain import Explanation

__all__ = ["explanation_page", "write_report"]


def write_report(folder: Path) -> Path:
    """Write report.html from what the run folder holds, whole or not at all; what is missing is said on the page.

    Raises FileNotFoundError where the folder is no run, ValueError where its config.yaml cannot be read.
    """
    stored = Stored.read(folder)
    settings = stored.settings
    page = _template("page.html.j2").render(
        stored=stored,
        verdict=verdict(stored),
        groups=score_groups(stored.metrics),
        notes=(stored.metrics or {}).get("notes", []),
        rival="nucleus" in (stored.metrics or {}).get("rivals", {}),
        samples=samples_view(stored),
        refused=refused_view(stored),
        formula=formula_view(settings.guidance.resolve(), settings.negatives),
        written=written(settings.guidance),
        growth=growth_view(stored.manifest),
        training=training_view(stored.manifest, settings.domain),
        limits=limits(stored),
        settings=settings_view(stored),
        config=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=78),
    )
    path = folder / "report.html"
    write_text(path, page)
    return path


def explanation_page(explanation: "Explanation") -> str:
    """A text under a formula, token by token, as a page of its own."""
    return _template("explanation.html.j2").render(view=explanation_view(explanation))


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("steer.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda n: f"{n:,}"
    return environment.get_template(name)
