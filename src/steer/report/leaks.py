"""Does a set hand out what it was made from? What the authenticity scores prove, and what they cannot rule out.

A leak is said wherever one of them proves it, however good the rest looks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from steer.report.answers import Answer, range_of, unanswered, yardsticks
from steer.report.judged import Judged
from steer.report.readings import Measured, Reading, against_real, every, hundred, measured, percent

QUESTION = "Is anything copied or memorised?"
SURE = 0.01  # chance of a false alarm
KEPT = 0.95  # share of real texts that keep the distance which calibrated authenticity asks for
OWN = "domain"  # the embedder that was itself fine-tuned on the training texts


@dataclass(frozen=True)
class Leak:
    """A proof: in words, and as a number with what it counts."""

    words: str
    number: str
    unit: str


def leaks(metrics: Mapping[str, Any] | None, judged: Judged, of: str = "synthetic") -> list[Leak]:
    """The proofs that a set leaks. `of`: "synthetic" or a rival.

    The generator's own model has seen the training texts and knows them from others, whatever it writes: what lies near
    to them in its eyes proves nothing.
    """

    def seen(plain: str) -> list[tuple[Measured, Reading]]:
        found = [score for score in every(metrics, plain) if score.embedder != OWN]
        return [(score, score.mine if of == "synthetic" else score.rivals[of]) for score in found]

    found = [_copies(reading, judged, of) for _, reading in seen("copied_share") if _has_copies(reading)]
    found += [_nearer(reading, score) for score, reading in seen("membership_auroc") if _is_nearer(reading)]
    kept = seen("calibrated_authenticity")
    found += [_closer(reading, score, judged) for score, reading in kept if reading.high < KEPT]
    # What is not calibrated counts where nothing better is known.
    if not any(reading.known for _, reading in kept):
        plain = [(score, reading) for score, reading in seen("authenticity") if against_real(reading) == "below"]
        found += [_closer(reading, score, judged) for score, reading in plain]
    return found


def _has_copies(reading: Reading) -> bool:
    return reading.low > (0.0 if isnan(reading.ceiling) else reading.ceiling)


def _is_nearer(reading: Reading) -> bool:
    """By the interval, and by the exact test where there is one: to say this of a set that does not leak is grave."""
    return reading.low > 0.5 and not reading.p >= SURE


def _copies(reading: Reading, judged: Judged, of: str) -> Leak:
    total = len(judged.texts.get(of, ()))
    real = "" if isnan(reading.ceiling) else f", and {percent(reading.ceiling)} of real texts in their place"
    return Leak(
        f"{percent(reading.value)} of them ({range_of(reading, percent)}) are near copies of a {judged.source} "
        f"text{real}",
        f"{round(reading.value * total):,} of {total:,}",
        f"texts are near copies of a {judged.source} text",
    )


def _nearer(reading: Reading, score: Measured) -> Leak:
    return Leak(
        f"in {hundred(reading.value)} of 100 pairs ({range_of(reading, hundred)}) a training text lies closer to them "
        f"than a held-out one{_through(score)}, and chance is 50",
        f"{hundred(reading.value)} of 100",
        "pairs in which a training text lies closer to them than a held-out one",
    )


def _closer(reading: Reading, score: Measured, judged: Judged) -> Leak:
    share, keep = percent(reading.value), _keep(score, judged)
    return Leak(
        f"only {share} of them ({range_of(reading, percent)}) {keep}{_through(score)}", share, f"of them {keep}"
    )


def _keep(score: Measured, judged: Judged) -> str:
    if score.name.startswith("calibrated"):
        return f"keep the distance from {judged.source} texts that {KEPT:.0%} of other real texts keep"
    real = "" if isnan(score.mine.ceiling) else f", as do {percent(score.mine.ceiling)} of other real texts"
    return f"lie further from the nearest {judged.source} text than that one does from its own neighbour{real}"


def _through(score: Measured) -> str:
    return f", seen through {score.embedder}" if score.embedder else ""


def authentic(judged: Judged) -> Answer:
    """The third answer of the verdict."""
    copied, nearer, kept, plain = (
        measured(judged.metrics, name)
        for name in ("copied_share", "membership_auroc", "calibrated_authenticity", "authenticity")
    )
    kept = kept if kept.mine.known else plain
    found = leaks(judged.metrics, judged)
    if found:
        opening = "They leak" if judged.trained else "They copy the real texts that were given"
        said = [leak.words for leak in found]
        reply, number, unit = opening if judged.trained else "They copy", found[0].number, found[0].unit
    elif any(score.mine.known for score in (copied, nearer, kept)):
        copies = copied.mine.value > 0
        opening = f"No {'leak' if judged.trained else 'copying'}{' beyond chance' if copies else ''} was found"
        said, reply = _clean(judged, copied.mine, nearer.mine, kept), opening
        opening += " at this size"
        count = len(judged.synthetic)
        number, unit = f"{round(copied.mine.value * count):,} of {count:,}", f"near copies of a {judged.source} text"
        if not copied.mine.known:
            number, unit = "none", copied.mine.reason or "not measured"
    else:
        why = copied.mine.reason or "not measured"
        return unanswered(QUESTION, f"Whether anything was copied or memorised cannot be said: {why}.", why)
    if not judged.trained:
        said.append("whether anything was memorised cannot be judged without the training texts")
    return Answer(
        QUESTION,
        f"{opening}: {'; '.join(said)}.",
        reply,
        number,
        unit,
        yardsticks(copied, percent) if copied.mine.known else [],
        _details(judged, copied, nearer, kept),
        alarm=bool(found),
    )


def _clean(judged: Judged, copied: Reading, nearer: Reading, kept: Measured) -> list[str]:
    """What was looked for and not found, and how much of it might be there."""
    said = []
    if copied.value == 0:
        some = f" (up to {percent(copied.high)} is not ruled out)" if copied.interval else ""
        said.append(f"none of the {len(judged.synthetic):,} texts is a near copy of a {judged.source} one{some}")
    elif copied.known:
        real = "" if isnan(copied.ceiling) else f", and {percent(copied.ceiling)} of real texts in their place"
        said.append(
            f"{percent(copied.value)} of them ({range_of(copied, percent)}) are near copies of a {judged.source} "
            f"text{real}"
        )
    if nearer.known:
        said.append(
            f"a training text lies closer to them than a held-out one in {100 * nearer.value:.0f} of 100 pairs "
            f"({range_of(nearer, hundred)}), where chance is 50"
        )
    elif kept.mine.known:
        said.append(f"{percent(kept.mine.value)} ({range_of(kept.mine, percent)}) {_keep(kept, judged)}")
    elif judged.trained:
        said.append(f"how near they lie to training texts is not known ({nearer.reason or 'not measured'})")
    return said


def _details(judged: Judged, copied: Measured, nearer: Measured, kept: Measured) -> list[str]:
    said = []
    if nearer.mine.known:
        said.append(
            f"A training text lies closer to them than a held-out one in {100 * nearer.mine.value:.0f} of 100 pairs "
            f"({range_of(nearer.mine, hundred)}). Chance is 50."
        )
    if kept.mine.known:
        said.append(f"{percent(kept.mine.value)} ({range_of(kept.mine, percent)}) {_keep(kept, judged)}.")
    said += _own(every(judged.metrics, "membership_auroc"))
    said += [f"The rival “{one}” leaks: {of[0].words}." for one, of in leaking_rivals(judged).items()]
    if judged.refused:
        names = {"steer": "steering", "nucleus": "plain sampling"}
        counts = [f"{n:,} of the {of:,} texts drawn by {names[name]}" for name, (n, of) in judged.refused.items()]
        said.append(f"Refused before, by the same notion of a copy: {', '.join(counts)}.")
    return said


def _own(scores: Sequence[Measured]) -> list[str]:
    """What the generator's own model sees is told, and why it does not count."""
    return [
        f"Seen through the fine-tuned model itself it is {hundred(score.mine.value)} ({range_of(score.mine, hundred)}) "
        "of 100 pairs. That proves nothing: this model has seen the training texts and knows them from others."
        for score in scores
        if score.embedder == OWN and score.mine.low > 0.5
    ]


def leaking_rivals(judged: Judged) -> dict[str, list[Leak]]:
    found = {rival: leaks(judged.metrics, judged, rival) for rival in judged.rivals}
    return {rival: of for rival, of in found.items() if of}
