"""The verdict of a study: for each question who preferred what, by how much and how surely, and where people and judges
differ.

Only what is beyond chance counts: a one-sided p below .025, corrected over the comparisons of a question and group. The
test is made both ways, so that a set which is preferred less is told as plainly as one which is preferred; the two
together raise a false alarm in .05 of cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from steer.report.answers import joined
from steer.report.comparison.verdict import Sentence
from steer.report.study.rows import Row, Standing
from steer.report.study.voted import Group, Voted
from steer.report.study.words import NOBODY, asks, called, logits, name, only_for, over, p_of, told
from steer.report.tuning.words import capitalised

FEW, JUDGES = 3, 3  # names, and judges, that a sentence has room for

Paragraph = list[Sentence]
# How a judge answers beside people.
Relation = Literal["same", "opposite", "people alone", "judge alone", "neither", "unknown"]


@dataclass(frozen=True)
class Who:
    """As the subject of a sentence; `many` of them."""

    words: str
    many: bool = False

    @property
    def prefer(self) -> str:
        return f"{self.words} prefer{'' if self.many else 's'}"


def who(found: Voted, group: Group) -> Who:
    if group.judges:
        return Who(f"the judge {name(group.name)}")
    if group is not found.lead:
        return Who(f"the group “{name(group.name)}”")
    return Who("the one person asked") if group.annotators == 1 else Who("people", many=True)


def verdict(found: Voted) -> list[Paragraph]:
    """A paragraph for each question."""
    lead = found.lead
    if lead is None:
        return [[Sentence("There are no votes that count, so nothing can be said.")]]
    said: list[Paragraph] = []
    if lead.judges:
        said.append([Sentence("No person has been asked. What follows is what language models say.")])
    for question in found.questions:
        first, *more = answer(found, question.name, lead)
        said.append([Sentence(f"{asks(found, question.name)} {first.words}", first.numbers), *more])
    return said


def answer(found: Voted, question: str, lead: Group) -> Paragraph:
    rows = found.of(question, lead.name)
    several = len(found.comparisons) > 1
    first = _many(found, rows, who(found, lead)) if several else one(rows[0], who(found, lead)) if rows else _none()
    others = [group for group in found.judging if group is not lead]
    beside = of_many if several else of_judge
    said = [beside(found, rows, found.of(question, group.name), group) for group in others[:JUDGES]]
    more = len(others) - JUDGES
    rest = [Sentence(f"Of {more} more judges the tables tell.")] if more > 0 else []
    more_of_people = _in_order(found, question, lead) if several else _groups(found, rows, question)
    return [first, *more_of_people, *filter(None, said), *rest]


def _none() -> Sentence:
    return Sentence(f"Nothing can be said: {NOBODY}.")


# -- one comparison --------------------------------------------------------------------------------------------------


def one(row: Row, subject: Who) -> Sentence:
    a, b = name(row.a), name(row.b)
    numbers = f"{told(row.rate)} of {row.votes:,} votes go to {a}, {p_of(row)}."
    if row.standing == "unknown":
        if not row.rate.known:
            return _none()
        numbers = f"{told(row.rate)} of {row.votes:,} vote{'s' * (row.votes != 1)} for {a}."
        return Sentence("One annotator and one pair tell nothing of others", numbers)
    if row.standing == "alike":
        return Sentence(f"It cannot be told whether {subject.prefer} {a} or {b}", numbers)
    better, worse = (a, b) if row.standing == "more" else (b, a)
    return Sentence(f"{capitalised(subject.prefer)} {better} to {worse}", numbers)


def _groups(found: Voted, rows: Sequence[Row], question: str) -> Paragraph:
    """Where groups of people differ: by their intervals, or by what each prefers."""
    parts = [row for group in found.parts for row in found.of(question, group.name)]
    apart = any(one.rate.apart(other.rate) for one in parts for other in parts)
    opposed = {"more", "less"} <= {row.standing for row in parts}
    if not rows or not (apart or opposed):
        return []
    numbers = [f"{called(found, row.group)} {told(row.rate)}" for row in parts]
    return [Sentence("The groups of people differ beyond chance", f"{joined(numbers)}.")]


def relation(people: Row, judge: Row) -> Relation:
    decided: tuple[Standing, Standing] = ("more", "less")
    if "unknown" in (people.standing, judge.standing):
        return "unknown"
    if people.standing in decided and judge.standing in decided:
        return "same" if people.standing == judge.standing else "opposite"
    if people.standing in decided:
        return "people alone"
    return "judge alone" if judge.standing in decided else "neither"


def of_judge(found: Voted, people: Sequence[Row], judge: Sequence[Row], group: Group) -> Sentence | None:
    """How it answers beside those who are spoken of first; None without them."""
    if not people or not judge:
        return None
    row, theirs = judge[0], people[0]
    subject = who(found, group).words
    better, worse = (name(row.a), name(row.b)) if row.rate.value > 0.5 else (name(row.b), name(row.a))
    crowd = "people" if not (found.lead and found.lead.judges) else "the first judge"
    apart = f", and differs from {crowd} beyond chance" if row.rate.apart(theirs.rate) else ""
    stronger = abs(row.rate.value - 0.5) > abs(theirs.rate.value - 0.5)
    degree = f", {'more' if stronger else 'less'} strongly" * bool(apart)
    words = {
        "same": f"{capitalised(subject)} agrees{degree}",
        "opposite": f"{capitalised(crowd)} and {subject} disagree, as it prefers {better} to {worse}",
        "people alone": f"Of {subject} no such preference can be told{apart}",
        "judge alone": f"{capitalised(subject)} prefers {better} to {worse}, which the votes of {crowd} do not show",
        "neither": f"Nor can it be told of {subject}{apart}",
        "unknown": "" if row.rate.known else f"{capitalised(subject)} gave no answer that counts",
    }[relation(theirs, row)]
    return Sentence(words, f"{told(row.rate)}." if row.rate.known else "") if words else None


# -- several comparisons ---------------------------------------------------------------------------------------------


def tally(rows: Sequence[Row]) -> dict[Standing, list[Row]]:
    kinds: tuple[Standing, ...] = ("more", "less", "alike", "unknown")
    return {kind: [row for row in rows if row.standing == kind] for kind in kinds}


def extremes(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The comparisons with the highest and the lowest rate."""
    known = sorted((row for row in rows if row.rate.known), key=lambda row: row.rate.value)
    return (known[-1], known[0]) if known else None


