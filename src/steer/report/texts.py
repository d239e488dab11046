"""Texts side by side: samples next to the nearest real text, refused ones next to what they copy."""

import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from math import isnan
from typing import Any

from steer.report.stored import Stored
from steer.similarity import CopyFinder, normalise

SHOWN, CLOSEST, REFUSED_SHOWN, LISTED = 12, 3, 3, 500
LONGEST = 1500  # characters of a text that are shown
GATES = {
    "malformed": ("Malformed", "empty, cut off before its end, or with broken characters"),
    "unreadable": ("Out of form", "does not read back by the template of an example"),
    "copy": ("Copy", "too like a real text"),
    "duplicate": ("Duplicate", "too like a synthetic text accepted before it"),
}


@dataclass(frozen=True)
class Text:
    """Pieces of (text, whether the other side has it too); `cut` is how many characters are not shown."""

    pieces: list[tuple[str, bool]]
    cut: int = 0


@dataclass(frozen=True)
class Side:
    """A text and, if there is one, the source that it is compared with."""

    id: str
    labels: dict[str, str]
    text: Text
    source: Text | None
    similarity: str | None
    note: str | None = None


@dataclass(frozen=True)
class SamplesView:
    """chosen: beside their nearest real text; listed: all of them, or [] where there are too many for a page."""

    total: int
    compared: int
    chosen: list[Side]
    listed: list[Side]


@dataclass(frozen=True)
class Gate:
    """A gate's counts; a bar's width is in percent of the widest, None where the decoder drew nothing."""

    name: str
    about: str
    steer: tuple[int, str, float] | None
    nucleus: tuple[int, str, float] | None
    examples: list[Side]


@dataclass(frozen=True)
class RefusedView:
    gates: list[Gate]
    drawn: dict[str, int]
    accepted: dict[str, int]
    surplus: dict[str, int]
    listed: bool


def samples_view(stored: Stored) -> SamplesView | None:
    if stored.synthetic is None:
        return None
    task, rows = stored.settings.task, stored.synthetic
    texts = [task.render(row) for row in rows]
    real = [record.text for record in stored.all_real]
    some = _spread(range(len(texts)), _affordable(texts, real)) if real else []
    matches = dict(zip(some, CopyFinder(real).nearest(texts[i] for i in some), strict=True))
    # Ids break ties, so that equal similarities do not depend on the order of the rows.
    ranked = sorted(matches, key=lambda i: (-matches[i].similarity, str(rows[i]["id"])))
    chosen = ranked[:CLOSEST] + _spread(ranked[CLOSEST:], SHOWN - CLOSEST)
    listed = list(range(len(texts))) if len(texts) <= LISTED else []
    return SamplesView(
        total=len(texts),
        compared=len(some),
        chosen=[
            _side(rows[i], _labels(stored, rows[i]), texts[i], real[matches[i].index], matches[i].similarity)
            for i in chosen
        ],
        listed=[_side(rows[i], _labels(stored, rows[i]), texts[i]) for i in listed],
    )


def refused_view(stored: Stored) -> RefusedView | None:
    drawn = stored.drawn
    if not drawn:
        return None
    totals = {decoder: sum(counts.values()) for decoder, counts in drawn.items()}
    shares = [n / totals[d] for d, counts in drawn.items() for v, n in counts.items() if v in GATES and n]
    widest = max(shares, default=1.0)

    def bar(decoder: str, verdict: str) -> tuple[int, str, float] | None:
        if decoder not in drawn:
            return None
        n, share = drawn[decoder].get(verdict, 0), drawn[decoder].get(verdict, 0) / max(1, totals[decoder])
        return n, f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}", round(100 * share / widest, 2)

    gates = []
    for verdict, (name, about) in GATES.items():
        rows = [row for row in stored.rejected or [] if row["verdict"] == verdict]
        # The likest first: they show how far a refusal goes.
        rows.sort(key=lambda row: (-(row["similarity"] or 0), row["id"]))
        examples = [_refusal(row) for row in _spread(rows, REFUSED_SHOWN)]
        gates.append(Gate(name, about, bar("steer", verdict), bar("nucleus", verdict), examples))
    return RefusedView(
        gates=gates,
        drawn=totals,
        accepted={decoder: counts.get("accepted", 0) for decoder, counts in drawn.items()},
        surplus={decoder: counts.get("surplus", 0) for decoder, counts in drawn.items()},
        listed=stored.rejected is not None,
    )


def shared(text: str, source: str) -> tuple[list[tuple[str, bool]], list[tuple[str, bool]]]:
    """Both texts in pieces, with the word sequences marked that stand in both, in the same order."""
    mine, theirs = re.findall(r"\s+|\S+", text), re.findall(r"\s+|\S+", source)
    words = [[(i, _word(part)) for i, part in enumerate(side) if not part.isspace()] for side in (mine, theirs)]
    a, b = ([word for _, word in side] for side in words)
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    marked: tuple[set[int], set[int]] = (set(), set())
    for block in blocks:
        for side, start, marks in zip(words, (block.a, block.b), marked, strict=True):
            run = side[start : start + block.size]
            # A lone "of the" is in every text, and says nothing.
            if sum(len(word) for _, word in run) >= 6:
                marks.update(range(run[0][0], run[-1][0] + 1))
    return _joined(mine, marked[0]), _joined(theirs, marked[1])


def _joined(parts: Sequence[str], marked: set[int]) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    for i, part in enumerate(parts):
        if pieces and pieces[-1][1] == (i in marked):
            pieces[-1] = (pieces[-1][0] + part, pieces[-1][1])
        else:
            pieces.append((part, i in marked))
    return pieces


def _word(part: str) -> str:
    return normalise(part).strip(string.punctuation + "“”\u2018\u2019") or part


def _side(
    row: Mapping[str, Any],
    labels: dict[str, str],
    text: str,
    source: str | None = None,
    similarity: float | None = None,
    note: str | None = None,
) -> Side:
    kept = text[:LONGEST]
    mine, theirs = shared(kept, source[:LONGEST]) if source is not None else ([(kept, False)] if kept else [], [])
    return Side(
        id=str(row["id"]),
        labels=labels,
        text=Text(mine, len(text) - len(kept)),
        source=None if source is None else Text(theirs, max(0, len(source) - LONGEST)),
        similarity=None if similarity is None or isnan(similarity) else f"{similarity:.0%}",
        note=note,
    )


def _refusal(row: Mapping[str, Any]) -> Side:
    reason = row["reason"]
    if reason.startswith("shared run"):
        reason = "of the words are one run that stands in the other text"
    elif row["similarity"] is not None:
        reason = "alike, character by character"
    return _side(row, dict(row["labels"]), row["text"], row.get("source_text"), row["similarity"], reason)


def _labels(stored: Stored, row: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(row[name]) for name in stored.settings.task.labels if name in row}


def _affordable(texts: Sequence[str], real: Sequence[str]) -> int:
    """How many texts can be compared with all real ones in some ten seconds: the cost grows with length squared."""
    length = max(50.0, sum(map(len, [*texts, *real])) / max(1, len(texts) + len(real)))
    return max(SHOWN, int(10_000_000 * (200 / length) ** 2 / max(1, len(real))))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of the items, evenly from first to last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / max(1, count - 1))] for i in range(count)]
