"""Figures of a trade-off: colours in the order of the scores, every number at its place, better up and to the right."""

import re
from itertools import pairwise
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given, settings
from test_figures import HOSTILE, SVG, at, luminance, marks, numbers, parsed, places, shapes, styles, words

from steer.report import drawing
from steer.report.drawing import Scale, inline, svg
from steer.report.heat import Cell, heat_map
from steer.report.templates import clean
from steer.report.tradeoffs import CROWD, Score, Spot, dials, tradeoff

MAUVE, AUROC, DIVERSITY = Score("MAUVE"), Score("AUROC", higher_is_better=False), Score("diversity")
LINKED = "#texts-3"


def check(figure) -> None:
    """What holds of every figure, whatever it shows."""
    assert parsed(figure).get("viewBox") == f"0 0 720 {figure.height}"
    assert all(0 <= x <= 720 and 0 <= y <= figure.height for x, y in places(figure))
    page = inline(figure).replace(f'<a href="{LINKED}">', "<a>")
    for markup in (svg(figure), page):
        assert not re.search(r"\bnan\b|\binf\b|<script|href|url\(", markup.casefold())
    assert "var(" not in svg(figure)
    assert not any(word in page for word in ("<style", " id=", "xmlns", "style="))


def every_figure(name: str, a: float = 0.3, b: float = 0.7) -> list[drawing.Figure]:
    """One of each kind about things of one name, with the numbers a and b in them."""
    up, down, link = Score(name), Score(name, higher_is_better=False), LINKED
    cells = {(0.0, 0.0): Cell(a, min(a, b), max(a, b), link), (a, b): Cell(b), (b, 1.0): Cell(0.5, a, b)}
    spots = [Spot(a, b, 0.1, a, b, 0.9, name, link), Spot(b, a, y_low=a, y_high=b), Spot(0.5, 0.5, a, b, a, b)]
    return [
        heat_map(name, name, name, cells, up),
        heat_map(name, name, name, cells, down),
        dials(name, name, {name: spots, "other": spots[:1], "none": []}, a, name),
        tradeoff(name, up, down, {name: spots, "other": spots}, {name}, spots, {name: spots[0], "knee": spots[1]}),
        tradeoff(name, down, up, {name: spots[1:]}, chosen={name: spots[1], name + " ": spots[1]}),
    ]


# -- every figure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HOSTILE, "", " ", "plain", "名前" * 40, 'a&amp;b <b>"c"\''], ids=range(6))
def test_any_name_is_drawn_as_it_is_and_the_file_is_well_formed(name: str) -> None:
    for figure in every_figure(name):
        check(figure)
        shown = clean(name).replace("\r\n", "\n").replace("\r", "\n")
        assert parsed(figure).find(f"{SVG}title").text == (shown or None)
        assert not {"script", "b", "a"} & {element.tag.removeprefix(SVG) for element in parsed(figure).iter()}


@settings(max_examples=60, deadline=None)
@given(numbers, numbers)
def test_any_numbers_are_drawn_inside_the_figure(a: float, b: float) -> None:
    for figure in every_figure("some", a, b):
        check(figure)


EMPTY = [
    heat_map("t", "γ", "η", {}, MAUVE),
    heat_map("t", "γ", "η", {(0, 0): Cell(nan), (nan, 0): Cell(0.5), (0, inf): Cell(0.5)}, MAUVE),
    dials("t", "γ", {}),
    dials("t", "γ", {"MAUVE": [], "diversity": [Spot(0, nan), Spot(inf, 0)]}, 0.4),
    tradeoff("t", DIVERSITY, AUROC, {}),
    tradeoff("t", DIVERSITY, AUROC, {"a": [Spot(nan, 0), Spot(0, inf)], "b": []}, {"a"}, [Spot(nan, 0)]),
]


