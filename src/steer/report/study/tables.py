"""The tables of a study's page."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from steer.report.drawing import minus
from steer.report.study.pictures import ranking
from steer.report.study.rows import Row
from steer.report.study.voted import Annotator, Group, Voted
from steer.report.study.words import (
    asks,
    called,
    ends,
    holds_for,
    level,
    logits,
    marked,
    name,
    over,
    plain_p,
    rate,
)

Head = tuple[str, str]  # of a column, and a note below it


@dataclass(frozen=True)
class Cell:
    """note: below the value. wide: words, that may be wrapped."""

    value: str
    note: str = ""
    wide: bool = False
    bold: bool = False


@dataclass(frozen=True)
class Line:
    name: str
    note: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Part:
    """Lines below a heading."""

    heading: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Table:
    """label: for who cannot see it. first: the head of the column of names."""

    label: str
    first: str
    heads: Sequence[Head]
    parts: Sequence[Part]

    @property
    def lines(self) -> int:
        return sum(len(part.lines) for part in self.parts)


def votes_table(found: Voted, groups: Sequence[Group], label: str) -> Table:
    heads = [
        ("win rate", f"{level(found)} interval"),
        ("p", "adjusted"),
        ("votes", ""),
        ("won, tied, lost", ""),
        ("undecided", "left out"),
        ("holds for other", ""),
        ("annotators", ""),
        ("pairs", ""),
        ("design effect", ""),
        ("naive interval", "Wilson"),
        ("naive p", "z-test"),
        ("naive p", "sign test"),
        ("longer text", "preferred"),
    ]
    parts = [Part(asks(found, one.name), _votes(found, one.name, groups)) for one in found.questions]
    return Table(label, _first(found), heads, [part for part in parts if part.lines])


def _first(found: Voted) -> str:
    """The head of the names: of one comparison the lines are groups."""
    if len(found.comparisons) == 1:
        return over(found.comparisons[0])
    return f"over {name(found.rival)}" if found.rival else "comparison"


def _names(found: Voted, row: Row) -> tuple[str, str]:
    """Of a line, and the note below it."""
    group = called(found, row.group)
    if len(found.comparisons) == 1:
        return group, ""
    return (name(row.a) if found.rival else over(row.sets)), group


def _votes(found: Voted, question: str, groups: Sequence[Group]) -> list[Line]:
    rows = [row for group in groups for row in found.of(question, group.name)]
    return [Line(*_names(found, row), _cells(row)) for row in rows]


def _cells(row: Row) -> list[Cell]:
    mark = marked(row)
    return [
        Cell(f"{rate(row.rate.value)}{mark}", ends(row.rate), bold=bool(mark)),
        Cell(plain_p(row.p), plain_p(row.adjusted)),
        Cell(f"{row.votes:,}"),
        Cell(f"{row.wins:,}, {row.ties:,}, {row.losses:,}"),
        Cell(f"{row.undecided:,}"),
        Cell(holds_for(row)),
        Cell(f"{row.annotators:,}"),
        Cell(f"{row.pairs:,}"),
        Cell(_two(row.design_effect)),
        Cell(ends(row.naive)),
        Cell(plain_p(row.z_p)),
        Cell(plain_p(row.binomial_p)),
        Cell(rate(row.longer)),
    ]


def strengths_table(found: Voted) -> Table | None:
    """Sets below each other, groups beside each other."""
    groups = [one for one in found.ordered if any(r.group == one.name and r.sets for r in found.rankings)]
    if not groups:
        return None
    parts = []
    for question in found.questions:
        by = {group.name: ranking(found, question.name, group.name) for group in groups}
        of = {group: {one.set: one for one in made.sets} if made else {} for group, made in by.items()}
        names = dict.fromkeys(one for made in of.values() for one in made)
        lines = []
        for one in names:
            cells = []
            for group in groups:
                ranked = of[group.name].get(one)
                strength = ranked.strength if ranked else None
                between = f"{logits(strength.low)} to {logits(strength.high)}" if strength and strength.ends else ""
                cells.append(Cell(f"{ranked.rank}. {logits(ranked.strength.value)}" if ranked else "none", between))
            lines.append(Line(name(one), "", cells))
        parts.append(Part(asks(found, question.name), lines))
    heads = [(called(found, group), "rank, strength") for group in groups]
    return Table("Strengths of the sets", "set", heads, [part for part in parts if part.lines])


def agreement_table(found: Voted) -> Table | None:
    """Of people: a judge answers but once."""
    names = ("alpha", "kappa", "raw")
    judges = {group.name for group in found.judging}
    undefined = any(
        not of.known for row in found.rows if row.group not in judges and row.votes for of in row.agreement.values()
    )
    parts = []
    for question in found.questions:
        lines = []
        for row in (row for group in found.ordered if not group.judges for row in found.of(question.name, group.name)):
            of = [row.agreement[one] for one in names if one in row.agreement]
            if len(of) < len(names):
                continue
            reasons = "; ".join(dict.fromkeys(one.reason for one in of if one.reason and not one.known))
            cells = [Cell(_two(of[0].value)), Cell(_two(of[1].value)), Cell(rate(of[2].value))]
            cells += [Cell(reasons, wide=True)] * undefined
            lines.append(Line(*_names(found, row), cells))
        parts.append(Part(asks(found, question.name), lines))
    heads = [("α", "Krippendorff"), ("κ", "Fleiss"), ("same answer", "of two people")]
    heads += [("why there is none", "")] * undefined
    made = Table("Agreement", _first(found), heads, [part for part in parts if part.lines])
    return made if made.parts else None


def beside_table(found: Voted) -> Table | None:
    parts = []
    for question in found.questions:
        lines = [
            Line(
                called(found, one.group),
                "",
                [Cell(rate(one.agrees)), Cell(f"{one.pairs:,}"), Cell(rate(one.one_person))],
            )
            for one in found.beside
            if one.question == question.name
        ]
        parts.append(Part(asks(found, question.name), lines))
    heads = [("agrees with most people", "share of pairs"), ("pairs", "with a majority"), ("one person does", "")]
    made = Table("Judges beside people", "judge", heads, [part for part in parts if part.lines])
    return made if made.parts else None


def judges_table(found: Voted) -> Table | None:
    columns = {
        "answers": ("answers", ""),
        "consistency": ("both orders agree", "share of pairs"),
        "share_first": ("first text chosen", "50%: no bias"),
        "bias_first": ("first both times", "of disagreements"),
        "undecided": ("undecided", "could not be read"),
        "tokens": ("tokens", ""),
        "cost": ("cost", ""),
    }
    known = [key for key in columns if any(not isnan(getattr(one, key)) for one in found.judges)]
    shares = ("consistency", "share_first", "bias_first")
    lines = [
        Line(name(one.name), "", [Cell((rate if key in shares else _count)(getattr(one, key))) for key in known])
        for one in found.judges
    ]
    return Table("Judges", "judge", [columns[key] for key in known], [Part("", lines)]) if lines else None


def people_asked(found: Voted) -> list[Annotator]:
    judges = {group.name for group in found.judging} | {one.name for one in found.judges}
    return [one for one in found.annotators if one.group not in judges]


def annotators_table(found: Voted) -> Table | None:
    lines = []
    for one in people_asked(found):
        out = "left out" if one.annotator in found.left_out else ""
        seconds = "none" if isnan(one.seconds) else f"{one.seconds:.0f}"
        cells = [
            Cell(name(one.group), wide=True),
            Cell(f"{one.answers:,}"),
            Cell(seconds),
            Cell(rate(one.gold), f"of {one.gold_answers}" if one.gold_answers else ""),
            Cell(rate(one.consistent), f"of {one.repeats}" if one.repeats else ""),
            Cell(rate(one.first)),
        ]
        lines.append(Line(name(one.annotator), out, cells))
    heads = [
        ("group", ""),
        ("answers", ""),
        ("seconds", "median"),
        ("gold pairs right", ""),
        ("same answer again", "of repeated pairs"),
        ("first text chosen", "50%: no bias"),
    ]
    return Table("Annotators", "annotator", heads, [Part("", lines)]) if lines else None


def sets_table(found: Voted) -> Table | None:
    dials = any(one.gamma is not None or one.eta is not None for one in found.sets)
    lines = [
        Line(
            name(one.name),
            "",
            [
                Cell(f"{one.texts:,}"),
                *([Cell(_dial(one.gamma)), Cell(_dial(one.eta))] if dials else []),
                Cell(one.source, wide=True),
            ],
        )
        for one in found.sets
    ]
    heads = [("texts", ""), *([("γ", ""), ("η", "")] if dials else []), ("file", "")]
    return Table("The sets", "set", heads, [Part("", lines)]) if lines else None


def _dial(value: float | None) -> str:
    return "" if value is None else minus(f"{value:g}")


def _two(value: float) -> str:
    return "none" if isnan(value) else minus(f"{value + 0.0:.2f}")


def _count(value: float) -> str:
    return "none" if isnan(value) else f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"
