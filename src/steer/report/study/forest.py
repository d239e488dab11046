"""Rates or strengths with their intervals under each other, on one scale, around a line at no preference."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import nan

from steer.report.drawing import (
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    Swatch,
    estimate,
    figure,
    interval,
    known,
    labels,
    legend,
    mark,
    nothing,
    width,
    wrapped,
)

LEFT, RIGHT, WORDS, EDGE = 208, 490, 506, 712  # px: where the plot begins and ends, the words, and the drawing
HIGH, THIN, HEADING = 24, 7, 420  # px: a line, how far below it the thin interval lies, and the room of a heading


@dataclass(frozen=True)
class Line:
    """A value with its interval, and in words. place: what decides its looks. thin: another interval, NaN for none."""

    label: str
    place: int
    value: float
    low: float
    high: float
    words: str
    thin: tuple[float, float] = (nan, nan)


@dataclass(frozen=True)
class Block:
    """Lines under a heading, which may be empty."""

    heading: str
    lines: Sequence[Line]


@dataclass(frozen=True)
class Sides:
    """middle: no preference. left, right: what lies on either side. words: of a number on the axis, if not plain."""

    middle: float
    left: str
    right: str
    words: Callable[[float], str] | None = None


def forest(
    title: str, blocks: Sequence[Block], sides: Sides, names: Sequence[tuple[str, int]], thin: str, caption: str
) -> Figure:
    """names: of the places, for the legend. thin: what the thin intervals are."""
    lines = [line for block in blocks for line in block.lines if known(line.value)]
    if not lines:
        return nothing(title)
    entries: list[tuple[str, Swatch]] = [(name, partial(interval, place)) for name, place in names]
    if any(known(end) for line in lines for end in line.thin):
        entries.append((thin, lambda x, y: [Shape(f"M{x - 14:g} {y:g}h28", "whisker c0")]))
    items, top = legend(entries)
    ends = [end for line in lines for end in (line.value, line.low, line.high, *line.thin) if known(end)]
    scale = Scale.around([*ends, sides.middle], LEFT, RIGHT)
    front: list[Item] = []
    y = top + 34
    for block in blocks:
        drawn, y = _block(block, scale, y)
        front += drawn
    frame = _frame(scale, sides, top + 24, y)
    said = "; ".join(f"{block.heading} {line.label}: {line.words}".strip() for block in blocks for line in block.lines)
    return figure(title, said, caption, [*items, *frame, *front], y + 26)


def _frame(scale: Scale, sides: Sides, top: float, bottom: float) -> Iterator[Item]:
    """The scale, the line of no preference, and which side is whose."""
    for x, words in scale.ticks(sides.words, most=6):
        yield Shape(f"M{x:g} {top:g}V{bottom:g}", "grid")
        yield Label(x, bottom + 17, words, "tick", "middle")
    middle = scale(sides.middle)
    yield Shape(f"M{middle:g} {top:g}V{bottom:g}", "dashed", "no preference")
    for words, room, aside, anchor in (
        (f"← {sides.left}", middle - 14, -6, "end"),
        (f"{sides.right} →", EDGE - middle - 6, 6, "start"),
    ):
        arrow = words.replace("← ", "").replace(" →", "")
        cut = wrapped(arrow, room - width("← "))[0]
        shown = f"← {cut}" if anchor == "end" else f"{cut} →"
        yield Label(middle + aside, top - 8, shown, "tick", anchor, arrow if cut != arrow else "")


def _block(block: Block, scale: Scale, top: float) -> tuple[list[Item], float]:
    items: list[Item] = []
    y = top
    if block.heading:
        items += [Shape(f"M8 {y - 4:g}H{EDGE}", "grid"), *labels(block.heading, 8, y + 14, HEADING, 2, "bold")]
        y += 8 + 16 * (len(items) - 1)
    for line in block.lines:
        names = labels(line.label, 20, y + HIGH / 2 + 4.5, LEFT - 36, 2)
        high = HIGH + 16 * (len(names) - 1)
        items += [*names, *_line(line, scale, y + high / 2)]
        y += high
    return items, y + 8


def _line(line: Line, scale: Scale, y: float) -> list[Item]:
    items: list[Item] = []
    if not known(line.value):
        return labels(line.words, WORDS, y + 4.5, EDGE - WORDS, kind="tick")
    title = f"{line.label}\n{line.words}"
    at = scale(line.value)
    if known(line.low) and known(line.high):
        items += estimate(line.place, scale(line.low), at, scale(line.high), y, title)
    else:
        items.append(mark(line.place, at, y, title))
    if all(map(known, line.thin)):
        low, high = map(scale, line.thin)
        items.append(Shape(f"M{low:g} {y + THIN:g}H{high:g}", f"whisker c{line.place % 4}", f"{title}\nnaive interval"))
    return [*items, *labels(line.words, WORDS, y + 4.5, EDGE - WORDS)]
