"""How sets, groups, rates and intervals are called on the page of a study."""

from math import isnan

from steer.report.drawing import cut, minus
from steer.report.readings import hundred
from steer.report.study.rows import Interval, Row, Sets
from steer.report.study.voted import PEOPLE, Group, Voted
from steer.report.tuning.words import p_value

LONGEST, ASKED = 60, 160  # characters of a name and of a question within a sentence
NOBODY = "nobody voted on it"


def name(text: str, most: int = LONGEST) -> str:
    """On one line."""
    return cut(" ".join(text.split()) or "(no name)", most)


def asks(found: Voted, question: str) -> str:
    return name(next((one.asks for one in found.questions if one.name == question), question), ASKED)


def over(sets: Sets) -> str:
    return f"{name(sets[0])} over {name(sets[1])}"


def called(found: Voted, group: Group | str, most: int = LONGEST) -> str:
    """In tables and figures."""
    text = group if isinstance(group, str) else group.name
    judge = any(one.name == text and one.judges for one in found.groups)
    everyone = text == PEOPLE and not judge and bool(found.parts)
    return "all people" if everyone else f"{name(text, most)}{' (judge)' * judge}"


def rate(value: float) -> str:
    return "none" if isnan(value) else f"{hundred(value)}%"


def ends(of: Interval) -> str:
    return f"{rate(of.low)} to {rate(of.high)}" if of.ends else "no interval"


def told(of: Interval) -> str:
    """ "64% (57% to 70%)"."""
    return f"{rate(of.value)} ({ends(of)})" if of.known else "none"


def marked(row: Row) -> str:
    """Stars where the first set is preferred, as in the paper; a triangle where it is preferred less."""
    return row.stars or "▼" * row.down


def p_of(row: Row) -> str:
    said = p_value(row.shown_p)
    whose = f" for {name(row.b)}" if row.rate.value < 0.5 else ""
    return said if isnan(row.shown_p) else f"adjusted {said}{whose}"


def plain_p(p: float) -> str:
    return "none" if isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def logits(value: float) -> str:
    return minus(f"{value + 0.0:.2f}")


def level(found: Voted) -> str:
    return f"{100 * found.level:g}%"


def holds_for(row: Row) -> str:
    """Whom the interval holds for, in a table."""
    return ", ".join({"items": "pairs"}.get(one, one) for one in row.holds_for) or "nobody"


def only_for(row: Row, judge: bool) -> str:
    """A sentence where the interval holds for less than other annotators and other pairs; of a judge, which is the
    only one of its kind, where it does not hold for other pairs."""
    if not row.rate.known or set(row.holds_for) >= ({"items"} if judge else {"items", "annotators"}):
        return ""
    if not row.holds_for:
        return "One annotator and one pair leave no interval: this says nothing of others."
    if "items" in row.holds_for:
        return "The interval holds for other pairs only: one annotator says nothing of other annotators."
    return "The interval holds for other annotators only: one pair says nothing of other pairs."
