"""The table of scores: each in plain words, with its interval, the yardsticks and the rivals drawn on one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from steer.report.axis import Axis
from steer.report.drawing import Shape, cut, mark, minus
from steer.report.judged import Judged
from steer.report.kinds import FIRST, GROUPS, direction, kind, rank
from steer.report.leaks import leaking_rivals, leaks
from steer.report.readings import Measured, Reading, measured, percent


@dataclass(frozen=True)
class Drawn:
    """A set on the bar: its mark and colour, how far down, and places in percent of the scale, None where unknown."""

    mark: Shape
    down: int
    value: float | None
    interval: tuple[float, float] | None

    @property
    def colour(self) -> str:
        return self.mark.kind.split()[-1]


@dataclass(frozen=True)
class Bar:
    """Places in percent of the scale from `left` to `right`; None is not drawn. coin: where a coin toss lies."""

    left: str
    right: str
    height: int
    sets: list[Drawn]
    ceiling: float | None
    coin: float | None


@dataclass(frozen=True)
class RivalRow:
    name: str
    mark: Shape
    value: str
    interval: str
    against: str


@dataclass(frozen=True)
class ScoreRow:
    name: str
    question: str
    seen_by: str
    direction: str
    caution: str
    mark: Shape
    value: str
    interval: str
    p: str
    reason: str | None
    ceiling: str
    rivals: list[RivalRow]
    bar: Bar | None
    signature: list[tuple[str, str]]


@dataclass(frozen=True)
class Group:
    """The scores of a question: those to see first, and the rest."""

    question: str
    about: str
    first: list[ScoreRow]
    rest: list[ScoreRow]


@dataclass(frozen=True)
class LabelTable:
    """The first scores of the texts of each label: (label, its (value, interval, that of real texts) by score)."""

    names: list[str]
    rows: list[tuple[str, list[tuple[str, str, str]]]]
    left_out: int


LABELS, LONGEST_LABEL = 40, 80  # rows of the table of labels, and characters of each


def places(rivals: Sequence[str]) -> dict[str, int]:
    """By set, the number that decides its colour and form wherever it is drawn. Black is for real against real."""
    return {"synthetic": 0, "real": 1, **{rival: 2 + i for i, rival in enumerate(rivals)}}


def score_groups(judged: Judged) -> list[Group]:
    """Empty where nothing was measured."""
    found = (judged.metrics or {}).get("scores", {})
    leaking = {*leaking_rivals(judged), *(judged.rivals if leaks(judged.metrics, judged) else ())}
    rows = {
        name: _row(measured(judged.metrics, name), found[name], judged, leaking) for name in sorted(found, key=rank)
    }
    groups = []
    for question, about in GROUPS.items():
        names = [name for name in rows if kind(name).group == question]
        first = [name for name in names if is_first(name)] or names
        rest = [name for name in names if name not in first]
        if names:
            groups.append(Group(question, about, [rows[name] for name in first], [rows[name] for name in rest]))
    return groups


def is_first(name: str) -> bool:
    """Of further embedders only the classifier, which the verdict listens to."""
    plain, _, embedder = name.partition("[")
    return plain in FIRST and (not embedder or plain == FIRST[0])


def label_table(judged: Judged) -> LabelTable | None:
    found = (judged.metrics or {}).get("labels", {})
    names = [name for name in FIRST if any(name in of["scores"] for of in found.values())]
    if not names:
        return None
    rows = [
        (cut(label, LONGEST_LABEL), [_cell(name, Reading.of(of["scores"].get(name))) for name in names])
        for label, of in list(found.items())[:LABELS]
    ]
    return LabelTable(names, rows, max(0, len(found) - LABELS))


def _cell(name: str, reading: Reading) -> tuple[str, str, str]:
    return text(name, reading.value), _interval(name, reading), text(name, reading.ceiling)


def _row(score: Measured, row: Mapping[str, Any], judged: Judged, leaking: set[str]) -> ScoreRow:
    higher, mine = row.get("higher_is_better", True), score.mine
    about, looks = kind(score.name, higher), places(judged.rivals)
    signature = [(key, value) for key, _, value in (p.partition(":") for p in row.get("signature", "").split("|"))]
    return ScoreRow(
        name=score.name,
        question=about.asks(judged.source),
        seen_by=_seen_by(score.embedder, dict(signature).get("embedder", "")),
        direction=direction(score.name, higher),
        caution=about.caution,
        mark=mark(0, 0, 0),
        value=text(score.name, mine.value),
        interval=_interval(score.name, mine),
        p="" if isnan(mine.p) else f"p {mine.p:.3f}" if mine.p >= 0.001 else "p below 0.001",
        reason=mine.reason,
        ceiling=text(score.name, mine.ceiling),
        rivals=[
            RivalRow(
                rival,
                mark(looks[rival], 0, 0),
                text(score.name, reading.value),
                _interval(score.name, reading),
                _against(score, rival, higher, rival in leaking),
            )
            for rival, reading in score.rivals.items()
            if not reading.absent
        ],
        bar=None if isnan(mine.value) else _bar(score, looks),
        signature=signature,
    )


def text(name: str, value: float) -> str:
    if isnan(value):
        return "none"
    if name.partition("[")[0] == "copied_share":
        return percent(value)
    return minus(f"{round(value, 3) + 0.0:.3f}" if abs(value) < 10 else f"{value:.4g}")


def _interval(name: str, reading: Reading) -> str:
    return f"({text(name, reading.low)} to {text(name, reading.high)})" if reading.interval else ""


def _seen_by(embedder: str, signature: str) -> str:
    if embedder:
        return "seen through the fine-tuned model itself" if embedder == "domain" else f"seen through {embedder}"
    return "seen by words alone" if "tfidf" in signature else ""


def _against(score: Measured, rival: str, higher_is_better: bool, leaking: bool) -> str:
    """leaking: one of the two leaks, and of leaks nothing is better."""
    standing, best = score.standing(rival), kind(score.name, higher_is_better).best
    if standing in ("unknown", "overlap"):
        return {"unknown": "", "overlap": "cannot be told apart"}[standing]
    above = standing == "above"
    if best == "varied":
        return f"synthetic is {'more' if above == higher_is_better else 'less'} varied"
    if leaking and kind(score.name).group != "Not copied?":
        return f"synthetic is {'higher' if above else 'lower'}"
    return f"synthetic is {'better' if above == (best == 'high') else 'worse'}"


def _bar(score: Measured, looks: Mapping[str, int]) -> Bar:
    mine, best = score.mine, kind(score.name).best
    rivals = [(looks[rival], reading) for rival, reading in score.rivals.items() if not reading.absent]
    numbers = [n for r in (mine, *(reading for _, reading in rivals)) for n in (r.value, r.low, r.high)]
    axis = Axis.around([*numbers, mine.ceiling, *{"half": [0.5], "low": [0.0]}.get(best, [])])
    share = score.name.partition("[")[0] == "copied_share"

    def drawn(i: int, down: int, reading: Reading) -> Drawn:
        ends = (axis.percent(reading.low), axis.percent(reading.high)) if reading.interval else None
        return Drawn(mark(i, 0, 0), down, axis.percent(reading.value) if reading.known else None, ends)

    return Bar(
        left=percent(axis.low) if share else minus(axis.label(axis.low)),
        right=percent(axis.high) if share else minus(axis.label(axis.high)),
        height=18 + 18 * (1 + len(rivals)) - 4,
        sets=[drawn(i, 14 + 18 * k, reading) for k, (i, reading) in enumerate([(0, mine), *rivals])],
        ceiling=None if isnan(mine.ceiling) else axis.percent(mine.ceiling),
        coin=axis.percent(0.5) if best == "half" else None,
    )
