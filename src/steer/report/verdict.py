"""The verdict, computed from the numbers: three questions, each answered in a sentence and on a card.

No sentence claims more than its 95% interval allows. Where a set leaks, no other sentence praises it: whoever copies
real texts is like them and as varied as they are.
"""

from collections.abc import Callable

from steer.report.answers import Answer, compared, joined, range_of, unanswered, yardsticks
from steer.report.judged import Judged
from steer.report.leaks import authentic, leaking_rivals
from steer.report.readings import Measured, Reading, against_real, every, hundred, is_told, measured, percent, two

TOLD, VARIED = "Can they be told from real texts?", "Are they as varied as real texts?"


def verdict(judged: Judged) -> list[Answer]:
    """Faithful? Varied? Authentic?"""
    last = authentic(judged)
    return [_faithful(judged, last.alarm), _varied(judged, last.alarm), last]


def _faithful(judged: Judged, leaking: bool) -> Answer:
    scores = every(judged.metrics, "adversarial_auroc")
    known = [score for score in scores if score.mine.known]
    if not known:
        why = (scores[0].mine.reason if scores else None) or "it was not measured"
        return unanswered(TOLD, f"Whether the synthetic texts can be told from real ones cannot be said: {why}.", why)
    first, *others = known
    # Against rivals that leak it is no shame to lose, and for a set that leaks no merit to win.
    left_out = judged.rivals if leaking else list(leaking_rivals(judged))
    # A second classifier is heard where it says something else: the verdict is not the kinder one of two.
    heard = [other for other in others if _says(other, left_out) != _says(first, left_out)]
    said = [f"{_can_tell(first.mine)}: {_pairs(first, left_out)}", *(_second(other, left_out) for other in heard)]
    if leaking and is_told(first.mine) is not True:
        said.append("copies would pass as well, so this is no merit")
    told = [is_told(score.mine) for score in known]
    reply = {True: "Yes", False: "Not at this size", None: "It is not clear"}[told[0]]
    if any(told) and not told[0]:
        reply = "By one of the classifiers, yes"
    return Answer(
        TOLD,
        f"{'; '.join(said)}.",
        reply,
        f"{hundred(first.mine.value)} of 100",
        "pairs of a real and a synthetic text in which a classifier picks out the synthetic one",
        [*yardsticks(first, hundred), ("a coin", "50")],
        [
            _follows(first.mine),
            *(["Copies of real texts would do as well."] if leaking and told[0] is not True else []),
            *([f"That {than}."] if (than := _than(first, left_out)) else []),
            *(f"{_second(other, left_out)[0].upper()}{_second(other, left_out)[1:]}." for other in others),
        ],
    )


def _says(score: Measured, left_out: list[str]) -> tuple[bool | None, str]:
    return is_told(score.mine), _than(score, left_out)


def _than(score: Measured, left_out: list[str]) -> str:
    return compared(score, left_out, more="worse", less="better")


def _can_tell(mine: Reading) -> str:
    told = is_told(mine)
    if told is None:
        return "Whether a simple classifier can tell the synthetic texts from real ones is not clear"
    if not told:
        return "A simple classifier cannot tell the synthetic texts from real ones at this size"
    how = "almost always " if mine.low >= 0.9 else "mostly " if mine.low >= 0.7 else ""
    more = "" if how else " more often than chance"
    return f"A simple classifier can {how}tell the synthetic texts from real ones{more}"


def _pairs(score: Measured, left_out: list[str]) -> str:
    mine = score.mine
    real = f"real texts in their place in {hundred(mine.ceiling)}, " if mine.ceiling == mine.ceiling else ""
    interval = f"95% interval {range_of(mine, hundred)}" if mine.interval else "no interval"
    than = _than(score, left_out)
    return (
        f"it picks out the synthetic one in {hundred(mine.value)} of 100 pairs ({interval}), {real}a coin in 50"
        f"{f'; that {than}' if than else ''}"
    )


def _second(score: Measured, left_out: list[str]) -> str:
    can = {True: "can", False: "cannot", None: "gives no clear answer"}[is_told(score.mine)]
    through = "the fine-tuned model itself" if score.embedder == "domain" else score.embedder
    than = _than(score, left_out)
    numbers = f"{hundred(score.mine.value)} of 100, {range_of(score.mine, hundred)}"
    return f"a second one, which looks through {through}, {can} ({numbers}){f', and {than}' if than else ''}"


