"""Figures: every number at its place, every text as it is, and each set told from the others without colour."""

import re
from math import inf, nan
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steer.report import drawing, figures
from steer.report.figures import Point, bars, forest, histograms, inline, lines, scatter, svg
from steer.report.readings import Reading
from steer.report.templates import clean, template

HOSTILE = "<script>alert('x')</script> & \"q\" ]]> \0\x1b\ud800\ufffe {{ 1 }} שלום 🌠\r\n\u202e" + "long" * 200
SVG = "{http://www.w3.org/2000/svg}"
UNIT = {"light": [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], "dark": [(0.0, 0.0), (0.5, 2.0), (1.0, 0.0)]}


def parsed(figure):
    return ElementTree.fromstring(svg(figure))


def titles(figure):
    return [title.text or "" for title in parsed(figure).iter(f"{SVG}title")][1:]


def words(figure):
    return [item.words for item in figure.items if isinstance(item, drawing.Label)]


def shapes(figure, kind):
    return [i for i in figure.items if isinstance(i, drawing.Shape) and kind in i.kind.split()]


def marks(figure):
    """Without those of the legend, which say nothing where the mouse rests on them."""
    return [shape for shape in shapes(figure, "mark") if shape.title]


def at(shape):
    x, y = re.match(r"M(\S+?)[ ](-?[\d.]+)", shape.d).groups()
    return float(x), float(y)


def places(figure):
    """Where shapes begin and go to, by their absolute commands, and where labels stand."""
    for item in figure.items:
        if isinstance(item, drawing.Label):
            yield item.x, item.y
        else:
            yield from ((float(x), float(y)) for x, y in re.findall(r"[ML](\S+?) (-?[\d.e+]+)", item.d))
            yield from ((float(x), 0.0) for x in re.findall(r"H(-?[\d.e+]+)", item.d))
            yield from ((0.0, float(y)) for y in re.findall(r"V(-?[\d.e+]+)", item.d))


def check(figure):
    """What holds of every figure, whatever it shows."""
    assert parsed(figure).get("viewBox") == f"0 0 720 {figure.height}"
    assert all(0 <= x <= 720 and 0 <= y <= figure.height for x, y in places(figure))
    for markup in (svg(figure), inline(figure)):
        assert not re.search(r"\bnan\b|\binf\b|<script|href|url\(", markup.casefold())
    assert "var(" not in svg(figure)
    assert not any(word in inline(figure) for word in ("<style", " id=", "xmlns"))


def every_figure(name: str, a: float = 0.3, b: float = 0.7):
    """One of each kind about sets of two names, with the numbers a and b in them."""
    share = [v if 0 <= v <= 1 else nan for v in (a, b)]
    pair = {name: [a, b, 0.5], "other": [b, a, a]}
    return [
        scatter(name, {name: [Point(a, b, name), Point(b, a, name)], "other": [Point(0, 1, name)]}, {name: [(a, b)]}),
        forest(name, {name: {name: Reading(a, b, 1, b), "other": Reading(reason=name)}, "x": {name: Reading(b)}}),
        histograms(name, name, pair),
        histograms(name, name, pair, bins=1, log=True),
        bars(name, {name: dict(zip((name, "y"), share, strict=True)), "other": {"y": 0.0}}),
        lines(name, name, name, {name: [(0, a, b), (a, b, nan), (b, 0.5)], "other": [(b, nan), (0, a)]}),
    ]


# -- every figure ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HOSTILE, "", " ", "plain", "名前" * 40, "a&amp;b"], ids=range(6))
def test_any_text_is_drawn_as_it_is_and_the_file_is_well_formed(name: str) -> None:
    for figure in every_figure(name):
        check(figure)
        shown = clean(name).replace("\r\n", "\n").replace("\r", "\n")
        assert parsed(figure).find(f"{SVG}title").text == (shown or None)
        assert not {"script", "q"} & {element.tag.removeprefix(SVG) for element in parsed(figure).iter()}


numbers = st.floats() | st.sampled_from([0.0, 1.0, 0.5, nan, inf, -inf, 1e30, -1e30, 1e-320, 1e308, 1e15, -7.0])


