"""What a study left in its folder: the votes, scored, and how it was planned, read once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from steer.records import read_json
from steer.report.study.rows import Interval, Row, Sets, number

SCORES, PLAN = "scores.json", "study.json"
PEOPLE = "all people"  # the group of all of them together, where there are several groups


@dataclass(frozen=True)
class Group:
    """Who is scored together: people, or one judge."""

    name: str
    judges: bool
    annotators: int = 0
    votes: int = 0


@dataclass(frozen=True)
class Question:
    name: str
    asks: str


@dataclass(frozen=True)
class TextSet:
    name: str
    source: str = ""
    texts: int = 0
    gamma: float | None = None
    eta: float | None = None


@dataclass(frozen=True)
class Ranked:
    set: str
    rank: int
    strength: Interval


@dataclass(frozen=True)
class Ranking:
    """Strengths of all sets, in logits; none where the votes do not join them."""

    question: str
    group: str
    sets: tuple[Ranked, ...] = ()


@dataclass(frozen=True)
class Beside:
    """How often a judge agrees with the majority of people, and how often one person does with that of the others."""

    question: str
    group: str
    agrees: float = nan
    pairs: int = 0
    one_person: float = nan


@dataclass(frozen=True)
class Annotator:
    """Shares are NaN where there is nothing to take them of."""

    annotator: str
    group: str
    answers: int = 0
    seconds: float = nan
    gold: float = nan
    gold_answers: int = 0
    consistent: float = nan
    repeats: int = 0
    first: float = nan


@dataclass(frozen=True)
class Judge:
    """consistency: the share of pairs of which both orders gave one answer. share_first: of its choices, that of the
    text which stood first; bias_first: of the inconsistent ones, those that chose it both times."""

    name: str
    answers: float = nan
    consistency: float = nan
    share_first: float = nan
    bias_first: float = nan
    undecided: float = nan
    tokens: float = nan
    cost: float = nan

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Judge":
        row = {"consistency": row.get("consistent"), **row}
        numbers = {key: number(row.get(key)) for key in cls.__dataclass_fields__ if key != "name"}
        return cls(str(row.get("name") or row.get("group") or "judge"), **numbers)


@dataclass(frozen=True)
class Voted:
    """A study, scored. plan: how it was made, without its texts; matched: the columns in which texts of a pair are
    the same."""

    title: str
    level: float
    questions: Sequence[Question]
    sets: Sequence[TextSet]
    groups: Sequence[Group]
    rows: Sequence[Row]
    rankings: Sequence[Ranking] = ()
    beside: Sequence[Beside] = ()
    judges: Sequence[Judge] = ()
    annotators: Sequence[Annotator] = ()
    left_out: Sequence[str] = ()
    attention: float | None = None
    ties: bool = True
    pairs: int = 0
    gold: int = 0
    per_pair: int = 0
    plan: Mapping[str, Any] = field(default_factory=dict)
    matched: Sequence[str] = ()

    @classmethod
    def read(cls, folder: Path) -> "Voted":
        """Raises FileNotFoundError where the folder holds no scores."""
        path = folder / SCORES
        if not path.is_file():
            raise FileNotFoundError(f"{path}: there is no such file; steer study score writes it")
        found = read_json(path)
        plan = read_json(folder / PLAN) if (folder / PLAN).is_file() else {}
        columns = dict.fromkeys(column for pair in plan.get("pairs") or () for column in pair.get("match") or ())
        return cls(
            title=found.get("title") or "",
            level=found.get("level") or 0.95,
            questions=[Question(one["name"], one.get("asks") or one["name"]) for one in found.get("questions") or ()],
            sets=[_filled(TextSet, one) for one in found.get("sets") or ()],
            groups=[
                Group(one["name"], one.get("kind") == "judge", one.get("annotators") or 0, one.get("votes") or 0)
                for one in found.get("groups") or ()
            ],
            rows=[Row.of(one) for one in found.get("rows") or ()],
            rankings=[_ranking(one) for one in found.get("rankings") or ()],
            beside=[_filled(Beside, one) for one in found.get("beside") or ()],
            judges=[Judge.of(one) for one in found.get("judges") or ()],
            annotators=[_filled(Annotator, one) for one in found.get("annotators") or ()],
            left_out=list(found.get("left_out") or ()),
            attention=found.get("attention"),
            ties=found.get("ties", True),
            pairs=found.get("pairs") or 0,
            gold=found.get("gold") or 0,
            per_pair=found.get("annotators_per_pair") or 0,
            plan={key: value for key, value in plan.items() if key != "pairs"},
            matched=list(columns),
        )

    @property
    def lead(self) -> Group | None:
        """Who is spoken of first: all people, else one group of them, else a judge; None where nobody voted."""
        everyone = [group for group in self.people if group.name == PEOPLE]
        counted = {row.group for row in self.rows if row.votes}
        return next((group for group in [*everyone, *self.people, *self.groups] if group.name in counted), None)

    @property
    def ordered(self) -> list[Group]:
        """Who is spoken of first, first."""
        return sorted(self.groups, key=lambda group: group is not self.lead)

    @property
    def people(self) -> list[Group]:
        return [group for group in self.groups if not group.judges]

    @property
    def parts(self) -> list[Group]:
        """The groups of people, where there are several."""
        return [group for group in self.people if group is not self.lead]

    @property
    def judging(self) -> list[Group]:
        return [group for group in self.groups if group.judges]

    @property
    def comparisons(self) -> list[Sets]:
        return list(dict.fromkeys(row.sets for row in self.rows))

    @property
    def rival(self) -> str | None:
        """What every other set is held against, if there are several and it is the same for all."""
        rivals = {b for _, b in self.comparisons}
        return rivals.pop() if len(rivals) == 1 and len(self.comparisons) > 1 else None

    def of(self, question: str, group: str) -> list[Row]:
        return [row for row in self.rows if row.question == question and row.group == group]

    def row(self, question: str, group: str, sets: Sets) -> Row | None:
        return next((row for row in self.of(question, group) if row.sets == sets), None)


def _ranking(row: Mapping[str, Any]) -> Ranking:
    sets = (Ranked(one["set"], one.get("rank") or 0, Interval.of(one.get("strength"))) for one in row.get("sets") or ())
    return Ranking(row["question"], row["group"], tuple(sorted(sets, key=lambda one: one.rank)))


def _filled(kind: Any, row: Mapping[str, Any]) -> Any:
    """One of the kind from a row, null where a number is missing being what the kind has in its place."""
    return kind(**{key: row[key] for key in _known(kind, row)})


def _known(kind: Any, row: Mapping[str, Any]) -> Iterable[str]:
    return (key for key in kind.__dataclass_fields__ if row.get(key) is not None)