def _follows(mine: Reading) -> str:
    if not mine.interval:
        return f"Nothing follows from this number: {mine.reason or 'it has no interval'}."
    if is_told(mine) is None:
        return "The interval and the test by permutations do not say the same: it is too close to call."
    if mine.low > 0.5:
        no_more = against_real(mine) in ("overlap", "below")
        return "Real texts in their place could do as badly." if no_more else "That is more often than a coin."
    if mine.high < 0.5:
        return "Less often than a coin: what the classifier learnt does not carry over. That is no better than 50."
    return f"A coin's 50 lies within the interval; up to {hundred(mine.high)} is not ruled out."


def _varied(judged: Judged, leaking: bool) -> Answer:
    words, kinds, reach = (measured(judged.metrics, name) for name in ("ngram_diversity", "vendi", "coverage"))
    less, more = _less(words.mine, kinds.mine, reach.mine), _more(words.mine, kinds.mine)
    known = [score for score in (words, kinds, reach) if against_real(score.mine) != "unknown"]
    noise = "which can be a sign of noise"
    if less and more:
        reply = "Less in one way, more in another"
        said = f"The synthetic texts are less varied than real ones: {joined(less)}; but {joined(more)}, {noise}"
    elif less:
        reply, said = "Less varied", f"The synthetic texts are less varied than real ones: {joined(less)}"
    elif more:
        reply, said = "More varied", f"The synthetic texts are more varied than real ones, {noise}: {joined(more)}"
    elif known:
        reply, said = "No difference at this size", _no_difference(words.mine, kinds.mine, reach.mine)
        said += "; copies are as varied as what they copy, so this is no merit" if leaking else ""
    else:
        why = words.mine.reason or "there is nothing to hold it against"
        if not words.mine.known:
            return unanswered(VARIED, f"Whether they are as varied as real texts cannot be said: {why}.", why)
        reply, said = "It cannot be said", f"Whether they are as varied as real texts cannot be said: {why}"
    details = ["Copies are as varied as what they copy."] if leaking and not less else []
    left_out = judged.rivals if leaking else list(leaking_rivals(judged))
    than = compared(words, left_out, more="more varied", less="less varied")
    details += [f"That {than}."] if than else []
    if reach.mine.known:
        details.append(f"Real texts that have a synthetic one nearby: {_beside(reach.mine, percent)}.")
    if kinds.mine.known:
        details.append(f"Wholly different texts that they amount to: {_beside(kinds.mine)}.")
    details += ["Gibberish is the most varied text of all: read this beside the first answer."] if more else []
    return Answer(
        VARIED,
        f"{said}.",
        reply,
        two(words.mine.value) if words.mine.known else "none",
        "n-gram diversity, from 0 to 1: how few sequences of words come again",
        yardsticks(words, two) if words.mine.known else [],
        details,
    )


def _less(words: Reading, kinds: Reading, reach: Reading) -> list[str]:
    said = {
        f"they repeat sequences of words more (n-gram diversity {_beside(words)})": words,
        f"they amount to fewer different texts ({_beside(kinds)})": kinds,
        f"they leave more of the real texts without a like ({_beside(reach, percent)})": reach,
    }
    return [phrase for phrase, reading in said.items() if against_real(reading) == "below"]


def _more(words: Reading, kinds: Reading) -> list[str]:
    said = {
        f"their sequences of words repeat less (n-gram diversity {_beside(words)})": words,
        f"they amount to more different texts ({_beside(kinds)})": kinds,
    }
    return [phrase for phrase, reading in said.items() if against_real(reading) == "above"]


def _no_difference(words: Reading, kinds: Reading, reach: Reading) -> str:
    measures = {
        f"in how seldom sequences of words come again ({_beside(words)})": words,
        f"in how many different texts they amount to ({_beside(kinds)})": kinds,
        f"in how many of the real texts have a like among them ({_beside(reach, percent)})": reach,
    }
    known = [phrase for phrase, reading in measures.items() if against_real(reading) != "unknown"]
    return f"In variety, no difference from real texts can be seen at this size: not {joined(known, 'or')}"


def _beside(reading: Reading, form: Callable[[float], str] = two) -> str:
    """The value, and that of real texts."""
    real = f", real texts {form(reading.ceiling)}" if reading.ceiling == reading.ceiling else ""
    return f"{form(reading.value)}{real}"