@settings(max_examples=150, deadline=None)
@given(numbers, numbers)
def test_any_numbers_are_drawn_inside_the_figure(a: float, b: float) -> None:
    for figure in every_figure("some", a, b):
        check(figure)


EMPTY = [
    scatter("t", {}),
    scatter("t", {"a": [], "b": [Point(nan, 1, "x"), Point(1, inf, "x")]}, {"a": []}),
    forest("t", {}),
    forest("t", {"score": {}}),
    histograms("t", "x", {"a": [], "b": [nan]}),
    histograms("t", "x", {"a": [0.0, -1.0]}, log=True),
    bars("t", {}),
    bars("t", {"a": {}, "b": {"x": nan}}),
    lines("t", "x", "y", {}),
    lines("t", "x", "y", {"a": [(1, nan), (2, nan)], "b": []}),
]


@pytest.mark.parametrize("figure", EMPTY)
def test_of_nothing_there_is_nothing_to_show(figure) -> None:
    check(figure)
    assert words(figure) == ["nothing to show"]


def test_a_file_and_a_page_hold_the_same_drawing() -> None:
    for figure in every_figure("some"):
        paths = [re.findall(r'<(?:path|text) class="(?!paper).*', markup) for markup in (svg(figure), inline(figure))]
        assert paths[0] == paths[1]
        assert len(paths[0]) == len(figure.items)


# -- colours and forms -----------------------------------------------------------------------------------------------


def styles():
    return "".join(template(name).render() for name in ("style.css.j2", "figures.css.j2"))


def luminance(colour: str) -> float:
    """https://www.w3.org/TR/WCAG21/#dfn-relative-luminance"""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot((0.2126, 0.7152, 0.0722), linear))


def test_sets_stand_out_from_the_paper_light_and_dark_and_a_file_has_the_light_colours() -> None:
    light, dark = {}, {}
    for name, colour in re.findall(r"--([\w-]+): (#\w{6})", styles()):
        (dark if name in light else light)[name] = colour
    for colours in (light, dark):
        on_paper = [(name, "paper") for name in ("blue", "orange", "teal", "purple", "red", "ink", "soft")]
        for name, ground in [*on_paper, ("red", "red-wash"), ("ink", "red-wash"), ("soft", "red-wash")]:
            bright, dim = sorted((luminance(colours[name]), luminance(colours[ground])), reverse=True)
            assert (bright + 0.05) / (dim + 0.05) >= 4.5, (name, ground)
    used = set(re.findall(r"#\w{6}", svg(figures.scatter("t", {"a": [Point(0, 0, "")]}))))
    assert used == {light[name] for name in re.findall(r"var\(--(\w+)\)", styles().partition("figure.drawn")[2])}


@pytest.mark.parametrize(
    "drawn",
    [lambda i: drawing.mark(i, 0, 0), lambda i: drawing.curve(i, "M0 0"), lambda i: tuple(drawing.bar(i, 0, 0, 9))],
    ids=["marks", "curves", "bars"],
)
def test_sixteen_sets_differ_and_four_of_them_without_colour(drawn) -> None:
    assert len({drawn(i) for i in range(16)}) == 16
    assert len({re.sub(r"\bc\d", "", str(drawn(i))) for i in range(4)}) == 4


def test_every_class_has_a_style() -> None:
    used = {word for figure in every_figure("some") for item in figure.items for word in item.kind.split()}
    used |= {word for i in range(4) for shape in drawing.bar(i, 0, 0, 9) for word in shape.kind.split()}
    plain = {"name", "bar", "full", "c0", "c1", "c2", "c3"}
    assert used - plain <= set(re.findall(r"\.(\w+)", svg(EMPTY[0]).partition("</style>")[0])) | {"dash0"}


