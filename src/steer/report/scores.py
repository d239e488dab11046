"""The table of scores: each in plain words, with its interval and the two yardsticks drawn on one scale."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan
from typing import Any

from steer.report.charts import Axis
from steer.report.readings import (
    COPIES,
    KINDS,
    LIKENESS,
    OTHER,
    VARIETY,
    Measured,
    Reading,
    Standing,
    kind,
    measured,
    percent,
)

DIRECTIONS = {
    "high": "higher is better",
    "low": "lower is better",
    "half": "0.5 is best: a coin toss",
    "varied": "higher is more varied; best near the real texts",
}


@dataclass(frozen=True)
class Bar:
    """Places in percent of the scale from `left` to `right`; None is not drawn. coin: where a coin toss lies."""

    left: str
    right: str
    value: float
    interval: tuple[float, float] | None
    rival: float | None
    rival_interval: tuple[float, float] | None
    ceiling: float | None
    coin: float | None


@dataclass(frozen=True)
class ScoreRow:
    name: str
    question: str
    seen_by: str | None
    direction: str
    value: str
    interval: str
    reason: str | None
    ceiling: str
    rival: str | None
    against: str
    bar: Bar | None
    signature: list[tuple[str, str]]


def score_groups(metrics: Mapping[str, Any] | None) -> dict[str, list[ScoreRow]]:
    """Group -> rows; empty where nothing was measured."""
    groups: dict[str, list[ScoreRow]] = {name: [] for name in (LIKENESS, VARIETY, COPIES, OTHER)}
    found = sorted((metrics or {}).get("scores", {}).items(), key=lambda item: _place(item[0]))
    for name, row in found:
        groups[kind(name).group].append(_row(measured(metrics, name), row))
    return {name: rows for name, rows in groups.items() if rows}


def _place(name: str) -> tuple[str, int]:
    """First what the first embedder sees, each score in the order of KINDS."""
    plain, _, embedder = name.partition("[")
    return embedder, list(KINDS).index(plain) if plain in KINDS else len(KINDS)


def _row(score: Measured, row: Mapping[str, Any]) -> ScoreRow:
    about, mine, rival = kind(score.name, row.get("higher_is_better", True)), score.mine, score.rival
    share = score.name == "copied_share"
    embedder = score.name.partition("[")[2].rstrip("]")
    return ScoreRow(
        name=score.name,
        question=about.question,
        seen_by=_seen_by(embedder, about.group, row.get("signature", "")),
        direction=DIRECTIONS[about.best],
        value=text(mine.value, share),
        interval=_interval(mine, share),
        reason=mine.reason,
        ceiling=text(mine.ceiling, share),
        rival=None if rival.absent else f"{text(rival.value, share)} {_interval(rival, share)}".strip(),
        against=_against(score.standing, about.best),
        bar=None if isnan(mine.value) else _bar(score),
        signature=[(key, value) for key, _, value in (p.partition(":") for p in row.get("signature", "").split("|"))],
    )


def text(value: float, share: bool = False) -> str:
    return "none" if isnan(value) else percent(value) if share else f"{value:.3f}"


def _interval(reading: Reading, share: bool) -> str:
    return f"({text(reading.low, share)} to {text(reading.high, share)})" if reading.interval else ""


def _seen_by(embedder: str, group: str, signature: str) -> str | None:
    if group != LIKENESS:
        return None
    if embedder:
        return "seen through the domain model itself" if embedder == "domain" else f"seen through {embedder}"
    return "seen by words alone" if "tfidf" in signature else None


def _against(standing: Standing, best: str) -> str:
    if standing == "unknown":
        return ""
    if standing == "overlap":
        return "cannot be told apart from nucleus"
    if best == "varied":
        return f"{'more' if standing == 'above' else 'less'} varied than nucleus"
    return f"{'better' if (standing == 'above') == (best == 'high') else 'worse'} than nucleus"


def _bar(score: Measured) -> Bar:
    mine, rival, best = score.mine, score.rival, kind(score.name).best
    numbers = [mine.value, mine.low, mine.high, mine.ceiling, rival.value, rival.low, rival.high]
    numbers += [0.5] if best == "half" else [0.0] if best == "low" else []
    inside = all(isnan(n) or 0 <= n <= 1 for n in numbers)
    axis = Axis.around(numbers, (0.0, 1.0) if inside else (-math.inf, math.inf))
    share = score.name == "copied_share"

    def place(value: float) -> float | None:
        return None if isnan(value) else axis.percent(value)

    def places(reading: Reading) -> tuple[float, float] | None:
        return (axis.percent(reading.low), axis.percent(reading.high)) if reading.interval else None

    return Bar(
        left=percent(axis.low) if share else axis.label(axis.low),
        right=percent(axis.high) if share else axis.label(axis.high),
        value=axis.percent(mine.value),
        interval=places(mine),
        rival=place(rival.value),
        rival_interval=places(rival),
        ceiling=place(mine.ceiling),
        coin=axis.percent(0.5) if best == "half" else None,
    )