@pytest.mark.parametrize("figure", EMPTY)
def test_of_nothing_there_is_nothing_to_show(figure) -> None:
    check(figure)
    assert words(figure) == ["nothing to show"]


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    spots = [Spot(0.1, 0.5), Spot(nan, 0.5), Spot(0.3, inf)]
    told = "Left out, as not finite: {}."
    assert told.format(1) in words(heat_map("t", "γ", "η", {(0, 0): Cell(1), (nan, 0): Cell(2)}, MAUVE))
    assert told.format(2) in words(dials("t", "γ", {"MAUVE": spots}))
    assert told.format(2) in words(tradeoff("t", DIVERSITY, MAUVE, {"a": spots}))


def test_a_link_is_on_the_page_around_its_mark_and_not_in_a_file() -> None:
    figures = [
        heat_map("t", "γ", "η", {(0, 0): Cell(0.5, link="#texts-0"), (0, 1): Cell(0.6)}, MAUVE),
        dials("t", "γ", {"MAUVE": [Spot(0, 0.5, link="#texts-0"), Spot(1, 0.6)]}),
        tradeoff("t", DIVERSITY, MAUVE, {"a": [Spot(0, 0.5, link="#texts-0"), Spot(1, 0.6)]}),
    ]
    for figure in figures:
        (inside,) = re.findall(r'<a href="#texts-0">\n(.*?)\n</a>', inline(figure), re.DOTALL)
        assert re.fullmatch(r'<path class="(?:mark|heat)[^>]*><title>[^<]*0\.500[^<]*</title></path>', inside)
        assert inline(figure).count("<a ") == 1
        assert "<a" not in svg(figure)
        # Nothing in an image can be followed by those to whom it is read aloud.
        assert 'role="group"' in inline(figure)
        assert 'role="img"' in svg(figure)


@pytest.mark.parametrize("link", ["https://example.org", "javascript:alert(1)", "", "texts", "//x"])
def test_a_link_leads_nowhere_but_to_the_page(link: str) -> None:
    with pytest.raises(ValueError, match="expected a place on the same page, such as '#texts-3'"):
        tradeoff("t", DIVERSITY, MAUVE, {"a": [Spot(0, 0.5, link=link)]})


def test_every_class_has_a_style() -> None:
    drawn = [*every_figure("some"), tradeoff("t", MAUVE, MAUVE, {"a": [Spot(0, 0)] * 4})]
    used = {word for figure in drawn for item in figure.items for word in item.kind.split()}
    plain = {"name", "full", "dash0", "c0", "c1", "c2", "c3"}
    assert used - plain <= set(re.findall(r"\.(\w+)", svg(EMPTY[0]).partition("</style>")[0]))


# -- a score over two dials ------------------------------------------------------------------------------------------


def cells_of(figure) -> dict[str, drawing.Shape]:
    return {i.title: i for i in figure.items if isinstance(i, drawing.Shape) and i.kind.startswith("heat") and i.title}


def shade(shape) -> int:
    return int(shape.kind.removeprefix("heat"))


@pytest.mark.parametrize("score", [MAUVE, AUROC])
def test_better_cells_have_later_colours_and_the_best_is_outlined(score) -> None:
    values = np.linspace(0.2, 0.8, drawing.HEAT)
    figure = heat_map("t", "γ", "η", {(i, 0): Cell(v) for i, v in enumerate(values)}, score)
    check(figure)
    better = list(range(drawing.HEAT)) if score.higher_is_better else list(range(drawing.HEAT))[::-1]
    cells = list(cells_of(figure).values())
    assert [shade(cell) for cell in cells] == better
    best = cells[better.index(drawing.HEAT - 1)]
    assert best.title.endswith("\nbest")
    (outlined,) = [shape for shape in shapes(figure, "best") if at(shape)[1] > 60]  # below the legend
    assert np.subtract(at(outlined), at(best)) == pytest.approx([-1.5, -1.5])
    (bold,) = [item for item in figure.items if isinstance(item, drawing.Label) and "bold" in item.kind]
    assert bold.words == ("0.80" if score.higher_is_better else "0.20")
    assert f"{score.name} ({'higher' if score.higher_is_better else 'lower'} is better)" in words(figure)


