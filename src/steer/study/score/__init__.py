"""What the votes say: for each comparison, question and group how often the first set is preferred, and how surely.

Repeated pairs and gold pairs tell how annotators answer (`steer.study.quality`) and are no part of a win rate.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from math import isnan, nan
from typing import Any, Literal

import numpy as np

from steer.evaluate.intervals import LEVEL, Estimate, holm
from steer.evaluate.score import strict
from steer.study.plan import Pair, Study
from steer.study.quality import Quality, qualities
from steer.study.score.agreement import counts_of, fleiss_kappa, krippendorff_alpha, raw_agreement
from steer.study.score.bootstrap import Preference, preference
from steer.study.score.bradley_terry import Strengths, bradley_terry
from steer.study.score.rates import Answers, binomial_test, stars, wilson, z_test
from steer.study.votes import Vote

Kind = Literal["people", "judge"]
PEOPLE = "all people"  # where there are several groups of them; no group can have this name, which has a space
VALUES = {"a": 1.0, "tie": 0.5, "b": 0.0}


@dataclass(frozen=True)
class Group:
    """Who is scored together. kind: people, or a language model."""

    name: str
    kind: Kind
    votes: tuple[Vote, ...]


@dataclass(frozen=True)
class Row:
    """How often a group prefers the texts of `a` to those of `b`.

    preference: for other annotators and other pairs. wilson, z_p, binomial_p: as if all votes were independent; z_p is
    the test of the paper. adjusted: the p of `preference`, corrected over all comparisons of this question and group
    (Holm 1979); adjusted_less is that of the same test for `b`. undecided: answers of a judge that could not be read;
    they are left out. longer: how often the longer text of a pair was preferred, ties counting half.
    """

    a: str
    b: str
    question: str
    group: str
    wins: int
    ties: int
    losses: int
    undecided: int
    annotators: int
    pairs: int
    preference: Preference
    wilson: tuple[float, float]
    z_p: float
    binomial_p: float
    longer: float
    alpha: Estimate
    kappa: Estimate
    raw: Estimate
    adjusted: float = nan
    adjusted_less: float = nan

    @property
    def stars(self) -> str:
        return stars(self.adjusted)

    def to_json(self) -> dict[str, Any]:
        rate = self.preference.rate
        names = ("a", "b", "question", "group", "wins", "ties", "losses", "undecided", "annotators", "pairs", "longer")
        return {
            **{name: getattr(self, name) for name in names},
            "win_rate": {"value": rate.value, "low": rate.low, "high": rate.high, "reason": rate.reason},
            "holds_for": self.preference.holds_for,
            "design_effect": self.preference.design_effect,
            "annotator_sd": self.preference.annotator_sd,
            "p": rate.p,
            "adjusted_p": self.adjusted,
            "adjusted_p_less": self.adjusted_less,
            "stars": self.stars,
            "naive": {"low": self.wilson[0], "high": self.wilson[1], "z_p": self.z_p, "binomial_p": self.binomial_p},
            "agreement": {
                name: {"value": of.value, "reason": of.reason}
                for name, of in (("alpha", self.alpha), ("kappa", self.kappa), ("raw", self.raw))
            },
        }


@dataclass(frozen=True)
class Ranking:
    """Bradley-Terry strengths of more than two sets; None, with the reason, where the votes do not join them."""

    question: str
    group: str
    sets: tuple[str, ...]
    strengths: Strengths | None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        rows = []
        if self.strengths is not None:
            for i, name in enumerate(self.sets):
                one = self.strengths.sets[i]
                strength = {"value": one.value, "low": one.low, "high": one.high}
                rows.append({"set": name, "rank": self.strengths.ranks[i], "strength": strength})
        return {"question": self.question, "group": self.group, "reason": self.reason, "sets": rows}


@dataclass(frozen=True)
class Beside:
    """How a group answers beside the majority of people, pair by pair.

    agrees: the share of pairs with a majority in which the group's own is the same. pairs: how many there are.
    one_person: the share in which one of the people agrees with the majority of the others, for comparison.
    """

    question: str
    group: str
    agrees: float
    pairs: int
    one_person: float


@dataclass(frozen=True)
class Scores:
    """Everything that is told of a study. left_out: annotators below the attention that was asked for."""

    study: Study
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    rankings: tuple[Ranking, ...]
    beside: tuple[Beside, ...]
    annotators: tuple[Quality, ...]
    left_out: tuple[str, ...]
    attention: float | None
    level: float

    def to_json(self) -> dict[str, Any]:
        study = self.study
        made: dict[str, Any] = strict(
            {
                "title": study.title,
                "study": study.digest,
                "level": self.level,
                "questions": [question.model_dump() for question in study.questions],
                "sets": [one.model_dump() for one in study.sets],
                "ties": study.ties,
                "pairs": len(study.asked),
                "gold": len(study.gold),
                "annotators_per_pair": study.annotators,
                "groups": [{"name": g.name, "kind": g.kind, **_sizes(g.votes)} for g in self.groups],
                "rows": [row.to_json() for row in self.rows],
                "rankings": [one.to_json() for one in self.rankings],
                "beside": [asdict(one) for one in self.beside],
                "annotators": [asdict(one) for one in self.annotators],
                "attention": self.attention,
                "left_out": self.left_out,
            }
        )
        return made


def score(
    study: Study,
    people: Sequence[Vote],
    judges: Sequence[Vote] = (),
    attention: float | None = None,
    level: float = LEVEL,
) -> Scores:
    """Score votes. attention: the least share of gold answers that is right; who has less is left out, None: nobody.

    Raises ValueError without any vote.
    """
    if not people and not judges:
        raise ValueError("there are no votes yet: steer study serve collects them from people, and judge from a model")
    found = (*qualities(study, people), *qualities(study, judges))
    bad = {one.annotator for one in found if attention is not None and one.gold is not None and one.gold < attention}
    groups = _groups([v for v in people if v.annotator not in bad], [v for v in judges if v.annotator not in bad])
    if not groups:
        raise ValueError(f"--attention {attention:g} leaves nobody: all are right on less of the gold pairs")
    compared = list(dict.fromkeys((pair.a.set, pair.b.set) for pair in study.asked))
    rows = []
    for group in groups:
        for question in study.questions:
            some = [_row(study, group, question.name, sets, level) for sets in compared]
            more = holm({i: row.preference.rate.p for i, row in enumerate(some)})
            less = holm({i: 1 - row.preference.rate.p for i, row in enumerate(some)})
            rows += [replace(row, adjusted=more[i], adjusted_less=less[i]) for i, row in enumerate(some)]
    rankings = [_ranking(study, g, q.name, level) for g in groups for q in study.questions if len(study.sets) > 2]
    beside = [one for g in groups for q in study.questions if (one := _beside(study, people, bad, g, q.name))]
    left_out = tuple(sorted(bad))
    return Scores(study, groups, tuple(rows), tuple(rankings), tuple(beside), found, left_out, attention, level)


def _groups(people: Sequence[Vote], judges: Sequence[Vote]) -> tuple[Group, ...]:
    named = {name: tuple(v for v in people if v.group == name) for name in dict.fromkeys(v.group for v in people)}
    made = [Group(name, "people", votes) for name, votes in named.items()]
    if len(made) > 1:
        made.append(Group(PEOPLE, "people", tuple(people)))
    for name in dict.fromkeys(vote.group for vote in judges):
        called = f"{name} (judge)" if name in named else name
        made.append(Group(called, "judge", tuple(vote for vote in judges if vote.group == name)))
    return tuple(made)


def _sizes(votes: Sequence[Vote]) -> dict[str, int]:
    return {"annotators": len({vote.annotator for vote in votes}), "votes": len(votes)}


def _counted(study: Study, votes: Iterable[Vote], question: str) -> list[tuple[Vote, Pair]]:
    """The votes on this question that are part of a win rate, or would be had they been decided."""
    pairs = {pair.id: pair for pair in study.asked}
    return [(v, pairs[v.pair]) for v in votes if v.question == question and not v.repeat and v.pair in pairs]


def _answers(votes: Sequence[tuple[Vote, Pair]]) -> Answers:
    return Answers(
        np.unique([vote.annotator for vote, _ in votes], return_inverse=True)[1],
        np.unique([vote.pair for vote, _ in votes], return_inverse=True)[1],
        np.array([VALUES[vote.winner] for vote, _ in votes]),
    )


def _row(study: Study, group: Group, question: str, sets: tuple[str, str], level: float) -> Row:
    every = [one for one in _counted(study, group.votes, question) if (one[1].a.set, one[1].b.set) == sets]
    votes = [one for one in every if one[0].winner in VALUES]
    answers = _answers(votes)
    total, n = float(answers.values.sum()), len(votes)
    counts = counts_of(answers)
    longer = [
        VALUES[vote.winner] if len(pair.a.text) > len(pair.b.text) else 1 - VALUES[vote.winner]
        for vote, pair in votes
        if len(pair.a.text) != len(pair.b.text)
    ]
    return Row(
        *sets,
        question=question,
        group=group.name,
        wins=int((answers.values == 1).sum()),
        ties=int((answers.values == 0.5).sum()),
        losses=int((answers.values == 0).sum()),
        undecided=len(every) - n,
        annotators=len(set(answers.annotators.tolist())),
        pairs=len(set(answers.items.tolist())),
        preference=preference(answers, level),
        wilson=wilson(total, n, level),
        z_p=z_test(total, n),
        binomial_p=binomial_test(answers),
        longer=float(np.mean(longer)) if longer else nan,
        alpha=krippendorff_alpha(counts),
        kappa=fleiss_kappa(counts),
        raw=raw_agreement(counts),
    )


def agreement(study: Study, votes: Sequence[Vote], question: str) -> tuple[float | None, float | None, int]:
    """Krippendorff's alpha, the share of equal pairs of answers (None where undefined), and on how many pairs."""
    answers = _answers([one for one in _counted(study, votes, question) if one[0].winner in VALUES])
    counts = counts_of(answers)
    found = [of(counts).value for of in (krippendorff_alpha, raw_agreement)]
    alpha, raw = (None if isnan(value) else value for value in found)
    return alpha, raw, len(counts)


