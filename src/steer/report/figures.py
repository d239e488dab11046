"""The figures of a report and of a paper: what is drawn where, from plain numbers.

    figure = scatter("Map", {"synthetic": [Point(0.1, 0.2, "a text"), ...], "real": [...]})
    inline(figure)      # for the page, in its colours, light and dark
    svg(figure)         # a file of its own, on white

Sets take colours and marks by their order, or by `places`, name -> number, which makes them look the same in several
figures. A number that is not finite, or beyond 1e30, is left out; a figure of which nothing remains says "nothing to
show".
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from steer.report.axis import Axis
from steer.report.drawing import (
    HUGE,
    LEFT,
    RIGHT,
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    Swatch,
    axes,
    bar,
    block,
    curve,
    cut,
    dot,
    estimate,
    figure,
    inline,
    interval,
    joined,
    known,
    labels,
    left_out,
    legend,
    line,
    mark,
    marked_line,
    minus,
    nothing,
    number,
    share,
    svg,
    told,
    whisker,
)
from steer.report.readings import Reading

__all__ = ["Figure", "Point", "bars", "forest", "histograms", "inline", "lines", "scatter", "svg"]

POINTS, CATEGORIES, MARKED = 2000, 12, 40  # at most: points of a map, labels of a set, marks of a curve
HOVER = 240  # characters of a point's text
INSET = 8  # px; keeps marks off the edges of a plot


Places = Mapping[str, int]
Curve = Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class Point:
    """A text at its place on a map."""

    x: float
    y: float
    text: str


def scatter(
    title: str,
    sets: Mapping[str, Sequence[Point]],
    hulls: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    x_name: str = "",
    y_name: str = "",
    places: Places | None = None,
) -> Figure:
    """A map of texts. hulls: a set's name -> the corners of its outline, in their order around it.

    Of more than POINTS points, an even selection of each set is drawn.
    """
    points = {name: [p for p in found if known(p.x) and known(p.y)] for name, found in sets.items()}
    outlines = {name: [(x, y) for x, y in corners if known(x) and known(y)] for name, corners in (hulls or {}).items()}
    corners = [(p.x, p.y) for found in points.values() for p in found] + [c for cs in outlines.values() for c in cs]
    if not corners:
        return nothing(title)
    place = _placed([*points, *outlines], places)
    counted = {name: _counted(name, points.get(name, [])) for name in place}
    items, top = legend([(words, partial(dot, place[name])) for name, words in counted.items()])
    x = Scale.over((x for x, _ in corners), LEFT + INSET, RIGHT - INSET)
    y = Scale.over((y for _, y in corners), top + 450 - INSET, top + 30 + INSET)
    frame, bottom = axes(x, y, x_name, y_name, inset=INSET)
    items += frame
    for name, outline in outlines.items():
        if outline:
            path = "L".join(f"{x(a):g} {y(b):g}" for a, b in outline)
            items.append(curve(place[name], f"M{path}z", f"convex hull of {name}", "hull"))
    every = max(1, math.ceil(sum(map(len, points.values())) / POINTS))
    drawn = {name: found[::every] for name, found in points.items()}
    # The sets take turns, each at its own pace, so that none is drawn over the others.
    turns = sorted(
        ((k + 0.5) / len(found), place[name], k, name) for name, found in drawn.items() for k in range(len(found))
    )
    for _, i, k, name in turns:
        p = drawn[name][k]
        items.append(mark(i, x(p.x), y(p.y), f"{name}\n{cut(p.text, HOVER)}"))
    notes = [f"One point in {every} of each set is drawn."] if every > 1 else []
    notes += left_out(_lost(sets.values(), points.values()))
    caption = "Each mark is a text; texts that are alike lie close together."
    caption += " Outlined are the convex hulls of the sets." if outlines else ""
    return figure(title, f"A map of {', '.join(counted.values())}.", caption, items, bottom, notes)


def forest(title: str, rows: Mapping[str, Mapping[str, Reading]], places: Places | None = None) -> Figure:
    """Scores with their 95% intervals: score -> set -> reading, each score on a scale of its own.

    The ceiling of a score is that of its first reading. In place of a value that is NaN stands its reason.
    """
    place = _placed((name for readings in rows.values() for name in readings), places)
    if not place:
        return nothing(title)
    entries: list[tuple[str, Swatch]] = [(name, partial(interval, i)) for name, i in place.items()]
    if any(known(_ceiling(readings)) for readings in rows.values()):
        entries.append(("real against real", lambda x, y: [Shape(f"M{x:g} {y - 8:g}v16", "ceiling")]))
    items, bottom = legend(entries)
    for score, readings in rows.items():
        row, bottom = _row(score, readings, place, bottom)
        items += row
    caption = "Marks are values and bars their 95% intervals; every score has a scale of its own."
    return figure(title, f"{len(rows)} scores of {', '.join(place)}.", caption, items, bottom)


def _ceiling(readings: Mapping[str, Reading]) -> float:
    return next((reading.ceiling for reading in readings.values()), math.nan)


def _row(score: str, readings: Mapping[str, Reading], place: Places, top: float) -> tuple[list[Item], float]:
    """One score: its name, its sets under each other, their scale; and where all of it ends."""
    left, right, values, y = 240, 496, 520, top + 20
    ceiling = _ceiling(readings)
    numbers = [n for r in readings.values() for n in (r.value, r.low, r.high) if known(r.value)] + [ceiling]
    numbers = [n for n in numbers if known(n)]
    scale, ends = _round_scale(numbers, left, right)
    front: list[Item] = []
    for name, reading in readings.items():
        if known(reading.value):
            words = told(reading.value, reading.low, reading.high)
            low, high = (scale(n if known(n) else reading.value) for n in (reading.low, reading.high))
            front += estimate(place[name], low, scale(reading.value), high, y, f"{score}\n{name}: {words}")
            front.append(Label(values, y + 4.5, words))
            y += 22
        else:
            at = values if numbers else left
            why = labels(f"none: {reading.reason or 'not defined'}", at, y + 4.5, 712 - at, 4, "tick")
            front += why
            y += 6 + 16 * len(why)
    named = labels(score, 8, top + 24.5, left - 30, 4)
    back: list[Item] = [Shape(f"M8 {top:g}H712", "grid"), *named]
    if numbers:
        back += [Shape(f"M{left} {y - 6:g}H{right}", "axis")]
        back += [Label(left, y + 9, ends[0], "tick"), Label(right, y + 9, ends[1], "tick", "end")]
    if known(ceiling):
        words = f"{score}\nreal against real: {number(ceiling)}"
        back.append(Shape(f"M{scale(ceiling):g} {top + 8:g}V{y - 6:g}", "ceiling", words))
    return back + front, max(y + 16 * bool(numbers), top + 20 + 16 * len(named)) + 4


def _round_scale(numbers: Sequence[float], left: float, right: float) -> tuple[Scale, tuple[str, str]]:
    """A scale that ends at round numbers, within [0, 1] if they all are, and its ends in words."""
    scale = Scale.around(numbers, left, right)
    if max(map(abs, numbers), default=0.0) >= 1e6:
        return scale, (number(scale.low), number(scale.high))
    axis = Axis.around(numbers)
    return scale, (minus(axis.label(axis.low)), minus(axis.label(axis.high)))


def histograms(
    title: str,
    x_name: str,
    series: Mapping[str, Sequence[float]],
    bins: int = 30,
    log: bool = False,
    places: Places | None = None,
) -> Figure:
    """How the numbers of several sets are spread: the share of a set's numbers in each bin, as outlines.

    log: bins of equal ratio; numbers of 0 or less, which have no place there, still count in the shares. Raises
    ValueError on fewer than one bin.
    """
    if bins < 1:
        raise ValueError(f"a histogram of {bins} bins; expected at least 1")
    found = {name: [float(v) for v in values if known(v)] for name, values in series.items()}
    shown = {name: [v for v in values if not log or v >= 1 / HUGE] for name, values in found.items()}
    names = [name for name, values in shown.items() if values]
    if not names:
        return nothing(title)
    place = _placed(series, places)
    items, top = legend([(_counted(name, found[name]), partial(line, place[name])) for name in names])
    x = Scale.over((v for values in shown.values() for v in values), LEFT, RIGHT, log)
    edges = (np.geomspace if log else np.linspace)(x.low, x.high, bins + 1)
    shares = [np.histogram(shown[name], edges)[0] / len(found[name]) for name in names]
    y = Scale.over([0.0, 1.05 * max(map(max, shares))], top + 290, top + 30)
    frame, bottom = axes(x, y, x_name, "share of each set", share)
    items += frame
    across = [x(edge) for edge in edges]
    for k in range(bins):
        told = [f"{number(edges[k])} to {number(edges[k + 1])}"]
        told += [f"{name}: {share(of[k])}" for name, of in zip(names, shares, strict=True)]
        box = f"M{across[k]:g} {y.end:g}H{across[k + 1]:g}V{y.start:g}H{across[k]:g}z"
        items.append(Shape(box, "hover", "\n".join(told)))
    medians = [f"{name} {number(float(np.median(found[name])))}" for name in names]
    for name, of, median in zip(names, shares, medians, strict=True):
        steps = "".join(f"V{y(value):g}H{right:g}" for value, right in zip(of, across[1:], strict=True))
        items.append(curve(place[name], f"M{across[0]:g} {y.start:g}{steps}V{y.start:g}", f"median of {median}"))
    notes = [f"{name}: nothing to show." for name in series if name not in names]
    below = {name: len(found[name]) - len(shown[name]) for name in names}
    notes += [f"{name}: {n:,} of {len(found[name]):,} are 0 or less, and not shown." for name, n in below.items() if n]
    notes += left_out(_lost(series.values(), found.values()))
    caption = f"The share of each set by {x_name or 'value'}, in {bins} bins."
    return figure(title, f"Medians: {', '.join(medians)}.", caption, items, bottom, notes)


def bars(title: str, series: Mapping[str, Mapping[str, float]], places: Places | None = None) -> Figure:
    """How labels are distributed: set -> label -> share in [0, 1]; the greatest come first.

    Of more than CATEGORIES labels, the smallest are drawn as one. Raises ValueError on a share outside [0, 1].
    """
    found = {name: {label: float(v) for label, v in of.items() if known(v)} for name, of in series.items()}
    outside = [(name, label, v) for name, of in found.items() for label, v in of.items() if not 0 <= v <= 1 + 1e-9]
    if outside:
        name, label, value = outside[0]
        raise ValueError(f"the share of {label!r} in {name!r} is {value}; expected a number in [0, 1]")
    names = [name for name, of in found.items() if of]
    if not names:
        return nothing(title)
    every = dict.fromkeys(label for of in found.values() for label in of)
    ranked = sorted(every, key=lambda label: -max(of.get(label, 0.0) for of in found.values()))
    shown = ranked if len(ranked) <= CATEGORIES else ranked[: CATEGORIES - 1]
    rest = ranked[len(shown) :]
    groups = [(label, [found[name].get(label, math.nan) for name in names]) for label in shown]
    if rest:
        groups.append((f"{len(rest)} others", [sum(found[name].get(label, 0.0) for label in rest) for name in names]))
    place = _placed(series, places)
    items, top = legend([(name, partial(block, place[name])) for name in names])
    widest = max(value for _, values in groups for value in values if known(value))
    x = Scale(0.0, widest or 1.0, 200, RIGHT - 48)
    y = top + 14
    for label, values in groups:
        items += labels(label, 8, y + 12.5, 180, min(2, len(names)))
        for name, value in zip(names, values, strict=True):
            end, words = (x(value), f"{value:.1%}") if known(value) else (x.start, "none")
            items += bar(place[name], x.start, y + 8, end, f"{label}\n{name}: {words}") if known(value) else []
            items.append(Label(end + 6, y + 12.5, words, "tick"))
            y += 16
        y += 10
    items.append(Shape(f"M{x.start:g} {top + 8:g}V{y - 4:g}", "axis"))
    notes = [f"{name}: nothing to show." for name in series if name not in names]
    caption = "The share of each label in each set."
    return figure(title, f"{len(ranked)} labels of {', '.join(names)}.", caption, items, y, notes)


def lines(title: str, x_name: str, y_name: str, curves: Mapping[str, Curve], places: Places | None = None) -> Figure:
    """Curves: name -> points (x, y), or (x, y, ±) with a spread; a y of NaN leaves a gap."""
    points = {name: [_point(*point) for point in of] for name, of in curves.items()}
    found = [point for of in points.values() for point in of if _there(point)]
    if not found:
        return nothing(title)
    spread = any(c for _, _, c in found)
    place = _placed(points, places)
    items, top = legend([(name, partial(marked_line, i)) for name, i in place.items()])
    across = Scale.over((a for a, _, _ in found), LEFT + INSET, RIGHT - INSET)
    up = Scale.around((e for _, b, c in found for e in (b - c, b + c)), top + 290 - INSET, top + 30 + INSET)
    frame, bottom = axes(across, up, x_name, y_name, inset=INSET, most=across.most(a for a, _, _ in found))
    items += frame
    # Curves with a spread stand a little beside each other, or they would hide each other's.
    apart = min(4, 12 / len(points)) if spread else 0
    for k, (name, of) in enumerate(points.items()):
        aside = apart * (k - (len(points) - 1) / 2)
        at = [(across(p[0]) + aside, up(p[1])) if _there(p) else None for p in of]
        items.append(curve(place[name], joined(at), name))
        every = math.ceil(len(of) / MARKED)
        for j, (a, b, c) in enumerate(filter(_there, of)):
            words = f"{name}\n{x_name} {a:g}: {number(b)}" + (f" ± {number(c)}" if c else "")
            if c:
                items.append(whisker(place[name], across(a) + aside, up(b - c), up(b + c), words))
            here = mark(place[name], across(a) + aside, up(b), words)
            items.append(here if j % every == 0 else replace(here, kind="hover"))
    notes = [f"{name}: nothing to show." for name, of in points.items() if not any(map(_there, of))]
    caption = f"{y_name or 'Values'} by {x_name or 'x'}{', with its spread' if spread else ''}."
    caption = caption[0].upper() + caption[1:]
    return figure(title, f"Curves of {', '.join(points)}.", caption, items, bottom, notes)


def _point(x: float, y: float, spread: float = 0.0) -> tuple[float, float, float]:
    return float(x), float(y), abs(float(spread)) if known(spread) else 0.0


def _there(point: tuple[float, float, float]) -> bool:
    return known(point[0]) and known(point[1])


def _placed(names: Iterable[str], places: Places | None) -> dict[str, int]:
    """Each name with the number that decides its looks."""
    return {name: (places or {}).get(name, i) for i, name in enumerate(dict.fromkeys(names))}


def _counted(name: str, values: Sequence[object]) -> str:
    return f"{name} ({len(values):,})"


def _lost(given: Iterable[Sequence[object]], kept: Iterable[Sequence[object]]) -> int:
    return sum(map(len, given)) - sum(map(len, kept))
