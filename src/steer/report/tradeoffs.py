"""Figures of a trade-off: scores over one dial, and one score against another.

They ask what figures 4 and 5 of the STEER paper (arXiv:2308.07645) ask: what each dial buys and costs, and whether some
setting beats its rivals in diversity and fidelity at once. Better lies further up or to the right. Intervals are of
95%. A number that is not finite is left out, and counted.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from steer.report.drawing import (
    LEFT,
    RIGHT,
    Box,
    Figure,
    Item,
    Label,
    Scale,
    Shape,
    Swatch,
    axes,
    curve,
    dot,
    figure,
    joined,
    known,
    left_out,
    legend,
    mark,
    marked_line,
    nothing,
    number,
    outline,
    told,
    whisker,
    width,
    wrapped,
)
from steer.report.figures import INSET, MARKED, Places

CROWD = 60  # marks above which only those on a line or with a name have their intervals drawn

Place = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """What an axis or a map is of, and its direction."""

    name: str
    higher_is_better: bool = True

    @property
    def words(self) -> str:
        return f"{self.name} ({'higher' if self.higher_is_better else 'lower'} is better)"

    @property
    def axis(self) -> str:
        return self.words if self.higher_is_better else f"{self.name} (lower is better, axis reversed)"

    def scale(self, values: Iterable[float], start: float, end: float) -> Scale:
        """A round one on which better lies nearer to `end`."""
        scale = Scale.around(values, start, end)
        return scale if self.higher_is_better else scale.reversed()


@dataclass(frozen=True)
class Spot:
    """A setting and what was measured of it, with intervals; x may be a dial, which has none.

    words: how it was made, for where the mouse rests on it. link: to its texts on the page, such as "#texts-3".
    """

    x: float
    y: float
    x_low: float = math.nan
    x_high: float = math.nan
    y_low: float = math.nan
    y_high: float = math.nan
    words: str = ""
    link: str | None = None

    @property
    def known(self) -> bool:
        return known(self.x) and known(self.y)

    @property
    def across(self) -> tuple[float, float]:
        """The ends of the interval of x; x itself, twice, where there is none."""
        return (self.x_low, self.x_high) if known(self.x_low) and known(self.x_high) else (self.x, self.x)

    @property
    def up(self) -> tuple[float, float]:
        return (self.y_low, self.y_high) if known(self.y_low) and known(self.y_high) else (self.y, self.y)


def _placed(names: Iterable[str], places: Places | None) -> dict[str, int]:
    """Each name with the number that decides its looks."""
    return {name: (places or {}).get(name, i) for i, name in enumerate(names)}


# -- scores over one dial --------------------------------------------------------------------------------------------


def dials(
    title: str,
    x_name: str,
    curves: Mapping[str, Sequence[Spot]],
    best: float | None = None,
    y_name: str = "score",
    places: Places | None = None,
) -> Figure:
    """Scores over one dial: name of a score -> spots, whose x is the dial.

    best: where the sum of the scores is greatest, as in figure 4. A y that is not finite leaves a gap.
    """
    points = {name: sorted((s for s in spots if known(s.x)), key=lambda s: s.x) for name, spots in curves.items()}
    found = [spot for spots in points.values() for spot in spots if spot.known]
    if not found:
        return nothing(title)
    upright = [best] if best is not None and known(best) else []
    place = _placed(points, places)
    swatches: list[tuple[str, Swatch]] = [(name, partial(marked_line, i)) for name, i in place.items()]
    for x in upright:
        swatches += [(f"greatest sum ({x_name} {x:g})", lambda x, y: [Shape(f"M{x:g} {y - 9:g}v18", "dashed")])]
    items, top = legend(swatches)
    xs = [*(spot.x for spot in found), *upright]
    across = Scale.over(xs, LEFT + INSET, RIGHT - INSET)
    up = Scale.around((y for s in found for y in (s.y, *s.up)), top + 290 - INSET, top + 30 + INSET)
    frame, bottom = axes(across, up, x_name, y_name, inset=INSET, most=across.most(xs))
    items += frame
    for x in upright:
        line = f"M{across(x):g} {up.start + INSET:g}V{up.end - INSET:g}"
        items.append(Shape(line, "dashed", f"the sum is greatest at {x_name} {x:g}"))
    # Curves stand a little beside each other, or their intervals would hide each other.
    apart = min(4, 12 / len(points))
    for k, (name, spots) in enumerate(points.items()):
        items += _curve(name, spots, x_name, across, up, apart * (k - (len(points) - 1) / 2), place[name])
    caption = f"By {x_name}: {', '.join(points)}."
    caption += " Whiskers are 95% intervals." if any(s.up != (s.y, s.y) for s in found) else ""
    caption += " At the dashed line the sum is greatest." if upright else ""
    notes = [f"{name}: nothing to show." for name, spots in points.items() if not any(s.known for s in spots)]
    notes += left_out(sum(map(len, curves.values())) - len(found))
    return figure(title, f"Curves of {', '.join(points)} by {x_name}.", caption, items, bottom, notes)


def _curve(name: str, spots: Sequence[Spot], x_name: str, across: Scale, up: Scale, aside: float, i: int) -> list[Item]:
    at = [(across(spot.x) + aside, up(spot.y)) if spot.known else None for spot in spots]
    items: list[Item] = [curve(i, joined(at), name)]
    every = math.ceil(len(spots) / MARKED)
    for k, (spot, here) in enumerate(zip(spots, at, strict=True)):
        if here is None:
            continue
        words = f"{name}\n{x_name} {spot.x:g}: {told(spot.y, spot.y_low, spot.y_high)}\n{spot.words}".rstrip()
        one = mark(i, *here, words, spot.link)
        if k % every:
            items.append(replace(one, kind="hover"))
            continue
        low, high = map(up, spot.up)
        items += [whisker(i, here[0], low, high, words), one] if low != high else [one]
    return items


# -- one score against another ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plot:
    """Where in px spots lie by two scores, and how they are drawn there."""

    x: Score
    y: Score
    across: Scale
    up: Scale

    def at(self, spot: Spot) -> Place:
        return self.across(spot.x), self.up(spot.y)

    @property
    def room(self) -> Box:
        return LEFT, self.up.end - INSET, RIGHT - LEFT, self.up.start - self.up.end + 2 * INSET

    def mark(self, i: int, spot: Spot, name: str) -> Shape:
        x, y = told(spot.x, spot.x_low, spot.x_high), told(spot.y, spot.y_low, spot.y_high)
        words = filter(None, [name, spot.words, f"{self.x.name} {x}", f"{self.y.name} {y}"])
        return mark(i, *self.at(spot), "\n".join(words), spot.link)

    def intervals(self, i: int, spot: Spot) -> Shape:
        (x, y), (left, right), (low, high) = self.at(spot), map(self.across, spot.across), map(self.up, spot.up)
        return Shape(f"M{left:g} {y:g}H{right:g}M{x:g} {low:g}V{high:g}", f"spread c{i % 4}")

    def front(self, steps: Sequence[Place]) -> Shape:
        """The edge of all that lies below or to the left of a point."""
        path = "".join(f"H{x:g}V{y:g}" for x, y in steps)
        return Shape(f"M{steps[0][0]:g} {self.up.start + INSET:g}{path}H{LEFT}", "front", "Pareto front")


def tradeoff(
    title: str,
    x: Score,
    y: Score,
    points: Mapping[str, Sequence[Spot]],
    curves: Collection[str] = (),
    front: Sequence[Spot] = (),
    chosen: Mapping[str, Spot] | None = None,
    places: Places | None = None,
) -> Figure:
    """Settings by two scores, such as diversity and fidelity in figure 5: name of a set -> spots.

    curves: sets whose spots are joined in their order. front: the spots than which nothing measured is better in both
    scores, drawn as the edge of what is reached. chosen: name -> spot, such as the knee, which is marked by its name.
    """
    found = {name: [spot for spot in spots if spot.known] for name, spots in points.items()}
    spots = [spot for of in found.values() for spot in of]
    if not spots:
        return nothing(title)
    edge, named = [s for s in front if s.known], {name: s for name, s in (chosen or {}).items() if s.known}
    place, drawn = _placed(points, places), [*spots, *edge, *named.values()]
    items, top = _sets(found, curves, place, bool(edge))
    across = x.scale((v for s in drawn for v in (s.x, *s.across)), LEFT + INSET, RIGHT - INSET)
    up = y.scale((v for s in drawn for v in (s.y, *s.up)), top + 450 - INSET, top + 30 + INSET)
    frame, bottom = axes(across, up, x.axis, y.axis, inset=INSET)
    plot, items = _Plot(x, y, across, up), items + frame

    crowds = [name for name, of in found.items() if len(of) > CROWD and name not in curves]
    clear = {(spot.x, spot.y) for spot in (*edge, *named.values())}
    for name, of in found.items():
        items += [plot.intervals(place[name], s) for s in of if name not in crowds or (s.x, s.y) in clear]
    items += [curve(place[name], joined(map(plot.at, of)), name) for name, of in found.items() if name in curves]
    steps = _steps(map(plot.at, edge))
    items += [plot.front(steps)] if steps else []
    # The first set is drawn last, and lies over the others.
    for name, of in reversed(found.items()):
        for s in of:
            roles = [role for role, one in named.items() if (one.x, one.y) == (s.x, s.y)]
            items.append(plot.mark(place[name], s, ", ".join([name, *roles])))
    rings = {name: plot.at(spot) for name, spot in named.items()}
    items += _rings(rings, [*map(plot.at, spots), *steps], plot.room)

    what = "".join(f" {name}: {x.name} {number(s.x)}, {y.name} {number(s.y)}." for name, s in named.items())
    caption = "Each mark is a setting; the further up and to the right, the better."
    caption += (
        " Thin lines are 95% intervals." if any((*s.across, *s.up) != (s.x, s.x, s.y, s.y) for s in spots) else ""
    )
    caption += " Nothing measured is better in both scores than what lies on the front." if edge else ""
    notes = [f"{name}: nothing to show." for name in chosen or {} if name not in named]
    notes += [f"{name}: intervals are drawn only on the front and with names." for name in crowds]
    notes += left_out(sum(map(len, points.values())) - len(spots))
    return figure(title, f"{len(spots):,} settings by {x.words} and {y.words}.{what}", caption, items, bottom, notes)


def _sets(
    found: Mapping[str, Sequence[Spot]], curves: Collection[str], place: Places, front: bool
) -> tuple[list[Item], float]:
    looks = {name: partial(marked_line if name in curves else dot, i) for name, i in place.items()}
    swatches: list[tuple[str, Swatch]] = [(f"{name} ({len(of):,})", looks[name]) for name, of in found.items()]
    if front:
        swatches.append(("Pareto front", lambda x, y: [Shape(f"M{x - 12:g} {y - 6:g}h12v12h12", "front")]))
    return legend(swatches)


def _steps(front: Iterable[Place]) -> list[Place]:
    """The points of a front from right to left, which is upwards, without those that others lie over and right of."""
    found: list[Place] = []
    for x, y in sorted(front, key=lambda at: (-at[0], at[1])):
        if not found or y < found[-1][1]:
            found.append((x, y))
    return found


def _rings(named: Mapping[str, Place], marks: Sequence[Place], room: Box) -> list[Item]:
    """A ring around each place and its names beside it, on the side where they hide least."""
    places: dict[Place, list[str]] = {}
    for name, at in named.items():
        places.setdefault(at, []).append(name)
    items: list[Item] = []
    taken = [(x - 9, y - 9, 18.0, 18.0) for x, y in places] + [(x - 5, y - 5, 10.0, 10.0) for x, y in marks]

    def hidden(box: Box) -> int:
        x, y, wide, high = box
        within = room[0] <= x <= room[0] + room[2] - wide and room[1] <= y <= room[1] + room[3] - high
        return sum(_overlap(box, other) for other in taken) + (0 if within else len(taken) + 1)

    for (x, y), names in places.items():
        words = wrapped(", ".join(names), 200)[0]
        wide = width(words) + 6
        # To the upper right of a front there is nothing, so that is tried first.
        sides = [(x + right, y + down, wide, 20.0) for down in (-28, 8) for right in (9, -9 - wide)]
        sides += [(x - wide / 2, y + down, wide, 20.0) for down in (-32, 12)]
        box = min(sides, key=hidden)
        taken.append(box)
        items += [Shape(f"M{x:g} {y - 8:g}a8 8 0 1 1-.01 0z", "ring"), Shape(outline(box), "plate")]
        items.append(Label(round(box[0] + 3, 1), round(box[1] + 14.5, 1), words, title=", ".join(names)))
    return items


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]
