"""A card for each score that decides: the recommended point on the test split, beside what it has to beat."""

from steer.report.answers import Answer
from steer.report.comparison.verdict import REPLIES, UNITS
from steer.report.kinds import direction, kind
from steer.report.readings import Reading
from steer.report.scores import text
from steer.report.tuning.files import Goal, Search, is_plain
from steer.report.tuning.verdict import OTHERS, other
from steer.report.tuning.words import by, called, capitalised, ends, told

MET = {
    "surely": "met, even at the pessimistic end",
    "by value": "met by the value, not by the interval",
    "no": "missed",
    "unknown": "not measured",
}


def cards(found: Search) -> list[Answer]:
    goals = {goal.score: goal for goal in reversed(found.goals)}
    return [_card(found, goals[name]) for name in found.scores] if found.recommended.point else []


def _card(found: Search, goal: Goal) -> Answer:
    name, mine = goal.score, found.recommended
    question, reading = capitalised(called(name)), mine.test.get(name, Reading(reason="not measured on the test split"))
    if not reading.known:
        return Answer(question, "", REPLIES["unknown"], "none", reason(reading), [], [])
    stages = {"fresh samples": mine.validation, "in the search": mine.search}
    rows = [("95% interval", ends(name, reading))]
    rows += [
        (label.removeprefix("the "), told(name, beside.test[name]))
        for over, label in OTHERS.items()
        if (beside := other(found, over)) and name in beside.test
    ]
    rows += [(label, told(name, scores[name])) for label, scores in stages.items() if name in scores]
    unit = UNITS.get(name) or f"{kind(name).question}; {direction(name, goal.higher)}"
    return Answer(question, "", _reply(found, name), text(name, reading.value), unit, rows, _details(found, name))


def reason(reading: Reading) -> str:
    return reading.reason or "not defined"


def _reply(found: Search, name: str) -> str:
    if is_plain(found.recommended.point):
        return "It is plain sampling"
    gain = found.gains.get(("plain", name))
    return REPLIES[gain.standing if gain else "unknown"]


def _details(found: Search, name: str) -> list[str]:
    gains = {label: found.gains.get((over, name)) for over, label in OTHERS.items()}
    said = [f"Against {label}: {by(name, gain)}." for label, gain in gains.items() if gain]
    asked = [goal for goal in found.constraints if goal.score == name]
    return [*said, *(f"Asked for: {goal}; {MET[goal.met(found.recommended.test)]}." for goal in asked)]