def _many(found: Voted, rows: Sequence[Row], subject: Who) -> Sentence:
    ends = extremes(rows)
    if ends is None:
        return _none()
    if not found.rival:
        return _each_against_each(rows, subject, ends[0])
    by = tally(rows)
    end, row = ("lowest", ends[1]) if by["less"] and not by["more"] else ("highest", ends[0])
    numbers = f"the {end} rate is that of {name(row.a)}, {told(row.rate)}, {p_of(row)}."
    return Sentence(_against_one(found, rows, subject), numbers)


def _against_one(found: Voted, rows: Sequence[Row], subject: Who) -> str:
    by, rival, total = tally(rows), name(found.rival or ""), len(rows)
    more, less, alike, unknown = (by[kind] for kind in ("more", "less", "alike", "unknown"))
    said = []
    if more:
        said.append(f"{subject.prefer} {_of(more, total, 'sets')} to {rival}")
    if less:
        said.append(f"{'they' if more and subject.many else subject.words} {_prefer(subject)} {rival} to {_few(less)}")
    if not said:
        return f"Of none of {total} sets can it be told whether {subject.prefer} it or {rival}"
    if alike:
        said.append(f"of {len(alike)} it cannot be told")
    if unknown:
        said.append(f"of {len(unknown)} nothing is known")
    return capitalised("; ".join(said))


