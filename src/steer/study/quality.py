"""How an annotator answers: attention, self-consistency, speed, and whether one place is chosen, come what may."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from steer.study.plan import Study
from steer.study.votes import Vote


@dataclass(frozen=True)
class Quality:
    """Of one annotator. Shares are None where there is nothing to take them of.

    answers: to pairs in earnest, each once. seconds: the median from a showing to its answer. gold: the share of gold
    answers that chose the better text, of `gold_answers`. consistent: the share of repeated answers that were the same
    as the first, of `repeats`. first: the share of answers, ties aside, that chose the text that stood first.
    """

    annotator: str
    group: str
    answers: int
    seconds: float | None
    gold: float | None
    gold_answers: int
    consistent: float | None
    repeats: int
    first: float | None


def qualities(study: Study, votes: Sequence[Vote]) -> list[Quality]:
    """Of every annotator with a vote, in the order in which they began."""
    by: dict[tuple[str, str], list[Vote]] = {}
    for vote in votes:
        by.setdefault((vote.annotator, vote.group), []).append(vote)
    return [_quality(study, *who, some) for who, some in by.items()]


def _quality(study: Study, annotator: str, group: str, votes: Sequence[Vote]) -> Quality:
    gold = [vote.winner == pair.better for vote in votes if (pair := study.by_id[vote.pair]).gold]
    earnest = [vote for vote in votes if not study.by_id[vote.pair].gold]
    once = {(vote.pair, vote.question): vote.winner for vote in earnest if not vote.repeat}
    same = [
        vote.winner == once[vote.pair, vote.question]
        for vote in earnest
        if vote.repeat and (vote.pair, vote.question) in once
    ]
    first = [vote.winner == vote.first for vote in earnest if vote.first and vote.winner in ("a", "b")]
    times = [vote.seconds for vote in votes if vote.seconds is not None]
    return Quality(
        annotator=annotator,
        group=group,
        answers=len(once),
        seconds=median(times) if times else None,
        gold=_share(gold),
        gold_answers=len(gold),
        consistent=_share(same),
        repeats=len(same),
        first=_share(first),
    )


def _share(of: Sequence[bool]) -> float | None:
    return sum(of) / len(of) if of else None
