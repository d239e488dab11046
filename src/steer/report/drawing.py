"""Shapes and labels at places, in px: what figures are made of, drawn by one template for a page and for a paper.

The i-th set of a figure is told from the others by colour and form (mark, dash or texture): sixteen differ, and the
first four also in grey.
"""

import math
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from markupsafe import Markup

from steer.report.axis import Axis
from steer.report.templates import clean, template

WIDTH, LEFT, RIGHT = 720, 64, 704  # px: of a figure, and where its plot begins and ends
LETTER = 7.4  # px: the width a letter is taken to have, since the font is not known; most are narrower
HUGE = 1e30  # what lies beyond is no measurement
HEAT = 9  # colours from worst to best, heat0 to heat8 in figures.css.j2
MARKS = ("m0-4a4 4 0 1 1-.01 0z", "m-3-3h6v6h-6z", "m0-5l4.7 8.4h-9.4z", "m0-4.8l4.8 4.8-4.8 4.8-4.8-4.8z")


@dataclass(frozen=True)
class Shape:
    """An SVG path: its data, its classes in figures.css.j2, and what is shown where the mouse rests on it.

    link: where on the page a click leads, such as "#texts-3"; a file of its own has no page, and leaves links out.
    Raises ValueError on a link to anywhere else.
    """

    d: str
    kind: str
    title: str = ""
    link: str | None = None

    def __post_init__(self) -> None:
        if self.link is not None and not self.link.startswith("#"):
            raise ValueError(f"a link to {self.link!r}; expected a place on the same page, such as '#texts-3'")


@dataclass(frozen=True)
class Label:
    """Words at a place. anchor: "start", "middle" or "end". title: all of the words, where they had to be cut."""

    x: float
    y: float
    words: str
    kind: str = "name"
    anchor: str = "start"
    title: str = ""


Item = Shape | Label
Box = tuple[float, float, float, float]  # px: left, top, width, height
Swatch = Callable[[float, float], list[Shape]]


@dataclass(frozen=True)
class Figure:
    """A drawing of WIDTH x height px. description: for those who cannot see it. caption: how to read it."""

    title: str
    description: str
    caption: str
    height: int
    items: tuple[Item, ...]
    width: int = WIDTH

    @property
    def linked(self) -> bool:
        return any(isinstance(item, Shape) and item.link for item in self.items)


def svg(figure: Figure) -> str:
    """A file of its own, on white, with its colours written out: many programs that read SVG know no variables."""
    return _render("file", figure).strip()


def inline(figure: Figure) -> Markup:
    """The figure and its caption, for a page whose style includes figures.css.j2."""
    return Markup(_render("page", figure))


def _render(macro: str, figure: Figure) -> str:
    return clean(str(getattr(template("figures.svg.j2").module, macro)(figure)))


# -- numbers ---------------------------------------------------------------------------------------------------------


def known(value: float) -> bool:
    """Whether it is a number that can be drawn."""
    return abs(value) <= HUGE


def number(value: float) -> str:
    text = f"{value + 0.0:.3f}" if 1e-3 <= abs(value) < 10 or value == 0 else f"{value:.4g}"
    return minus(text.replace("inf", "∞"))


def minus(number: str) -> str:
    return number.replace("-", "−")


def short(value: float) -> str:
    """Of what was set rather than measured: its digits as they are."""
    text = f"{value:g}"
    return minus(text if len(text) <= 7 else f"{value:.3g}")


def told(value: float, low: float, high: float) -> str:
    """With its interval, if there is one."""
    return number(value) + (f" ({number(low)} to {number(high)})" if known(low) and known(high) else "")


def share(value: float) -> str:
    return f"{100 * value:.3g}%"