def _prefer(subject: Who) -> str:
    return "prefer" if subject.many else "prefers"


def _of(rows: Sequence[Row], total: int, what: str) -> str:
    names = f" ({joined([name(row.a) for row in rows])})" if len(rows) <= FEW else ""
    return f"{'all' if len(rows) == total else len(rows)} {'' if len(rows) == total else 'of '}{total} {what}{names}"


def _few(rows: Sequence[Row]) -> str:
    return joined([name(row.a) for row in rows]) if len(rows) <= FEW else f"{len(rows)} of them"


def _each_against_each(rows: Sequence[Row], subject: Who, highest: Row) -> Sentence:
    known = sorted(rows, key=lambda row: -abs(row.rate.value - 0.5) if row.rate.known else 0.0)
    clear = [row for row in known if row.standing in ("more", "less")]
    if not clear:
        words = f"Of none of {len(rows)} pairs of sets can it be told which {subject.prefer}"
        return Sentence(words, f"the highest rate is that of {over(highest.sets)}, {told(highest.rate)}.")
    pairs = [(row.a, row.b) if row.standing == "more" else (row.b, row.a) for row in clear[:FEW]]
    listed = joined([f"{name(better)} to {name(worse)}" for better, worse in pairs])
    most = "most clearly " if len(clear) > FEW else ""
    words = f"{capitalised(subject.prefer)} {most}{listed}; {len(clear)} of {len(rows)} pairs of sets can be told apart"
    rates = joined([f"{told(row.rate)} of votes go to {name(row.a)} over {name(row.b)}" for row in clear[:FEW]])
    return Sentence(words, f"{rates}.")


def _in_order(found: Voted, question: str, group: Group) -> Paragraph:
    """The ends of the order of all sets, where each is held against each."""
    ranking = next((one.sets for one in found.rankings if (one.question, one.group) == (question, group.name)), ())
    if found.rival or len(ranking) < FEW:
        return []
    first, last = ranking[0], ranking[-1]
    strengths = [logits(one.strength.value) for one in (first, last)]
    words = f"Over all comparisons together {name(first.set)} comes first and {name(last.set)} last"
    words += "" if first.strength.apart(last.strength) else ", though their intervals overlap"
    return [Sentence(words, f"strengths of {joined(strengths)} logits.")]


def of_many(found: Voted, people: Sequence[Row], judge: Sequence[Row], group: Group) -> Sentence | None:
    mine = {row.sets: row for row in judge}
    both = [(row, mine[row.sets]) for row in people if row.sets in mine and mine[row.sets].rate.known]
    if not people or not both:
        return None
    relations = [relation(row, other) for row, other in both]
    opposed = [row for (row, _), one in zip(both, relations, strict=True) if one == "opposite"]
    alike = sum(one in ("same", "neither") for one in relations)
    subject = who(found, group).words
    words = f"{capitalised(subject)} comes to the same in {alike} of {len(both)} comparisons, and to the opposite in "
    listed = joined([f"{name(row.a)} over {name(row.b)}" for row in opposed])
    return Sentence(words + (f"{len(opposed)}" if opposed else "none"), f"{listed}." if 0 < len(opposed) <= FEW else "")


def cautions(found: Voted) -> list[str]:
    """What must be known to read the verdict rightly, below it."""
    lead = found.lead
    if lead is None:
        return []
    rows = [row for question in found.questions for row in found.of(question.name, lead.name)]
    said = list(dict.fromkeys(filter(None, (only_for(row, lead.judges) for row in rows))))
    narrow = [row for row in rows if row.standing in ("more", "less") and row.rate.low <= 0.5 <= row.rate.high]
    if narrow:
        said.append(
            "Where an interval reaches 50% and a preference is told all the same, the test has just found it: read it "
            "as a hint."
        )
    if len(found.comparisons) > 1:
        said.append(
            f"The highest of {len(found.comparisons)} rates is picked by the very votes it is made of, which flatters "
            "it: ask again before relying on it."
        )
    return said