def test_an_empty_set_does_not_change_the_looks_of_the_others() -> None:
    for figure in (
        histograms("t", "x", {"none": [], "some": [0.5]}),
        bars("t", {"none": {}, "some": {"label": 0.5}}),
        lines("t", "x", "y", {"none": [(1, nan)], "some": [(1, 0.5)]}),
        scatter("t", {"none": [], "some": [Point(0, 0, "")]}),
    ):
        drawn = [item for item in figure.items if isinstance(item, drawing.Shape) and item.title]
        assert {word for shape in drawn for word in shape.kind.split()} & {"c0", "c1"} >= {"c1"}
        assert not any("some" in shape.title and "c0" in shape.kind for shape in drawn)


def test_a_set_looks_the_same_wherever_it_is_given_the_same_place() -> None:
    looks = {"second": 3, "first": 2}
    drawings = (
        scatter(
            "t",
            {"first": [Point(0, 0, "")], "second": [Point(1, 1, "")]},
            {"first": [(0, 0), (1, 0), (0, 1)]},
            places=looks,
        ),
        forest("t", {"score": {"first": Reading(0.5), "second": Reading(0.6)}}, looks),
        histograms("t", "x", {"first": [0.5], "second": [0.7]}, places=looks),
        bars("t", {"second": {"label": 0.5}, "first": {"label": 0.4}}, looks),
        lines("t", "x", "y", {"first": [(0, 1), (1, 1)], "second": [(0, 2, 0.1)]}, looks),
    )
    for figure in drawings:
        drawn = [item for item in figure.items if isinstance(item, drawing.Shape) and "c" in item.kind]
        assert {word for shape in drawn for word in shape.kind.split() if re.fullmatch(r"c\d", word)} == {"c2", "c3"}
        assert not any("first" in shape.title and "c3" in shape.kind for shape in drawn)


# -- maps ------------------------------------------------------------------------------------------------------------


def test_a_map_has_every_point_with_its_text_and_every_hull() -> None:
    sets = {name: [Point(x, y, f"{name} {x}") for x, y in corners] for name, corners in UNIT.items()}
    figure = scatter("Map", sets, UNIT, "across", "up")
    check(figure)
    assert len(marks(figure)) == 6
    assert {m.title for m in marks(figure)} == {f"{name}\n{p.text}" for name, ps in sets.items() for p in ps}
    assert [shape.d.count("L") for shape in shapes(figure, "hull")] == [2, 2]
    assert {"light (3)", "dark (3)", "across", "up"} <= set(words(figure))
    # To the right is more, and so is up.
    low, high = (
        at(next(m for m in marks(figure) if m.title == title)) for title in ("light\nlight 0.0", "dark\ndark 0.5")
    )
    assert low[0] < high[0]
    assert low[1] > high[1]


def test_no_set_of_a_map_hides_another() -> None:
    sets = {"few": [Point(0, 0, "")] * 10, "many": [Point(1, 1, "")] * 30}
    order = [shape.title.split()[0] for shape in marks(scatter("t", sets))]
    assert [order[i : i + 4].count("few") for i in range(0, 40, 4)] == [1] * 10


def test_a_great_map_is_thinned_evenly_and_says_so() -> None:
    figure = scatter("t", {"a": [Point(i, i, "") for i in range(3000)], "b": [Point(i, 0, "") for i in range(1500)]})
    drawn = [shape.title.split()[0] for shape in marks(figure)]
    assert (drawn.count("a"), drawn.count("b")) == (1000, 500)
    assert "One point in 3 of each set is drawn." in words(figure)


