"""The scores of a study's folder: of all votes there, those of people and those of judges."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

from steer.evaluate.intervals import LEVEL
from steer.evaluate.score import strict
from steer.records import write_json, write_text
from steer.study.judge.answers import Consistency, consistency, judges, votes
from steer.study.plan import Study
from steer.study.power import Design
from steer.study.score import PEOPLE, Scores, score
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

        No less than what is taken without a pilot: a small one often sees no difference where there is one.
        Raises ValueError where too few people have voted to tell.
        """
        people = {group.name for group in self.scores.groups if group.kind == "people" and group.name != PEOPLE}
        known = [
            row.preference for row in self.scores.rows if row.group in people and len(row.preference.holds_for) > 1
        ]
        if not known:
            raise ValueError("the pilot does not tell how annotators and pairs differ: it takes two of each")
        found = {"annotator_sd": Design.annotator_sd, "item_sd": Design.item_sd}
        for name, usual in found.items():
            told = [value for value in (getattr(one, name) for one in known) if isfinite(value)]
            found[name] = max(usual, median(told)) if told else usual
        return found


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
