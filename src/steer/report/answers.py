"""The three questions of the verdict, each with its number, the yardsticks, and what follows from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isnan

from steer.report.readings import Measured, Reading, against_real, aurocs, hundred, is_told, measured, percent
from steer.report.stored import Stored


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a few words, the number behind it and what that is, the yardsticks, what follows."""

    question: str
    answer: str
    number: str
    unit: str
    yardsticks: list[tuple[str, str]]
    details: list[str]


def answers(stored: Stored) -> list[Answer]:
    """Empty where nothing was measured."""
    if stored.metrics is None:
        return []
    variety, copied = measured(stored.metrics, "ngram_diversity"), measured(stored.metrics, "copied_share")
    return [_told(aurocs(stored.metrics)), _varied(variety), _copied(copied, stored)]


def _told(scores: list[Measured]) -> Answer:
    question = "Can they be told from real texts?"
    known = [score for score in scores if not isnan(score.mine.value)]
    if not known:
        return _unanswered(question, scores[0].mine.reason if scores else None)
    first, *others = known
    told = [is_told(score.mine) for score in known]
    if any(told):
        answer = "Yes" if told[0] else "By one of two classifiers, yes"
    else:
        answer = "Not at this size" if told[0] is False else "It cannot be said"
    details = [_reading_told(first.mine), _compared_told(first)]
    details += [f"A second classifier, which {looks(other)}, gets {_in_short(other)}" for other in others]
    return Answer(
        question,
        answer,
        f"{hundred(first.mine.value)} of 100",
        "pairs of a real and a synthetic text in which a classifier picks out the synthetic one",
        [*_yardsticks(first, hundred), ("a coin", "50")],
        [detail for detail in details if detail],
    )


def _in_short(score: Measured) -> str:
    numbers = "; ".join(f"{name} {value}" for name, value in _yardsticks(score, hundred))
    told = {True: "It can tell them.", False: "It cannot tell them at this size.", None: ""}[is_told(score.mine)]
    compared = {
        "below": "Steering did better than plain sampling.",
        "above": "Steering did worse than plain sampling.",
        "overlap": "Steering and plain sampling cannot be told apart.",
        "unknown": "",
    }[score.standing]
    return " ".join(part for part in (f"{hundred(score.mine.value)} ({numbers}).", told, compared) if part)


def _reading_told(mine: Reading) -> str:
    if not mine.interval:
        return f"Nothing follows from this number: {mine.reason or 'it has no interval'}."
    if mine.low > 0.5:
        no_more = not isnan(mine.ceiling) and against_real(mine) != "above"
        return "Real texts in their place could do as badly." if no_more else "That is more often than a coin."
    if mine.high < 0.5:
        return "Less often than a coin: what the classifier learnt does not carry over. That is no better than 50."
    return f"A coin's 50 lies within the interval; up to {hundred(mine.high)} is not ruled out."


def _compared_told(score: Measured) -> str:
    return {
        "below": "Steering made them harder to tell from real texts than plain sampling did.",
        "above": "Steering made them easier to tell from real texts than plain sampling did: it did worse here.",
        "overlap": "This interval and that of plain sampling overlap: the two cannot be told apart at this size.",
        "unknown": "",
    }[score.standing]


def _varied(score: Measured) -> Answer:
    mine, question = score.mine, "Are they as varied as real texts?"
    if isnan(mine.value):
        return _unanswered(question, mine.reason)
    standing = against_real(mine)
    reply = {"overlap": "No difference at this size", "below": "Less varied", "above": "More varied"}
    meaning = {
        "overlap": "The difference from real texts is no larger than chance makes it.",
        "below": "They repeat themselves, and each other, more than real texts do.",
        "above": "Gibberish is the most varied text of all: read this beside the first answer.",
        "unknown": f"Nothing follows from this number: {mine.reason or 'there is nothing to hold it against'}.",
    }[standing]
    compared = {
        "above": "They are more varied than the texts of plain sampling.",
        "below": "They are less varied than the texts of plain sampling.",
        "overlap": "Steering and plain sampling cannot be told apart here at this size.",
        "unknown": "",
    }[score.standing]
    return Answer(
        question,
        reply.get(standing, "It cannot be said"),
        _two(mine.value),
        "n-gram diversity, from 0 to 1: how few sequences of words come again",
        _yardsticks(score, _two),
        [meaning, compared] if compared else [meaning],
    )


def _copied(score: Measured, stored: Stored) -> Answer:
    mine, question, made = score.mine, "Is anything copied?", len(stored.synthetic or ())
    if isnan(mine.value):
        return _unanswered(question, mine.reason, _gate_words(stored))
    details = _gate_words(stored)
    if mine.value == 0:
        if mine.interval:
            details.append(f"Among further texts made in the same way, up to {percent(mine.high)} is not ruled out.")
        details.append("The gate has the same notion of a copy, so this checks its work and is no second opinion.")
    return Answer(
        question,
        "No near copy was found" if mine.value == 0 else "Yes, some",
        f"{round(mine.value * made):,} of {made:,}",
        "accepted texts are near copies of a training text",
        _yardsticks(score, percent),
        details,
    )


def _gate_words(stored: Stored) -> list[str]:
    said = []
    for decoder, name in (("steer", "steering"), ("nucleus", "plain sampling")):
        refused = refused_copies(stored, decoder)
        if refused is not None:
            said.append(f"{refused[0]:,} of the {refused[1]:,} texts drawn by {name}")
    return [f"Refused as copies of a real text: {', '.join(said)}."] if said else []


def _unanswered(question: str, reason: str | None, details: Sequence[str] = ()) -> Answer:
    return Answer(question, "It cannot be said", "none", reason or "not measured", [], list(details))


def looks(score: Measured) -> str:
    embedder = score.name.partition("[")[2].rstrip("]")
    if not embedder:
        return "looks at the words alone"
    return "looks through the fine-tuned model itself" if embedder == "domain" else f"looks through {embedder}"


def refused_copies(stored: Stored, decoder: str) -> tuple[int, int] | None:
    """Texts refused as copies, and texts drawn."""
    counts = stored.drawn.get(decoder)
    return None if counts is None else (counts.get("copy", 0), sum(counts.values()))


def _two(value: float) -> str:
    return f"{value:.2f}"


def _yardsticks(score: Measured, form: Callable[[float], str]) -> list[tuple[str, str]]:
    """The interval, and what else was measured in the same way."""
    mine, rival = score.mine, score.rival
    rows = [("95% interval", _range(mine, form))]
    if not isnan(mine.ceiling):
        rows.append(("real texts instead", form(mine.ceiling)))
    if not isnan(rival.value):
        rows.append(("plain nucleus sampling", f"{form(rival.value)} ({_range(rival, form)})"))
    return rows


def _range(reading: Reading, form: Callable[[float], str]) -> str:
    return f"{form(reading.low)} to {form(reading.high)}" if reading.interval else "none"