def test_long_texts_are_cut_and_points_without_a_place_are_counted() -> None:
    figure = scatter("t", {"a": [Point(0, 0, "x" * 500), Point(nan, 0, "gone")]})
    assert [len(shape.title) for shape in marks(figure)] == [len("a\n") + 240]
    assert "Left out, as not finite: 1." in words(figure)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_a_score_has_its_value_interval_ceiling_and_rivals_on_a_scale_of_its_own() -> None:
    mine, rival = Reading(0.5, 0.4, 0.6, 0.75), Reading(0.25, 0.2, 0.3)
    figure = forest("t", {"first": {"mine": mine, "rival": rival}, "second": {"mine": Reading(250, 200, 300)}})
    check(figure)
    assert {"0.500 (0.400 to 0.600)", "0.250 (0.200 to 0.300)", "250 (200 to 300)"} <= set(words(figure))
    value, other, second = marks(figure)
    (ceiling,) = [shape for shape in shapes(figure, "ceiling") if shape.title]
    x = [at(other)[0], at(value)[0], at(ceiling)[0]]
    assert x[2] - x[1] == pytest.approx(x[1] - x[0], abs=0.2)
    assert ceiling.title == "first\nreal against real: 0.750"
    ranges = [re.fullmatch(r"M(\S+) \S+?H(\S+)", s.d).groups() for s in shapes(figure, "range") if s.title]
    for mark, (low, high) in zip((value, other, second), ranges, strict=True):
        assert float(low) + float(high) == pytest.approx(2 * at(mark)[0], abs=0.3)
    assert {"mine", "rival", "real against real"} <= set(words(figure))


def test_a_score_that_is_undefined_says_why() -> None:
    figure = forest("t", {"score": {"mine": Reading(reason="fewer than two texts"), "rival": Reading(reason=None)}})
    assert {"none: fewer than two texts", "none: not defined"} <= set(words(figure))
    assert not marks(figure)
    assert "real against real" not in words(figure)


# -- histograms ------------------------------------------------------------------------------------------------------


def test_a_histogram_gives_the_share_of_each_set() -> None:
    series = {"a": [0.0, 0.1, 0.1, 1.0], "b": [1.0] * 7, "none": []}
    figure = histograms("t", "distance", series, bins=2)
    assert [shape.title for shape in shapes(figure, "hover")] == [
        "0.000 to 0.500\na: 75%\nb: 0%",
        "0.500 to 1.000\na: 25%\nb: 100%",
    ]
    assert {"a (4)", "b (7)", "none: nothing to show."} <= set(words(figure))
    assert [s.title for s in shapes(figure, "curve") if s.title] == ["median of a 0.100", "median of b 1.000"]


def test_a_logarithmic_histogram_has_bins_of_equal_ratio_and_counts_zeros_in_the_shares() -> None:
    figure = histograms("t", "x", {"a": [0, 1, 10, 100]}, bins=2, log=True)
    assert [shape.title for shape in shapes(figure, "hover")] == ["1.000 to 10\na: 25%", "10 to 100\na: 50%"]
    assert "a: 1 of 4 are 0 or less, and not shown." in words(figure)
    left, right = (shape.d for shape in shapes(figure, "hover"))
    assert left.split("H")[1].split("V")[0] == right[1:].split()[0] == "384"


@pytest.mark.parametrize("values", [[3.0], [3.0] * 5, [0.0], [-2.0, -2.0]])
def test_one_value_fills_one_bin(values) -> None:
    figure = histograms("t", "x", {"a": values}, bins=5)
    assert sum("a: 100%" in shape.title for shape in shapes(figure, "hover")) == 1


def test_a_histogram_without_bins_is_refused() -> None:
    with pytest.raises(ValueError, match="0 bins; expected at least 1"):
        histograms("t", "x", {"a": [1.0]}, bins=0)


# -- bars ------------------------------------------------------------------------------------------------------------


def test_bars_are_as_long_as_their_shares() -> None:
    figure = bars("t", {"a": {"x": 0.2, "y": 0.8}, "b": {"x": 0.4, "y": 0.6, "z": nan}})
    spans = {
        s.title: [float(n) for n in re.match(r"M(\S+) \S+?H([\d.]+)", s.d).groups()] for s in shapes(figure, "bar")
    }
    lengths = {title: right - left for title, (left, right) in spans.items() if title}
    assert lengths["y\na: 80.0%"] == pytest.approx(4 * lengths["x\na: 20.0%"], abs=0.5)
    assert lengths["y\nb: 60.0%"] == pytest.approx(3 * lengths["x\na: 20.0%"], abs=0.5)
    assert words(figure).index("y") < words(figure).index("x")


