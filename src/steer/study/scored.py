"""The scores of a study's folder: of all votes there, those of people and those of judges."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from steer.evaluate.intervals import LEVEL
from steer.evaluate.score import strict
from steer.records import write_json, write_text
from steer.study.judge.answers import Consistency, consistency, judges, votes
from steer.study.plan import Study
from steer.study.score import Scores, score
from steer.study.store import FILE, Store
from steer.study.votes import Vote, as_csv, exported


@dataclass(frozen=True)
class Scored:
    """scores, with the votes they are of, and how consistent each judge is."""

    scores: Scores
    votes: Sequence[Vote]
    judges: dict[str, Consistency]

    def to_json(self) -> dict[str, Any]:
        told = [{"name": name, **asdict(one), "words": str(one)} for name, one in self.judges.items()]
        made: dict[str, Any] = strict({**self.scores.to_json(), "judges": told})
        return made

    def spreads(self) -> dict[str, float]:
        """How far annotators, and pairs, differ in their win rates: the median over comparisons and questions.

        Raises ValueError where too few people have voted to tell.
        """
        people = {group.name for group in self.scores.groups if group.kind == "people"}
        known = [
            row.preference for row in self.scores.rows if row.group in people and len(row.preference.holds_for) > 1
        ]
        if not known:
            raise ValueError("the pilot does not tell how annotators and pairs differ: it takes two of each")
        return {
            "annotator_sd": median(one.annotator_sd for one in known),
            "item_sd": median(one.item_sd for one in known),
        }


def scored(folder: Path, attention: float | None = None, level: float = LEVEL) -> Scored:
    """Raises FileNotFoundError where there is no study, ValueError where there are no votes."""
    study = Study.read(folder)
    people = _people(folder, study)
    rows = judges(folder, study)
    theirs = [vote for name, some in rows.items() for vote in votes(some, name)]
    scores = score(study, people, theirs, attention, level)
    return Scored(scores, (*people, *theirs), {name: consistency(some) for name, some in rows.items()})


def _people(folder: Path, study: Study) -> list[Vote]:
    if not (folder / FILE).is_file():
        return []
    store = Store(folder, study)
    try:
        return store.votes()
    finally:
        store.close()


def write(folder: Path, scored: Scored) -> dict[str, Any]:
    """Write votes.csv and scores.json, whose object is returned."""
    made = scored.to_json()
    write_text(folder / "votes.csv", as_csv(exported(scored.scores.study, scored.votes)))
    write_json(folder / "scores.json", made)
    return made