def test_cells_stand_by_their_dials_and_tell_their_numbers() -> None:
    figure = heat_map(
        "t", "γ", "η", {(g, e): Cell(g + e, g + e - 0.1, g + e + 0.2) for g in (0, 0.5) for e in (0, 0.25)}, MAUVE
    )
    place = {title.partition("\n")[0]: at(cell) for title, cell in cells_of(figure).items()}
    assert place["γ 0, η 0"][0] == place["γ 0, η 0.25"][0] < place["γ 0.5, η 0"][0]
    assert place["γ 0, η 0"][1] == place["γ 0.5, η 0"][1] > place["γ 0, η 0.25"][1]
    assert "γ 0.5, η 0\nMAUVE 0.500 (0.400 to 0.700)" in cells_of(figure)
    assert {"0.00", "0.25", "0.50", "0.75", "γ", "η"} <= set(words(figure))


def test_dots_mark_exactly_the_cells_whose_interval_holds_the_best_value() -> None:
    cells = {
        (0, 0): Cell(0.8, 0.7, 0.9),
        (1, 0): Cell(0.7, 0.6, 0.81),
        (2, 0): Cell(0.7, 0.6, 0.79),
        (3, 0): Cell(0.79),
    }
    figure = heat_map("t", "γ", "η", cells, MAUVE)
    told = [title.partition("\n")[0] for title in cells_of(figure) if "cannot be told" in title]
    assert told == ["γ 1, η 0"]
    _legend, dot = shapes(figure, "dot")
    x, y = at(cells_of(figure)[next(t for t in cells_of(figure) if t.startswith(told[0]))])
    assert x < at(dot)[0] < x + 104
    assert y < at(dot)[1] < y + 20
    assert "cannot be told from" in figure.caption
    assert "cannot be told" not in heat_map("t", "γ", "η", {(0, 0): cells[0, 0]}, MAUVE).caption


def test_what_the_grid_lacks_is_hatched_and_says_why() -> None:
    figure = heat_map("t", "γ", "η", {(0, 0): Cell(1), (1, 1): Cell(2), (1, 0): Cell(nan)}, MAUVE)
    assert {s.title for s in shapes(figure, "hatch")} - {""} == {"γ 0, η 1\nnot measured", "γ 1, η 0\nnot defined"}
    assert "no value" in words(figure)
    assert "no value" not in words(heat_map("t", "γ", "η", {(0, 0): Cell(1)}, MAUVE))


def test_dials_that_were_counted_up_in_steps_make_no_second_column() -> None:
    figure = heat_map("t", "γ", "η", {(0.1 + 0.2, 0): Cell(1), (0.3, 1): Cell(2)}, MAUVE)
    assert not shapes(figure, "hatch")
    assert words(figure).count("0.3") == 1


def test_differences_smaller_than_the_intervals_do_not_span_the_colours() -> None:
    values = {(i, 0): v for i, v in enumerate((0.50, 0.51, 0.52))}
    wide = heat_map("t", "γ", "η", {at: Cell(v, v - 0.2, v + 0.2) for at, v in values.items()}, MAUVE)
    sharp = heat_map("t", "γ", "η", {at: Cell(v, v - 0.001, v + 0.001) for at, v in values.items()}, MAUVE)
    (some, full) = ([shade(cell) for cell in cells_of(figure).values()] for figure in (wide, sharp))
    assert max(some) - min(some) <= 1
    assert (min(full), max(full)) == (0, drawing.HEAT - 1)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ([0.1, 0.9], ["0.10", "0.90"]),
        ([0.701, 0.704], ["0.7010", "0.7040"]),
        ([3, 250], ["3", "250"]),
        ([-1.5, 1.5], ["−1.5", "1.5"]),
        ([1e9, 2e9], ["1e+09", "2e+09"]),
        ([0, 0], ["0.00", "0.00"]),
    ],
)
def test_values_are_written_so_that_they_differ(values, written: list[str]) -> None:
    figure = heat_map("t", "γ", "η", {(i, 0): Cell(v) for i, v in enumerate(values)}, MAUVE)
    assert [i.words for i in figure.items if isinstance(i, drawing.Label) and i.kind.startswith("value")] == written