def test_many_labels_are_drawn_as_others() -> None:
    figure = bars("t", {"a": {f"label {i}": (i + 1) / 210 for i in range(20)}})
    assert sum(shape.title != "" for shape in shapes(figure, "bar")) == figures.CATEGORIES
    assert f"9 others\na: {sum(range(1, 10)) / 210:.1%}" in titles(figure)


@pytest.mark.parametrize("value", [-0.1, 1.5, 3])
def test_bars_are_of_shares(value) -> None:
    with pytest.raises(ValueError, match=r"share of 'x' in 'a' is .*; expected a number in \[0, 1\]"):
        bars("t", {"a": {"x": value}})


# -- curves ----------------------------------------------------------------------------------------------------------


def test_a_curve_has_its_points_and_a_gap_where_a_value_is_missing() -> None:
    a, b = [(1, 0.9), (2, nan), (3, 0.7), (4, 0.6)], [(1, 0.5), (2, 0.5), (7, 0.5), (8, nan)]
    figure = lines("t", "round", "novelty", {"a": a, "b": b})
    curve, other = (shape for shape in shapes(figure, "curve") if shape.title)
    assert (curve.d.count("M"), curve.d.count("L")) == (2, 1)
    assert (other.d.count("M"), other.d.count("L")) == (1, 2)
    assert [m.title for m in marks(figure)][:3] == [f"a\nround {x}: {y:.3f}" for x, y in ((1, 0.9), (3, 0.7), (4, 0.6))]
    assert at(marks(figure)[0])[1] < at(marks(figure)[1])[1]


@pytest.mark.parametrize(
    ("x", "ticks"), [([1, 2, 4], ["1", "2", "3", "4"]), ([3], ["2", "3", "4"]), ([1, 9], list("123456789"))]
)
def test_whole_numbers_have_whole_ticks(x, ticks) -> None:
    shown = words(lines("t", "", "", {"a": [(a, 0.5) for a in x]}))
    assert [word for word in shown if re.fullmatch(r"\d+", word)] == ticks


def test_spreads_are_whiskers_around_their_points() -> None:
    figure = lines("t", "x", "y", {"a": [(1, 0.5, 0.1), (2, 0.6, nan)]})
    (whisker,) = shapes(figure, "whisker")
    low, high = (float(n) for n in re.fullmatch(r"M\S+ (\S+?)h8m-4 0V(\S+?)m-4 0h8", whisker.d).groups())
    assert (low + high) / 2 == pytest.approx(at(marks(figure)[0])[1], abs=0.1)
    assert "a\nx 1: 0.500 ± 0.100" in titles(figure)


def test_a_long_curve_has_few_marks_and_still_every_number() -> None:
    figure = lines("t", "x", "y", {"a": list(enumerate(np.sqrt(np.arange(300))))})
    assert len(marks(figure)) <= figures.MARKED
    assert len(titles(figure)) == 301


# -- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([0, 1], False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-3, 9], False, ["−2", "0", "2", "4", "6", "8"]),
        ([50, 800], False, ["100", "200", "300", "400", "500", "600", "700", "800"]),
        ([1, 100], True, ["1", "2", "5", "10", "20", "50", "100"]),
        ([1e-4, 1e4], True, ["0.0001", "0.01", "1", "100", "10000"]),
        ([2, 3], True, ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]),
        ([7, 7], False, ["4", "5", "6", "7", "8", "9", "10"]),
    ],
)
def test_ticks_are_round_numbers(values, log: bool, ticks: list[str]) -> None:
    scale = drawing.Scale.over(values, 0, 100, log)
    assert [label for _, label in scale.ticks()] == ticks
    assert all(0 <= place <= 100 for place, _ in scale.ticks())


def test_what_is_cut_can_be_read_where_the_mouse_rests() -> None:
    (label,) = drawing.labels("a word " * 40, 0, 0, 200)
    assert label.words.endswith("…")
    assert drawing.width(label.words) <= 200
    assert label.title == "a word " * 40
    assert drawing.labels("short", 0, 0, 200)[0].title == ""
    assert all(drawing.width(line) <= 150 for line in drawing.wrapped("漢字" * 90, 150, 3))
