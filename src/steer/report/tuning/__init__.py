"""What `steer tune` found, as one page: where on the trade-off to stand, and whether steering beats plain sampling.

write_tuning(Path("runs/hypotheses/tune"))    # -> .../tune.html, figures/*.svg
"""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from steer.records import write_text
from steer.report.comparison.compared import head
from steer.report.comparison.tables import better_is
from steer.report.comparison.verdict import Sentence
from steer.report.drawing import inline
from steer.report.pictures import Picture, write_pictures
from steer.report.templates import render
from steer.report.tuning.cards import cards
from steer.report.tuning.dials import Told, sweep_pictures
from steer.report.tuning.files import Tuned
from steer.report.tuning.grids import failures, form_pictures, grid_pictures
from steer.report.tuning.method import dial_rows, limits, method
from steer.report.tuning.tables import fresh_table, trials_table
from steer.report.tuning.texts import SEARCH, Links, texts
from steer.report.tuning.tradeoff import tradeoffs
from steer.report.tuning.verdict import cautions, verdict
from steer.report.tuning.words import FORMS, capitalised, form, overrides

PICTURES = ("tradeoff*.svg", "heat-*.svg", "dial-*.svg", "grid-*.svg")


def write_tuning(folder: Path) -> Path:
    """Write figures/*.svg and, last, tune.html from what lies in the folder, each whole or not at all.

    Pictures of what is no longer there are removed. Raises FileNotFoundError where the folder holds no tuning.
    """
    tuned = Tuned.read(folder)
    links = Links(tuned)
    plots = tradeoffs(tuned.search, links) if tuned.search else []
    grid, forms, sweeps = grid_pictures(tuned, links), form_pictures(tuned, links), sweep_pictures(tuned, links)
    page = _page(tuned, links, plots, grid, forms, sweeps)
    drawn = [*plots, *(told.picture for told in (*grid, *forms, *sweeps))]
    write_pictures(drawn, folder / "figures")
    kept = {f"{picture.name}.svg" for picture in drawn}
    for path in [path for one in PICTURES for path in (folder / "figures").glob(one) if path.name not in kept]:
        path.unlink(missing_ok=True)
    # Last, since this file says that all is there.
    path = folder / "tune.html"
    write_text(path, page)
    return path


def _page(
    tuned: Tuned,
    links: Links,
    plots: Sequence[Picture],
    grid: Sequence[Told],
    forms: Sequence[Told],
    sweeps: Sequence[Told],
) -> str:
    found = tuned.search
    grids = {capitalised(form(name)): one for name, one in tuned.forms.items()}
    return render(
        "tuning/page.html.j2",
        tuned=tuned,
        found=found,
        verdict=verdict(found) if found else [Sentence("No search lies in this folder, so no point is recommended.")],
        cautions=cautions(found) if found else [],
        overrides=overrides(found.recommended.point) if found else "",
        own=bool(found and found.recommended.point == found.default.point),
        texts_of_recommended=links.link(SEARCH, found.recommended.point) if found else None,
        cards=cards(found) if found else [],
        tradeoffs=plots,
        grid=grid,
        forms=forms,
        formulas={capitalised(words): formula for name, (words, formula) in FORMS.items() if name in tuned.forms},
        sweeps=sweeps,
        grid_failures=failures({"Your grid": tuned.grid} if tuned.grid else {}),
        form_failures=failures(grids),
        sweep_failures=failures({f"Over {name}": one for name, one in tuned.sweeps.items()}),
        fresh=fresh_table(found, links) if found else None,
        trials=trials_table(found, links) if found else None,
        texts=texts(tuned, links),
        method=method(tuned),
        dials=dial_rows(found) if found else [],
        limits=limits(tuned),
        version=metadata.version("steer-text"),
        inline=inline,
        head=head,
        better_is=better_is,
    )
