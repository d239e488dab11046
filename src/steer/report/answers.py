"""A question of the verdict, answered: in a sentence, and on a card with the number and its yardsticks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from steer.report.judged import INSTEAD, NUCLEUS, called
from steer.report.readings import Measured, Reading


@dataclass(frozen=True)
class Answer:
    """sentence: all of it in one. reply: in a few words. number, unit: what decided it. yardsticks: what else was
    measured in the same way. details: what follows. alarm: it must not be overlooked."""

    question: str
    sentence: str
    reply: str
    number: str
    unit: str
    yardsticks: list[tuple[str, str]]
    details: list[str]
    alarm: bool = False


def unanswered(question: str, sentence: str, reason: str) -> Answer:
    return Answer(question, sentence, "It cannot be said", "none", reason, [], [])


def yardsticks(score: Measured, form: Callable[[float], str]) -> list[tuple[str, str]]:
    mine = score.mine
    rows = [("95% interval", range_of(mine, form))]
    if not isnan(mine.ceiling):
        rows.append((INSTEAD, form(mine.ceiling)))
    known = {rival: reading for rival, reading in score.rivals.items() if reading.known}
    return rows + [
        ("nucleus sampling" if rival == NUCLEUS else rival, f"{form(reading.value)} ({range_of(reading, form)})")
        for rival, reading in known.items()
    ]


def range_of(reading: Reading, form: Callable[[float], str]) -> str:
    return f"{form(reading.low)} to {form(reading.high)}" if reading.interval else "no interval"


def compared(score: Measured, left_out: Sequence[str], more: str = "better", less: str = "worse") -> str:
    """How the value stands to those of the rivals, as a predicate; "" where nothing is known.

    more, less: what a higher and a lower value is called. left_out: rivals that are not held against them.
    """
    rivals = [rival for rival in score.rivals if rival not in left_out]
    by = {side: [rival for rival in rivals if score.standing(rival) == side] for side in ("above", "below", "overlap")}
    words = {"above": f"is {more} than", "below": f"is {less} than", "overlap": "cannot be told apart from"}
    said = [f"{words[side]} {_listed(names, len(rivals))}" for side, names in by.items() if names]
    return joined(said)


def _listed(names: Sequence[str], of: int) -> str:
    return joined([called(name) for name in names]) if of <= 3 else f"{len(names)} of {of} rivals"


def joined(parts: Sequence[str], last: str = "and") -> str:
    """a, b and c"""
    return f" {last} ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))