def _ranking(study: Study, group: Group, question: str, level: float) -> Ranking:
    names = tuple(one.name for one in study.sets)
    votes = [one for one in _counted(study, group.votes, question) if one[0].winner in VALUES]
    first, second = ([names.index(getattr(pair, side).set) for _, pair in votes] for side in ("a", "b"))
    try:
        strengths = bradley_terry(_answers(votes), first, second, len(names), level)
    except ValueError:
        return Ranking(question, group.name, names, None, "the votes do not join all sets by comparisons")
    return Ranking(question, group.name, names, strengths)


def _beside(study: Study, people: Sequence[Vote], bad: set[str], group: Group, question: str) -> Beside | None:
    """None of the people themselves, and where there is nobody to compare with."""
    if group.kind == "people" or not people:
        return None
    by_pair = _by_pair(study, [vote for vote in people if vote.annotator not in bad], question)
    own = {pair: majority(values) for pair, values in _by_pair(study, group.votes, question).items()}
    theirs = {pair: majority(values) for pair, values in by_pair.items()}
    same = [own[pair] == said for pair, said in theirs.items() if said is not None and own.get(pair) is not None]
    alone = [
        value == rest
        for values in by_pair.values()
        for i, value in enumerate(values)
        if value != 0.5 and (rest := majority(values[:i] + values[i + 1 :])) is not None
    ]
    mean = [float(np.mean(one)) if one else nan for one in (same, alone)]
    return Beside(question, group.name, mean[0], len(same), mean[1])


def _by_pair(study: Study, votes: Iterable[Vote], question: str) -> Mapping[str, list[float]]:
    counted = [(v.pair, VALUES[v.winner]) for v, _ in _counted(study, votes, question) if v.winner in VALUES]
    found = groupby(sorted(counted), key=lambda one: one[0])
    return {pair: [value for _, value in some] for pair, some in found}


def majority(values: Sequence[float]) -> float | None:
    """1 or 0, whichever more votes are for; None where there is no such side."""
    mean = float(np.mean(values)) if values else nan
    return None if isnan(mean) or mean == 0.5 else float(mean > 0.5)
