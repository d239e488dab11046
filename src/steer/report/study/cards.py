"""A card for each question: who is preferred, the number that decided it, and what else was counted."""

from collections.abc import Mapping, Sequence

from steer.report.answers import Answer
from steer.report.study.rows import Row, Standing
from steer.report.study.verdict import answer, extremes, of_many, tally
from steer.report.study.voted import Question, Voted
from steer.report.study.words import NOBODY, asks, called, level, name, only_for, plain_p, told
from steer.report.study.words import rate as percent

ROOM = 28  # characters of a name on a card
ENDS = ("highest", "lowest")


def cards(found: Voted) -> list[Answer]:
    if found.lead is None:
        return []
    of = _many if len(found.comparisons) > 1 else _one
    return [of(found, question, found.of(question.name, found.lead.name)) for question in found.questions]


def _none(found: Voted, question: Question) -> Answer:
    return Answer(asks(found, question.name), "", "It cannot be said", "none", NOBODY, [], [])


def _one(found: Voted, question: Question, rows: Sequence[Row]) -> Answer:
    if not rows or not rows[0].rate.known or found.lead is None:
        return _none(found, question)
    (row, *_), lead = rows, found.lead
    a, b = name(row.a), name(row.b)
    reply = {"more": f"{a} is preferred", "less": f"{b} is preferred"}.get(row.standing, "It cannot be told")
    rest = [group for group in found.groups if group is not lead]
    others = [(group, found.row(question.name, group.name, row.sets)) for group in rest]
    yardsticks = [(f"{level(found)} interval", told(row.rate).partition("(")[2].rstrip(")"))]
    yardsticks += [("p, adjusted", plain_p(row.shown_p))]
    yardsticks += [(called(found, group, ROOM), told(other.rate)) for group, other in others if other]
    said = [f"{one.words}: {one.numbers}" if one.numbers else one.words for one in answer(found, question.name, lead)]
    details = [words if words.endswith(".") else f"{words}." for words in said[1:]]
    details += filter(None, [only_for(row, lead.judges)])
    unit = f"of {row.votes:,} votes go to {a}, ties counting half"
    return Answer(asks(found, question.name), "", reply, percent(row.rate.value), unit, yardsticks, details)


def _many(found: Voted, question: Question, rows: Sequence[Row]) -> Answer:
    ends, lead = extremes(rows), found.lead
    if ends is None or lead is None:
        return _none(found, question)
    by = tally(rows)
    decided = len(by["more"]) + (0 if found.rival else len(by["less"]))
    unit = f"sets are preferred to {name(found.rival)}" if found.rival else "pairs of sets can be told apart"
    yardsticks = [("preferred less", f"{len(by['less'])}")] if found.rival else []
    yardsticks.append(("cannot be told", f"{len(by['alike'])}"))
    yardsticks += [("nobody voted on", f"{len(by['unknown'])}")] if by["unknown"] else []
    yardsticks += [(words, f"{told(row.rate)}: {_named(found, row)}") for words, row in zip(ENDS, ends, strict=True)]
    judges = [group for group in found.judging if group is not lead]
    beside = [of_many(found, rows, found.of(question.name, group.name), group) for group in judges]
    details = [f"{one.words}: {one.numbers}" if one.numbers else f"{one.words}." for one in beside if one]
    return Answer(
        asks(found, question.name), "", _reply(found, by), f"{decided} of {len(rows)}", unit, yardsticks, details
    )


def _reply(found: Voted, by: Mapping[Standing, Sequence[Row]]) -> str:
    more, less = bool(by["more"]), bool(by["less"])
    if not (more or less):
        return "It cannot be told"
    if not found.rival:
        return "Some are preferred"
    return "Some are preferred, some less" if more and less else f"Some are preferred{' less' * less}"


def _named(found: Voted, row: Row) -> str:
    return name(row.a, ROOM) if found.rival else f"{name(row.a, ROOM)} over {name(row.b, ROOM)}"