def test_hundreds_of_cells_are_drawn_without_numbers_that_would_not_fit() -> None:
    figure = heat_map("t", "γ", "η", {(x, y): Cell(x * y) for x in range(40) for y in range(30)}, AUROC)
    check(figure)
    assert len(cells_of(figure)) == 1200
    assert not [i for i in figure.items if isinstance(i, drawing.Label) and i.kind.startswith("value")]
    ticks = [i for i in figure.items if isinstance(i, drawing.Label) and i.kind == "tick" and i.anchor == "middle"]
    assert all(b.x - a.x > drawing.width(b.words) for a, b in pairwise(ticks[:-1]))


# -- the colours -----------------------------------------------------------------------------------------------------


def ramps() -> tuple[list[str], list[str], list[str], list[str]]:
    """Of cells and of what is written on them, on a light page and on a dark one."""
    found = {name: re.findall(rf"--{name}\d: (#\w{{6}})", styles()) for name in ("heat", "on")}
    light, dark = ([found[name][half] for name in ("heat", "on")] for half in (slice(drawing.HEAT), slice(9, None)))
    return *light, *dark


def oklab(colour: str) -> np.ndarray:
    """Lightness and two opponent colours, in which equal distances look equal. https://bottosson.github.io/posts/oklab"""
    parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    lab.append([0.0259040371, 0.7827717662, -0.8086757660])
    return np.array(lab) @ np.cbrt(np.array(cones) @ linear)


def test_colours_get_darker_in_even_steps_which_grey_and_every_eye_keeps() -> None:
    light, _, dark, _ = ramps()
    assert len(light) == drawing.HEAT
    assert dark == light[::-1]
    labs = [oklab(colour) for colour in light]
    steps = [float(np.linalg.norm(b - a)) for a, b in pairwise(labs)]
    falls = [float(a[0] - b[0]) for a, b in pairwise(labs)]
    assert max(steps) / min(steps) < 1.1
    assert max(falls) / min(falls) < 1.25
    # Most of each step is of lightness, which the colour-blind see as others do.
    assert all(fall > 0.85 * step for fall, step in zip(falls, steps, strict=True))