@dataclass(frozen=True)
class Scale:
    """From numbers, `low` to `high`, to px, `start` to `end`; by their logarithm if `log`.

    A reversed scale has the greater number as its `low`.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Iterable[float], start: float, end: float, log: bool = False) -> "Scale":
        """From the least to the greatest; around them where all are one, and 0 to 1 where there are none.

        By the logarithm, values have to be at least 1 / HUGE.
        """
        numbers = [float(value) for value in values] or [0.0, 1.0]
        low, high = min(numbers), max(numbers)
        size = max(abs(low), abs(high), 1 / HUGE)
        if high - low <= 1e-6 * size:
            apart = size / 2 if size > 1 / HUGE else 0.5
            low, high = (low / 2, high * 2) if log else (low - apart, high + apart)
        return cls(low, high, start, end, log)

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> "Scale":
        """From one round number to another, with all values between; within [0, 1] if they are."""
        numbers = [float(value) for value in values]
        # The steps of a round axis of great numbers can be lost in rounding.
        if max(map(abs, numbers), default=0.0) >= 1e6:
            return cls.over(numbers, start, end)
        axis = Axis.around(numbers)
        return cls(axis.low, axis.high, start, end)

    def reversed(self) -> "Scale":
        return replace(self, low=self.high, high=self.low)

    def most(self, values: Iterable[float]) -> int:
        """How many round numbers it should have for these: whole ones, such as of rounds, have no halves between."""
        whole = all(float(value).is_integer() for value in values)
        return max(1, min(8, math.floor(abs(self.high - self.low)))) if whole else 8

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (self.end - self.start) * (value - low) / (high - low), 1)

    def ticks(self, words: Callable[[float], str] | None = None, most: int = 8) -> list[tuple[float, str]]:
        """Px and words of the round numbers within; a logarithmic scale has them by 1, 2, 5, 10 or by powers of ten."""
        if self.low > self.high:
            return replace(self, low=self.high, high=self.low, start=self.end, end=self.start).ticks(words, most)
        if self.log and self.high > 10 * self.low:
            powers = range(math.floor(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            by_ten, finer = ([f * 10.0**p for p in powers for f in factors] for factors in ((1,), (1, 2, 5)))
            by_ten, finer = ([v for v in values if self.low <= v <= self.high] for values in (by_ten, finer))
            found = finer if len(finer) <= most else by_ten[:: math.ceil(len(by_ten) / most)]
            return [(self(v), minus((words or "{:g}".format)(v))) for v in found]
        power = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        step = next(f * power for f in (1, 2, 5, 10) if (self.high - self.low) / (f * power) <= most)
        # Rounding must not lose a tick at either end.
        counts = range(math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6) + 1)
        label = words or Axis(self.low, self.high, step).label
        found = [min(max(k * step, self.low), self.high) for k in counts]
        texts = [text if len(text) <= 8 else f"{v:.3g}" for v, text in zip(found, map(label, found), strict=True)]
        return [(self(v), minus(text)) for v, text in zip(found, texts, strict=True)]


# -- parts of a drawing ----------------------------------------------------------------------------------------------


def cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def width(text: str) -> float:
    """About how many px the text takes; more rather than less."""
    return LETTER * sum(1.8 if unicodedata.east_asian_width(letter) in "WF" else 1.0 for letter in text)


def wrapped(text: str, room: float, most: int = 1) -> list[str]:
    """The text in at most so many lines of `room` px, cut where it is longer; at least one."""
    words = " ".join(text[:1000].split())
    letters = max(4, int(room * len(words) / width(words))) if words else 1
    found = textwrap.wrap(words, letters, break_on_hyphens=False) or [""]
    if len(found) > most:
        found = [*found[: most - 1], cut(" ".join(found[most - 1 :]), letters)]
    return found


def labels(text: str, x: float, y: float, room: float, most: int = 1, kind: str = "name") -> list[Item]:
    """The lines of a text, 16 px apart; the whole of it is the title, where it was cut."""
    found = wrapped(text, room, most)
    title = text if found[-1].endswith("…") else ""
    return [Label(x, y + 16 * i, line, kind, title=title) for i, line in enumerate(found)]


def form(i: int) -> int:
    """Which of the four forms a set has: another one each time that its colour comes round again."""
    return (i + i // 4) % 4


def mark(i: int, x: float, y: float, title: str = "", link: str | None = None) -> Shape:
    """Circle, square, triangle or diamond; every other is hollow."""
    return Shape(f"M{x:g} {y:g}{MARKS[form(i)]}", f"mark {'hollow' if form(i) % 2 else 'full'} c{i % 4}", title, link)


def curve(i: int, d: str, title: str = "", kind: str = "curve") -> Shape:
    """Solid, dashed, dotted or both."""
    return Shape(d, f"{kind} dash{form(i)} c{i % 4}", title)


def joined(points: Iterable[tuple[float, float] | None]) -> str:
    """A path through the points, with a gap in place of None; a point between two gaps is a dot."""
    runs = [list(run) for there, run in groupby(points, bool) if there]
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in filter(None, run)) + "h0" for run in runs)


def outline(box: Box, around: float = 0) -> str:
    """Of the box, so many px outside it."""
    x, y, wide, high = box[0] - around, box[1] - around, box[2] + 2 * around, box[3] + 2 * around
    return f"M{x:g} {y:g}H{x + wide:g}V{y + high:g}H{x:g}z"


def whisker(i: int, x: float, low: float, high: float, title: str = "") -> Shape:
    return Shape(f"M{x - 4:g} {low:g}h8m-4 0V{high:g}m-4 0h8", f"whisker c{i % 4}", title)


def bar(i: int, x: float, y: float, right: float, title: str = "") -> list[Shape]:
    """From x to right, around y: full, hollow, striped or pale."""
    texture = ("full", "hollow", "hollow", "pale")[form(i)]
    box = Shape(f"M{x:g} {y - 5:g}H{right:g}v10H{x:g}z", f"bar {texture} c{i % 4}", title)
    return [box, Shape(f"M{x:g} {y:g}H{right:g}", f"stripes c{i % 4}")] if form(i) == 2 else [box]


def estimate(i: int, low: float, value: float, high: float, y: float, title: str = "") -> list[Shape]:
    return [Shape(f"M{low:g} {y:g}H{high:g}", f"range c{i % 4}", title), mark(i, value, y, title)]


# -- swatches: the i-th set around a place of the legend -------------------------------------------------------------


def dot(i: int, x: float, y: float) -> list[Shape]:
    return [mark(i, x, y)]


def line(i: int, x: float, y: float) -> list[Shape]:
    return [curve(i, f"M{x - 14:g} {y:g}h28")]


def marked_line(i: int, x: float, y: float) -> list[Shape]:
    return [*line(i, x, y), mark(i, x, y)]


def block(i: int, x: float, y: float) -> list[Shape]:
    return bar(i, x - 14, y, x + 14)


def interval(i: int, x: float, y: float) -> list[Shape]:
    return estimate(i, x - 14, x, x + 14, y)


# -- what stands around a drawing ------------------------------------------------------------------------------------


def legend(entries: Sequence[tuple[str, Swatch]], y: float = 18) -> tuple[list[Item], float]:
    """Swatches of 28 px and their names, in rows, the first of which stands on y, and where they end."""
    items: list[Item] = []
    x = 8.0
    for name, swatch in entries:
        label = wrapped(name, 300)[0]
        if x > 8 and x + 36 + width(label) > WIDTH:
            x, y = 8.0, y + 22
        items += [*swatch(x + 14, y - 4.5), *labels(name, x + 36, y, 300)]
        x += round(36 + width(label) + 16)
    return items, y + 10


def axes(
    x: Scale,
    y: Scale,
    x_name: str,
    y_name: str,
    y_words: Callable[[float], str] | None = None,
    inset: float = 0,
    most: int = 8,
) -> tuple[list[Item], float]:
    """Lines at the round numbers, the numbers and the names, and where they end.

    inset: px between the ends of the scales and those of the plot. most: round numbers on x.
    """
    left, right, top, bottom = x.start - inset, x.end + inset, y.end - inset, y.start + inset
    items: list[Item] = labels(y_name, 8, top - 10, 600, kind="tick") if y_name else []
    for at, words in y.ticks(y_words, 6):
        items += [Shape(f"M{left:g} {at:g}H{right:g}", "grid"), Label(left - 8, at + 4, words, "tick", "end")]
    for at, words in x.ticks(most=most):
        items += [Shape(f"M{at:g} {bottom:g}v5", "axis"), Label(at, bottom + 19, words, "tick", "middle")]
    items.append(Shape(f"M{left:g} {bottom:g}H{right:g}", "axis"))
    if not x_name:
        return items, bottom + 24
    return [*items, Label((left + right) / 2, bottom + 38, wrapped(x_name, 600)[0], "tick", "middle")], bottom + 42


def figure(
    title: str, description: str, caption: str, items: Sequence[Item], bottom: float, notes: Sequence[str] = ()
) -> Figure:
    """Notes stand at the foot of the drawing, since they are part of what it says."""
    foot: list[Item] = []
    for note in notes:
        foot += labels(note, 8, bottom + 16 + 16 * len(foot), 700, 3, "tick")
    return Figure(title, description, caption, math.ceil(bottom + 16 * len(foot) + 8), (*items, *foot))


def left_out(count: int) -> list[str]:
    """The note about so many numbers that cannot be drawn, if there are any."""
    return [f"Left out, as not finite: {count:,}."] if count else []


def nothing(title: str) -> Figure:
    return Figure(title, "Nothing to show.", "", 64, (Label(WIDTH / 2, 36, "nothing to show", "tick", "middle"),))
