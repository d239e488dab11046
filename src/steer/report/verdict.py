"""The verdict in words, computed from the numbers. No sentence claims more than its 95% interval allows.

Two results are told apart only where their intervals do not overlap; a result without an interval is reported, and
nothing is concluded from it.
"""

from dataclasses import dataclass
from math import isnan

from steer.report.answers import Answer, answers, looks, refused_copies
from steer.report.readings import Measured, Reading, against_real, aurocs, hundred, is_told, measured, percent
from steer.report.stored import Stored


@dataclass(frozen=True)
class Verdict:
    """summary: a few plain sentences, by subject. answers: the numbers behind them; none where nothing was measured."""

    summary: list[str]
    answers: list[Answer]


def verdict(stored: Stored) -> Verdict:
    if stored.synthetic is None:
        return Verdict(["This run stopped before any synthetic texts were written, so there is nothing to judge."], [])
    variety, copied = measured(stored.metrics, "ngram_diversity"), measured(stored.metrics, "copied_share")
    summary = [_made(stored), _told(stored), _varied(variety), _copied(copied, stored)]
    return Verdict([sentence for sentence in summary if sentence], answers(stored))


def _made(stored: Stored) -> str:
    made, asked = len(stored.synthetic or ()), stored.settings.generate.count
    learnt = f"From {len(stored.real['train']):,} real texts, a language model learnt to write more of their kind"
    if stored.settings.domain:
        learnt = "A language model that had been fine-tuned before was to write more texts like the real ones"
    if stored.fell_short:
        return f"{learnt}; it was to write {asked:,}, and had {made:,} accepted when its attempts were used up."
    if made < asked:
        return f"{learnt}; it wrote {made:,} of at most {asked:,}, and stopped when more brought nothing new."
    return f"{learnt}, and wrote {made:,} new ones."


def _told(stored: Stored) -> str:
    scores = aurocs(stored.metrics)
    known = [score for score in scores if not isnan(score.mine.value)]
    if not known:
        why = "nothing has been measured" if not scores else scores[0].mine.reason or "the classifier gave no number"
        return f"Whether the new texts can be told from real ones cannot be said: {why}."
    first, *others = known
    # A second classifier is heard where it says something else: the verdict is not the kinder one of two.
    said = [_can_tell(first), _against_rival(first)]
    for other in others:
        differs = other.standing not in (first.standing, "unknown")
        if differs or is_told(other.mine) != is_told(first.mine):
            said.append(_second(other))
        if differs:
            said.append(_against_rival(other))
    return " ".join(sentence for sentence in said if sentence)


def _can_tell(score: Measured) -> str:
    mine, told = score.mine, is_told(score.mine)
    pairs = f"it picks out the synthetic one in {hundred(mine.value)} of 100 pairs, a coin in 50"
    if told is None:
        return f"Of a simple classifier, too little is known to say anything: {pairs}."
    if not told:
        return f"A simple classifier cannot tell the new texts from real ones at this size: {pairs}."
    if mine.low >= 0.7:
        return f"A simple classifier can {_mostly(mine)} tell the new texts from real ones: {pairs}."
    return f"A simple classifier can tell the new texts from real ones more often than chance: {pairs}."


def _mostly(mine: Reading) -> str:
    return "almost always" if mine.low >= 0.9 else "mostly"


def _second(score: Measured) -> str:
    can = {True: "can tell", False: "cannot tell", None: "gives no clear answer"}[is_told(score.mine)]
    return f"A second one, which {looks(score)}, {can} ({hundred(score.mine.value)} of 100)."


def _against_rival(score: Measured) -> str:
    rival = f"For plain nucleus sampling from the same model it is {hundred(score.rival.value)}"
    return {
        "below": f"{rival}, so steering did better here.",
        "above": f"{rival}, so steering did worse here.",
        "overlap": f"{rival}; at this size the two cannot be told apart.",
        "unknown": "",
    }[score.standing]


def _varied(score: Measured) -> str:
    return {
        "overlap": "In variety, no difference between new and real texts can be seen at this size.",
        "below": "The new texts are less varied than real ones.",
        "above": "The new texts are more varied than real ones, which can be a sign of noise.",
        "unknown": "",
    }[against_real(score.mine)]


def _copied(score: Measured, stored: Stored) -> str:
    share, refused = score.mine.value, refused_copies(stored, "steer")
    said = []
    if not isnan(share):
        some = (
            "None of the new texts is a near copy"
            if share == 0
            else f"{percent(share)} of the new texts are near copies"
        )
        said.append(f"{some} of a training text")
    if refused:
        said.append(f"{refused[0]:,} of the {refused[1]:,} texts drawn were refused as copies of real ones")
    if isnan(share):
        said.append("whether copies were accepted has not been measured")
    return f"{'; '.join(said)}."
