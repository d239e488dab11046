"""Tables of a search: what was confirmed beside plain sampling on the same fresh samples, and all of its trials."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isnan

from steer.report.comparison.tables import counted
from steer.report.readings import Reading, percent
from steer.report.scores import text
from steer.report.tuning.files import Row, Search
from steer.report.tuning.texts import SEARCH, Links
from steer.report.tuning.tradeoff import found_plain, roles
from steer.report.tuning.verdict import equal
from steer.report.tuning.words import called, ends, named, p_value, words

STEERED = "STEER"


@dataclass(frozen=True)
class Value:
    """A score in words. best: of its column, among what is complete. reason: why there is none."""

    value: str
    interval: str = ""
    best: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Gained:
    """By how much it is better than plain sampling; positive is better. sure: by more than chance."""

    value: str
    interval: str = ""
    p: str = ""
    sure: bool = False


@dataclass(frozen=True)
class Line:
    """A point. roles: what it was chosen as. front: its share of resamples on the front. gain: over plain sampling."""

    row: Row
    name: str
    link: str | None
    roles: str
    front: str
    values: list[Value]
    gain: Gained | None = None


@dataclass(frozen=True)
class Table:
    """groups: heading -> lines. scores: its columns, and whether more is better. gained: in what, and over what."""

    scores: dict[str, bool]
    groups: dict[str, list[Line]]
    gained: tuple[str, str] | None = None


def fresh_table(found: Search, links: Links) -> Table:
    """Confirmed points and rivals, each best in its group first."""
    groups = {
        STEERED: found.steered,
        "Plain sampling, found by the search": found_plain(found),
        "Plain sampling over temperature": found.rivals,
    }
    made = _table(found, groups, links)
    if STEERED not in made.groups or not (gains := _gains(found)):
        return made
    lines = [replace(line, gain=gains.get(line.row.number)) for line in made.groups[STEERED]]
    score = called(found.objectives[:2][-1].score)
    over = f"over plain, {equal(found)}" if equal(found) else "over the best plain"
    return replace(made, groups=made.groups | {STEERED: lines}, gained=(f"gain in {score}", over))


def _gains(found: Search) -> dict[int, Gained]:
    """By the number of the steered point."""
    made = {number: Gained("nothing beside it") for number in found.outside}
    for one in found.tested or []:
        gain = Reading(one.gain.value, one.gain.low, one.gain.high)
        if gain.known:
            interval = ends(one.score, gain) if gain.interval else ""
            value = f"{'+' * (gain.value > 0)}{text(one.score, gain.value)}"
            made[one.number] = Gained(value, interval, p_value(one.gain.adjusted), one.number in found.beyond)
    return made


def trials_table(found: Search, links: Links) -> Table:
    """All of the search, in the order in which they finished."""
    return _table(found, {"": found.trials}, links)


def _table(found: Search, groups: dict[str, Sequence[Row]], links: Links) -> Table:
    scores = {goal.score: goal.higher for goal in reversed(found.goals)}
    scores = {name: scores[name] for name in found.scores}
    every = [row for rows in groups.values() for row in rows if row.state == "complete"]
    best = {name: _best(every, name, higher) for name, higher in scores.items()}
    return Table(
        scores,
        {
            heading: [
                Line(
                    row,
                    named(row.point) if not heading else words(row.point),
                    links.link(SEARCH, row.point),
                    roles(found, row.point),
                    "" if isnan(row.front_share) or row.state != "complete" else percent(row.front_share),
                    [_value(row, name, best[name]) for name in scores],
                )
                for row in rows
            ]
            for heading, rows in groups.items()
            if rows
        },
    )


def _best(rows: Sequence[Row], name: str, higher: bool) -> float | None:
    values = [counted(name, row.score(name).value) for row in rows if row.score(name).known]
    return (max if higher else min)(values) if len(set(values)) > 1 else None


def _value(row: Row, name: str, best: float | None) -> Value:
    one = row.score(name)
    if not one.known:
        return Value("none", reason=one.reason or "")
    interval = ends(name, one) if one.interval else ""
    return Value(text(name, one.value), interval, counted(name, one.value) == best and row.state == "complete")
