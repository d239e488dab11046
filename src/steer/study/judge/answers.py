"""What judges have answered in a study: STUDY/judges/NAME.jsonl and NAME.json, the votes, and how far to trust them."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steer.records import read_json, read_jsonl
from steer.study.judge.ask import Answer, Ask
from steer.study.plan import Side, Study
from steer.study.votes import Vote, Winner

FOLDER = "judges"


@dataclass(frozen=True)
class Row:
    """An answer as it stands in the file.

    first: the side that stood first. answer: the side that was chosen; "undecided" where none could be read, or where
    the judge could not be reached, which `error` then tells. said: what it wrote. logprobs: of the first and of the
    second text, nats. asked: hash of the prompt, hexadecimal.
    """

    pair: str
    question: str
    first: Side
    answer: Winner
    said: str
    tokens_in: int
    tokens_out: int
    asked: str
    logprobs: tuple[float, float] | None = None
    error: str = ""

    @classmethod
    def of(cls, ask: Ask, answer: Answer) -> "Row":
        facts = {name: value for name, value in vars(answer).items() if name not in ("choice", "refused")}
        return cls(ask.pair, ask.question, ask.first, ask.winner(answer.choice), asked=_short(ask), **facts)

    @classmethod
    def read(cls, row: dict[str, Any]) -> "Row":
        logprobs = row.get("logprobs")
        return cls(**{**row, "logprobs": None if logprobs is None else (logprobs[0], logprobs[1])})

    def to_json(self) -> dict[str, Any]:
        absent = {name for name in ("logprobs", "error") if not getattr(self, name)}
        return {key: value for key, value in asdict(self).items() if key not in absent}

    def answers(self, ask: Ask) -> Answer | None:
        """The answer to this question, if it is one."""
        if self.answer == "undecided" or self.asked != _short(ask):
            return None
        choice = "tie" if self.answer == "tie" else "A" if self.answer == self.first else "B"
        return Answer(choice, self.said, self.tokens_in, self.tokens_out, self.logprobs)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Consistency:
    """How far a judge's answers depend on the order. NaN is what nothing was there to count for.

    both: how many (pair, question) have two answers that can be read. consistent: the share of them whose answers
    agree, in [0, 1]. share_first: of all answers that choose a text, the share that chose the one standing first; 0.5
    is no bias. bias_first: of the inconsistent ones, the share that chose the first text both times.
    undecided: answers that could not be read, or were not had.
    """

    both: int
    consistent: float
    share_first: float
    bias_first: float
    undecided: int

    def __str__(self) -> str:
        if not self.both:
            return "no question was answered in both orders"
        by_place = self.consistent == 0 and self.bias_first in (0, 1)
        return (
            f"the two orders agree for {_percent(self.consistent)} of {self.both}; position bias: the text that stood "
            f"first was chosen in {_percent(self.share_first)} of answers, and both times in "
            f"{_percent(self.bias_first)} of disagreements"
            + ("; it chose by place alone, so its votes are ties and say nothing of the texts" if by_place else "")
        )


def consistency(rows: Iterable[Row]) -> Consistency:
    rows = list(rows)
    chosen = [row.answer == row.first for row in rows if row.answer in ("a", "b")]
    both = [(one, other) for one, other in _by_order(rows) if "undecided" not in (one.answer, other.answer)]
    unlike = [(one, other) for one, other in both if one.answer != other.answer]
    first = [one.answer == one.first and other.answer == other.first for one, other in unlike]
    return Consistency(
        both=len(both),
        consistent=_share(len(both) - len(unlike), len(both)),
        share_first=_share(sum(chosen), len(chosen)),
        bias_first=_share(sum(first), len(first)),
        undecided=sum(row.answer == "undecided" for row in rows),
    )


def votes(rows: Iterable[Row], name: str, group: str = "") -> list[Vote]:
    """One of each (pair, question) that was asked in both orders. name: of the judge; group: its name if not given.

    The side that was chosen in both orders, else "tie"; "undecided" where one of the answers is.
    """
    return [
        Vote(name, group or name, one.pair, one.question, _together(one.answer, other.answer))
        for one, other in _by_order(rows)
    ]


def judges(folder: Path, study: Study) -> dict[str, list[Row]]:
    """The answers of every judge of a study, by name.

    Raises ValueError where they cannot be read, or are of another version of the study.
    """
    found = {}
    for path in sorted((folder / FOLDER).glob("*.json")):
        facts, rows = load(path)
        if facts["study"] != study.digest:
            raise ValueError(
                f"{path} is of another version of this study: ask the judge again (what has not changed is not asked "
                "twice), or delete it"
            )
        found[path.stem] = rows
    return found


def judges_votes(folder: Path, study: Study) -> list[Vote]:
    """The votes of all judges of a study. Raises as `judges` does."""
    return [vote for name, rows in judges(folder, study).items() for vote in votes(rows, name)]


def load(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """A judge's facts, and its answers. Raises ValueError where they cannot be read."""
    try:
        facts = read_json(path)
        _ = facts["study"], facts["judge"], facts["signature"], facts["spent"]["questions"]
        return facts, [Row.read(row) for row in read_jsonl(path.with_suffix(".jsonl"))]
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}): delete it, and ask again") from None


def _by_order(rows: Iterable[Row]) -> list[tuple[Row, Row]]:
    """The two rows of each (pair, question) that has both."""
    found: dict[tuple[str, str], dict[Side, Row]] = {}
    for row in rows:
        found.setdefault((row.pair, row.question), {})[row.first] = row
    return [(orders["a"], orders["b"]) for orders in found.values() if len(orders) == 2]


def _together(one: Winner, other: Winner) -> Winner:
    if "undecided" in (one, other):
        return "undecided"
    return one if one == other else "tie"


def _share(some: int, of: int) -> float:
    return some / of if of else math.nan


def _percent(share: float) -> str:
    return "none" if math.isnan(share) else f"{100 * share:.0f}%"


def _short(ask: Ask) -> str:
    return ask.digest.hex()[:16]
