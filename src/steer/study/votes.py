"""A vote: what one annotator, a person or a judge, said of one pair; and whole files of them."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from steer.study.plan import Side, Study

Winner = Literal["a", "b", "tie", "undecided"]


@dataclass(frozen=True)
class Vote:
    """annotator: a number, or the name of a judge. winner: the side of the pair that was chosen, whichever place it
    stood in; "undecided" where a judge gave no answer that could be read. first: the side that stood first; None of a
    judge, who saw both orders. repeat: whether the annotator had met the pair before. seconds: from the showing to the
    answer; None of a judge. time: UTC, as in ISO 8601.
    """

    annotator: str
    group: str
    pair: str
    question: str
    winner: Winner
    first: Side | None = None
    repeat: bool = False
    seconds: float | None = None
    time: str = ""


COLUMNS = (*(one.name for one in fields(Vote)), "a", "b", "gold")


def exported(study: Study, votes: Iterable[Vote]) -> list[dict[str, Any]]:
    """Each vote with the sets of its pair, and whether it is a gold pair; no text is in it."""
    pairs = study.by_id
    return [
        {**asdict(vote), "a": pairs[vote.pair].a.set, "b": pairs[vote.pair].b.set, "gold": pairs[vote.pair].gold}
        for vote in votes
    ]


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def as_jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
