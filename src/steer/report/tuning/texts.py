"""Texts of every point that was measured, and where on the page they stand."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from steer.report.comparison.compared import head
from steer.report.texts import Text
from steer.report.tuning.files import Examples, Point, Row, Tuned
from steer.report.tuning.words import dial, form, in_full, named, told

SEARCH, GRID = "search", "grid"  # the names of their files
LONGEST = 600  # characters of a text


@dataclass(frozen=True)
class Shown:
    """A point and its texts. about: its scores."""

    anchor: str
    title: str
    about: str
    texts: list[Text]


@dataclass(frozen=True)
class Group:
    """The points of one file."""

    title: str
    points: list[Shown]


class Links:
    """Where the texts of a point stand on the page, by the name of their file."""

    def __init__(self, tuned: Tuned) -> None:
        self._anchors: dict[str, dict[frozenset[tuple[str, float]], str]] = {}
        for name, rows in tuned.examples.items():
            slug = re.sub(r"[^\w.-]", "-", name)
            anchors = self._anchors[name] = {}
            for i, row in enumerate(rows):
                anchors.setdefault(_key(row.point), f"texts-{slug}-{i}")

    def anchor(self, name: str, point: Point) -> str | None:
        return self._anchors.get(name, {}).get(_key(point))

    def link(self, name: str, point: Point) -> str | None:
        anchor = self.anchor(name, point)
        return f"#{anchor}" if anchor else None


def _key(point: Point) -> frozenset[tuple[str, float]]:
    return frozenset(point.items())


def texts(tuned: Tuned, links: Links) -> list[Group]:
    """Each point of a file once, in the order of the page."""
    order = [SEARCH, GRID, *tuned.forms, *tuned.sweeps]
    names = sorted(tuned.examples, key=lambda name: order.index(name) if name in order else len(order))
    return [Group(_title(tuned, name), _points(tuned, links, name)) for name in names if tuned.examples[name]]


def _points(tuned: Tuned, links: Links, name: str) -> list[Shown]:
    rows = {_key(row.point): row for row in _rows(tuned, name)}
    by_anchor: dict[str, Examples] = {}
    for one in tuned.examples[name]:
        by_anchor.setdefault(links.anchor(name, one.point) or "", one)
    # Of another form than the run's own, that of γ 0 and η 0 need not be plain sampling.
    title = in_full if name in tuned.forms else named
    return [
        Shown(anchor, title(one.point), _about(rows.get(_key(one.point))), [_text(text) for text in one.texts])
        for anchor, one in by_anchor.items()
    ]


def _rows(tuned: Tuned, name: str) -> Iterable[Row]:
    """What was measured at the points of a file; of the search what its trials say of a point that is a rival, too."""
    if name == SEARCH:
        return [*tuned.search.rivals, *tuned.search.trials] if tuned.search else []
    grid = {**tuned.forms, **tuned.sweeps, GRID: tuned.grid}.get(name)
    return grid.cells.values() if grid else []


def _about(row: Row | None) -> str:
    if row is None:
        return ""
    scores = [f"{head(name)} {told(name, one)}" for name, one in row.scores.items() if one.known]
    return "; ".join([*([row.state] if row.state != "complete" else []), *scores])


def _text(text: str) -> Text:
    kept = text[:LONGEST]
    return Text([(kept, False)] if kept else [], len(text) - len(kept))


def _title(tuned: Tuned, name: str) -> str:
    if name in tuned.forms:
        return f"γ and η, STEER {form(name)}"
    if name in tuned.sweeps:
        return f"Over {dial(name)}"
    return {SEARCH: "The search, and plain sampling", GRID: "Your grid"}.get(name, name)