def test_what_is_written_on_a_cell_can_be_read() -> None:
    light, on_light, dark, on_dark = ramps()
    for ground, text in zip(light + dark, on_light + on_dark, strict=True):
        bright, dim = sorted((luminance(ground), luminance(text)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (ground, text)


# -- scores over one dial --------------------------------------------------------------------------------------------


def test_whiskers_reach_from_low_to_high_however_uneven() -> None:
    figure = dials("t", "γ", {"MAUVE": [Spot(0, 0.5, y_low=0.2, y_high=0.6), Spot(1, 0.8)]})
    check(figure)
    (whisker,) = shapes(figure, "whisker")
    low, high = (float(n) for n in re.fullmatch(r"M\S+ (\S+?)h8m-4 0V(\S+?)m-4 0h8", whisker.d).groups())
    first, second = (at(mark)[1] for mark in marks(figure))
    unit = (first - second) / 0.3  # px
    assert (low - first, first - high) == pytest.approx((0.3 * unit, 0.1 * unit), abs=0.2)
    assert whisker.title == "MAUVE\nγ 0: 0.500 (0.200 to 0.600)"


def test_a_dashed_line_stands_where_the_sum_is_greatest() -> None:
    curves = {"MAUVE": [Spot(0, 0.5), Spot(0.4, 0.8), Spot(1, 0.1)], "diversity": [Spot(0, 0.1), Spot(0.4, 0.2)]}
    figure = dials("t", "γ", curves, 0.4)
    _legend, line = shapes(figure, "dashed")
    beside = [at(mark)[0] for mark in marks(figure) if "γ 0.4" in mark.title]
    assert at(line)[0] == pytest.approx(sum(beside) / 2, abs=0.1)
    assert "greatest sum (γ 0.4)" in words(figure)
    for best in (None, nan):
        assert not shapes(dials("t", "γ", curves, best), "dashed")


def test_a_curve_goes_along_its_dial_with_a_gap_where_a_value_is_missing() -> None:
    spots = [Spot(3, 0.3, words="three"), Spot(0, 0.1), Spot(2, nan), Spot(1, 0.2)]
    figure = dials("t", "negatives", {"MAUVE": spots})
    (curve,) = (shape for shape in shapes(figure, "curve") if shape.title)
    assert (curve.d.count("M"), curve.d.count("L")) == (2, 1)
    assert [m.title.splitlines()[1] for m in marks(figure)] == [
        f"negatives {x}: 0.{y}00" for x, y in ((0, 1), (1, 2), (3, 3))
    ]
    assert marks(figure)[-1].title.endswith("\nthree")


def test_a_long_curve_has_few_marks_and_still_every_number() -> None:
    figure = dials("t", "γ", {"MAUVE": [Spot(i, i, y_low=i - 1, y_high=i + 1) for i in range(400)]})
    check(figure)
    assert len(marks(figure)) <= 40
    assert len({shape.title for shape in figure.items if "γ" in getattr(shape, "title", "")}) == 400


# -- one score against another ---------------------------------------------------------------------------------------

GOOD, BAD = Spot(0.6, 0.55, words="γ 0.4, η 0.2"), Spot(0.2, 0.9)


@pytest.mark.parametrize(("x", "y"), [(DIVERSITY, MAUVE), (DIVERSITY, AUROC), (AUROC, MAUVE), (AUROC, AUROC)])
def test_better_is_up_and_to_the_right_and_a_reversed_axis_says_so(x, y) -> None:
    figure = tradeoff("t", x, y, {"a": [Spot(0.2, 0.2), Spot(0.8, 0.8)]})
    check(figure)
    low, high = (at(next(m for m in marks(figure) if f"{v}00" in m.title)) for v in (0.2, 0.8))
    assert (low[0] < high[0]) == x.higher_is_better
    assert (low[1] > high[1]) == y.higher_is_better
    for score in (x, y):
        told = "higher is better" if score.higher_is_better else "lower is better, axis reversed"
        assert f"{score.name} ({told})" in words(figure)
    # The round numbers run the same way as the marks.
    ticks = [i for i in figure.items if isinstance(i, drawing.Label) and i.kind == "tick" and i.anchor == "end"]
    up = [float(tick.words) for tick in sorted(ticks, key=lambda tick: -tick.y)]
    assert up == sorted(up, reverse=not y.higher_is_better)


def test_the_front_passes_through_the_points_that_nothing_dominates_and_no_others() -> None:
    front = [Spot(0.1, 0.6), Spot(0.3, 0.65), Spot(0.5, 0.8)]
    under = Spot(0.2, 0.7)
    figure = tradeoff("t", DIVERSITY, AUROC, {"a": [*front, under]}, front=[front[1], under, front[2], front[0]])
    (line,) = [shape for shape in shapes(figure, "front") if shape.title]
    begin, corners, end = re.fullmatch(r"M(\S+) \S+?((?:H[\d.]+V[\d.]+)+)H(\d+)", line.d).groups()
    passed = [(float(x), float(y)) for x, y in re.findall(r"H([\d.]+)V([\d.]+)", corners)]
    place = {tuple(re.findall(r" (0\.\d+)", m.title)): at(m) for m in marks(figure)}
    assert passed == [place[f"{s.x:.3f}", f"{s.y:.3f}"] for s in reversed(front)]
    assert (float(begin), int(end)) == (passed[0][0], drawing.LEFT)


def test_marks_tell_their_setting_and_numbers_and_intervals_go_both_ways() -> None:
    spot = Spot(0.5, 0.6, 0.4, 0.7, 0.5, 0.65, "γ 0.4, η 0.2")
    figure = tradeoff("t", DIVERSITY, AUROC, {"STEER": [spot, BAD]}, chosen={"knee": spot})
    (told,) = [m.title for m in marks(figure) if "knee" in m.title]
    assert told == "STEER, knee\nγ 0.4, η 0.2\ndiversity 0.500 (0.400 to 0.700)\nAUROC 0.600 (0.500 to 0.650)"
    spread = next(s for s in shapes(figure, "spread") if "H" in s.d and re.match(r"M(\S+) ", s.d))
    left, y, right, x, low, high = map(float, re.findall(r"[\d.]+", spread.d))
    mark = at(next(m for m in marks(figure) if m.title == told))
    assert (x, y) == mark
    assert (right - x) / (x - left) == pytest.approx(2, abs=0.05)
    assert (low - y) / (high - y) == pytest.approx(-2, abs=0.05)


def test_a_rival_is_a_line_through_its_points_in_their_order() -> None:
    rival = [Spot(0.5, 0.5), Spot(0.1, 0.7), Spot(0.3, 0.2)]
    figure = tradeoff("t", DIVERSITY, MAUVE, {"STEER": [GOOD], "plain": rival}, {"plain"})
    (curve,) = (shape for shape in shapes(figure, "curve") if shape.title)
    through = [tuple(map(float, pair.split())) for pair in curve.d.removeprefix("M").removesuffix("h0").split("L")]
    place = {m.title: at(m) for m in marks(figure)}
    assert through == [place[f"plain\ndiversity {s.x:.3f}\nMAUVE {s.y:.3f}"] for s in rival]


def test_the_chosen_are_ringed_and_named_where_they_hide_no_mark() -> None:
    rng = np.random.default_rng(0)
    cloud = [Spot(x, 1 - x - abs(e)) for x, e in zip(rng.random(80), 0.2 * rng.random(80), strict=True)]
    knee, same = Spot(0.5, 0.51), Spot(0.7, 0.31)
    chosen = {"knee": knee, "recommended": same, "best": same, "lost": Spot(nan, 0)}
    figure = tradeoff("t", DIVERSITY, MAUVE, {"a": [*cloud, knee, same]}, chosen=chosen)
    rings = [np.add(at(ring), (0, 8)) for ring in shapes(figure, "ring")]
    where = [at(m) for role in ("knee", "recommended") for m in marks(figure) if role in m.title]
    assert np.allclose(rings, where)
    assert {"knee", "recommended, best", "lost: nothing to show."} <= set(words(figure))
    for plate in shapes(figure, "plate"):
        x, y, right, bottom = map(float, re.match(r"M(\S+) (\S+?)H([\d.]+)V([\d.]+)", plate.d).groups())
        assert not [m for m in marks(figure) if x < at(m)[0] < right and y < at(m)[1] < bottom]


def test_of_hundreds_all_marks_are_drawn_and_the_intervals_that_matter() -> None:
    many = [Spot(i / 500, 1 - i / 500, 0, 1, 0, 1) for i in range(500)]
    few = [Spot(0.1, 0.1, 0, 1, 0, 1)] * 3
    figure = tradeoff("t", DIVERSITY, MAUVE, {"many": many, "few": few}, front=many[:2], chosen={"knee": many[7]})
    check(figure)
    assert len(marks(figure)) == 503
    assert len(shapes(figure, "spread")) == 3 + 3
    assert "many: intervals are drawn only on the front and with names." in words(figure)
    assert len(shapes(tradeoff("t", DIVERSITY, MAUVE, {"a": many[:CROWD]}), "spread")) == CROWD


def test_the_first_set_lies_over_the_others_and_each_keeps_its_looks() -> None:
    figure = tradeoff("t", DIVERSITY, MAUVE, {"STEER": [GOOD], "plain": [BAD]}, places={"plain": 0, "STEER": 3})
    assert [(m.title.partition("\n")[0], m.kind.split()[-1]) for m in marks(figure)] == [
        ("plain", "c0"),
        ("STEER", "c3"),
    ]


# -- scales ----------------------------------------------------------------------------------------------------------


def test_a_reversed_scale_has_the_same_round_numbers_at_mirrored_places() -> None:
    scale = Scale.around([0.3, 0.9], 100, 0)
    ticks, mirrored = scale.ticks(), scale.reversed().ticks()
    assert [(100 - place, label) for place, label in ticks] == mirrored
    assert (scale.reversed()(0.3), scale.reversed().reversed()) == (100 - scale(0.3), scale)
