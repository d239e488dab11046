"""The page of a search: its sentences claim what the numbers carry, its links lead somewhere, it is safe to open."""

import re
from itertools import product
from math import nan
from pathlib import Path

import pytest
from test_comparison_page import Page

from steer.records import write_json
from steer.report.drawing import inline
from steer.report.heat import Cell
from steer.report.readings import Reading
from steer.report.tradeoffs import Score
from steer.report.tuning import write_tuning
from steer.report.tuning.cards import cards
from steer.report.tuning.dials import greatest, scaled, sweep_pictures
from steer.report.tuning.files import ETA, GAMMA, TEMPERATURE, TOP_P, Grid, Row, Search, Tuned, is_plain
from steer.report.tuning.grids import form_pictures, grid_pictures
from steer.report.tuning.method import method
from steer.report.tuning.panels import panels
from steer.report.tuning.tables import fresh_table, trials_table
from steer.report.tuning.texts import Links
from steer.report.tuning.tradeoff import tradeoffs
from steer.report.tuning.trends import Trend, of_score, reversals, sentence, trend
from steer.report.tuning.verdict import cautions, verdict
from steer.report.tuning.words import overrides, words

DIVERSITY, AUROC, AUTHENTIC, COUNT = (
    "ngram_diversity",
    "adversarial_auroc",
    "calibrated_authenticity",
    "negatives.count",
)
HOSTILE = "</details><script>alert(1)</script> & \"x\" 'y' <b onclick=alert(1)>"


def point(gamma=0.0, eta=0.0, top_p=0.9, temperature=1.0, **more):
    return {GAMMA: gamma, ETA: eta, **more, TOP_P: top_p, TEMPERATURE: temperature}


OWN, BEST, PLAIN, COLD = point(0.2, 0.4), point(0.4, 0.8), point(temperature=1.2), point(temperature=0.8)


def scored(value, half=0.02):
    return {
        "value": value,
        "low": None if value is None else value - half,
        "high": None if value is None else value + half,
    }


def scores(diversity=0.8, auroc=0.7, authentic=0.95, half=0.02):
    return {name: scored(v, half) for name, v in ((DIVERSITY, diversity), (AUROC, auroc), (AUTHENTIC, authentic))}


def measured(number, at, values=None, **more):
    return {
        "number": number,
        "point": at,
        "state": "complete",
        "reason": None,
        "samples": 64,
        "seconds": 1.0,
        "scores": scores() if values is None else values,
        "on_front": False,
        "front_share": 0.5,
        **more,
    }


def choice(at, why="it is the knee", test=None, **stages):
    return {
        "point": at,
        "number": 0,
        "why": why,
        "search": None,
        "validation": scores(),
        "test": test or scores(),
        **stages,
    }


def gain(over, score, value, adjusted):
    low, high = (None, None) if value is None else (value - 0.01, value + 0.01)
    return {"over": over, "score": score, "value": value, "low": low, "high": high, "p": adjusted, "adjusted": adjusted}


def beside(number, value, adjusted):
    """A steered point against the front of plain sampling."""
    return {**gain([0, 1], AUROC, value, adjusted), "number": number}


def against_plain(*tested, outside=()):
    """What `steer tune` calls beyond: better by more than chance."""
    beyond = [one["number"] for one in tested if (one["value"] or 0) > 0 and one["adjusted"] < 0.05]
    return {"tested": list(tested), "beyond": beyond, "outside": list(outside)}


def tune(**changes):
    """tune.json as `steer tune` leaves it."""
    return {
        "plan": {
            "seed": 3,
            "samples": 64,
            "first": 24,
            "spread": 2,
            "budget": None,
            "temperatures": [0.8],
            "top_ps": [0.9],
        },
        "want": f"maximise {DIVERSITY}, minimise {AUROC}, {AUTHENTIC} >= 0.9",
        "objectives": [{"score": DIVERSITY, "maximise": True}, {"score": AUROC, "maximise": False}],
        "constraints": [{"score": AUTHENTIC, "at_least": True, "limit": 0.9}],
        "dials": {GAMMA: {"low": 0, "high": 2, "step": 0.1, "default": 0.2, "plain": 0}},
        "trials": [
            measured(0, OWN),
            measured(1, BEST),
            measured(2, point(1.0), state="stopped", reason="surely worse than gamma 0"),
            measured(3, point(2.0), {}, state="failed", reason="too few texts"),
        ],
        "confirmed": [measured(1, BEST, scores(0.9, 0.6), on_front=True), measured(0, OWN, scores(0.7, 0.8))],
        "rivals": [measured(0, COLD), measured(1, PLAIN)],
        "against_plain": against_plain(beside(1, 0.05, 0.03), beside(0, 0.02, 0.4)),
        "knee": 1,
        "recommended": choice(BEST, search=scores(0.93, 0.55)),
        "default": choice(OWN),
        "plain": choice(PLAIN, test=scores(0.75, 0.8)),
        "gains": [
            gain(over, name, 0.02, 0.001) for over in ("default", "plain") for name in (DIVERSITY, AUROC, AUTHENTIC)
        ],
        "looks": 1,
        "seconds": 83.0,
        **changes,
    }


def said(**changes):
    return "\n".join(
        f"{one.words}: {one.numbers}" if one.numbers else one.words for one in verdict(Search.of(tune(**changes)))
    )


def against(over, **by_score):
    """The gains over one of the two alone: score -> (value, adjusted p)."""
    return {"gains": [gain(over, name, *of) for name, of in by_score.items()]}


def grid_of(axes, value, half=0.02):
    """cells: the values of the axes -> the scores, or None for a point that failed."""
    rows = []
    for at in product(*axes.values()):
        found = value(*at)
        state = {"state": "failed", "reason": "too few texts"} if found is None else {}
        rows.append(measured(len(rows), {**point(), **dict(zip(axes, at, strict=True))}, found or {}, **state))
    return rows


def diverse(value, auroc=0.7):
    return scores(value, auroc)


FIVE = (0.0, 0.2, 0.4, 0.8, 1.2)
TWO = {GAMMA: FIVE, ETA: FIVE}


def figures(**forms):
    return {
        "samples": 50,
        "forms": forms
        or {
            "steer": grid_of(TWO, lambda g, e: diverse(0.5 + 0.3 * e - 0.01 * g)),
            "steer_authors": grid_of(TWO, lambda g, e: None if e > 1 else diverse(0.6)),
            "steer_printed": grid_of(TWO, lambda g, e: diverse(0.9 - 0.3 * e)),
        },
        "sweeps": {GAMMA: grid_of({GAMMA: FIVE}, lambda g: diverse(0.5 + 0.1 * g, 0.6 + 0.2 * g))},
    }


def grid(axes, value=lambda *at: diverse(0.5)):
    return {"samples": 50, "axes": {name: list(values) for name, values in axes.items()}, "cells": grid_of(axes, value)}


def examples(rows, text="a text"):
    return [
        {"point": row["point"], "texts": [f"{text} {i}" for i in range(2)]} for row in rows if row["state"] != "failed"
    ]


def made(folder: Path, **files) -> Path:
    """A folder with these files, and texts of all points in them."""
    for name, tree in files.items():
        write_json(folder / f"{name}.json", tree)
    told = files.get("tune") or {}
    lists = {
        "search": (told.get("trials") or []) + (told.get("rivals") or []),
        **(files.get("figures") or {}).get("forms", {}),
    }
    lists |= {**(files.get("figures") or {}).get("sweeps", {}), "grid": (files.get("grid") or {}).get("cells", [])}
    for name, rows in lists.items():
        if rows:
            write_json(folder / "examples" / f"{name}.json", examples(rows))
    return folder


def read(folder, **files) -> tuple[Tuned, Links]:
    tuned = Tuned.read(made(folder, **files))
    return tuned, Links(tuned)


# -- the verdict -----------------------------------------------------------------------------------------------------


def test_the_recommended_point_is_named_with_its_reason():
    assert "The recommended point is γ 0.4, η 0.8, top-p 0.9, temperature 1: it is the knee." in said()
    assert overrides(BEST) == "guidance.gamma=0.4 guidance.eta=0.8 sampling.top_p=0.9 sampling.temperature=1"


def test_plain_sampling_and_the_own_settings_are_called_what_they_are():
    plain = said(recommended=choice(PLAIN))
    assert "The recommended point is plain sampling (top-p 0.9, temperature 1.2), with steering switched off" in plain
    assert "beside the best plain sampling" not in plain
    own = said(recommended=choice(OWN))
    assert "The recommended point is the run's own: γ 0.2, η 0.4" in own
    assert "beside the run's own settings" not in own


def test_only_differences_beyond_chance_are_better_or_worse():
    words = said(**against("plain", **{DIVERSITY: (0.05, 0.049), AUROC: (-0.1, 0.001), AUTHENTIC: (0.3, 0.05)}))
    assert (
        "On the test split, beside the best plain sampling (top-p 0.9, temperature 1.2), it is better in diversity, is "
        "worse in fidelity and cannot be told apart from it in authenticity: diversity 0.800, not 0.750 and "
        "adversarial AUROC 0.700, not 0.800." in words
    )


def test_no_difference_is_no_merit():
    words = said(**against("plain", **{DIVERSITY: (0.0, 0.001), AUROC: (0.0, 1.0)}))
    assert "it cannot be told apart from it in diversity and fidelity" in words
    assert "is better" not in words.partition("At equal")[0]


@pytest.mark.parametrize("lost", [None, []])
def test_without_a_test_nothing_is_claimed(lost):
    words = said(gains=lost)
    assert "How it stands to the best plain sampling (top-p 0.9, temperature 1.2) cannot be said" in words
    undefined = said(**against("plain", **{DIVERSITY: (None, None), AUROC: (0.1, 0.001)}))
    assert "is better in fidelity and was not compared with it in diversity" in undefined


def test_what_failed_on_the_test_split_is_said():
    failed = {**choice(BEST), "test": None}
    words = said(recommended=failed, gains=[])
    assert "On the test split it was not measured" in words
    assert "beside the best" not in words
    assert all(card.number == "none" for card in cards(Search.of(tune(recommended=failed, gains=[]))))


@pytest.mark.parametrize(("authentic", "missed"), [(0.95, False), (0.9, False), (0.89, True)])
def test_a_constraint_that_the_test_split_misses_is_not_passed_over(authentic, missed):
    words = said(recommended=choice(BEST, test=scores(authentic=authentic)))
    assert (
        "On the test split it misses calibrated_authenticity >= 0.9: calibrated authenticity 0.890" in words
    ) == missed


ASK = "At equal diversity, is steering better than plain sampling in fidelity?"


@pytest.mark.parametrize(
    ("tested", "expected"),
    [
        ([(1, 0.05, 0.03), (0, 0.02, 0.4)], "Yes, at 1 of 2 points tested on fresh samples: γ 0.4, η 0.8, top-p 0.9,"),
        ([(1, 0.05, 0.03), (0, -0.02, 0.01)], "Yes, at 1 of 2 points tested on fresh samples; it is worse at 1: "),
        ([(1, 0.05, 0.05), (0, 0.02, 0.4)], "It cannot be told apart from it (2 points tested on fresh samples)."),
        (
            [(1, 0.05, 0.1), (0, -0.02, 0.01)],
            "It cannot be told apart from it (2 points tested on fresh samples, at 1 of",
        ),
        ([(1, 0.0, 0.01)], "It cannot be told apart from it (1 point tested on fresh samples)."),
        ([(1, -0.05, 0.03), (0, -0.02, 0.01)], "No, it is worse at all (2 points tested on fresh samples): γ 0.4"),
        ([(1, None, None)], "It cannot be said: none of 2 confirmed STEER points could be held against it."),
        ([], "It cannot be said: none of 2 confirmed STEER points could be held against it."),
    ],
)
def test_steering_is_held_against_plain_sampling_at_equal_diversity(tested, expected):
    words = said(against_plain=against_plain(*(beside(*one) for one in tested)))
    assert f"{ASK} {expected}" in words
    assert ("Yes" in words) == expected.startswith("Yes")


def test_how_much_better_is_said_of_each_point():
    assert "temperature 1: better by 0.050 (0.040 to 0.060), p .030." in said()
    worse = said(against_plain=against_plain(beside(1, -0.05, 0.03)))
    assert "temperature 1: worse by 0.050 (0.040 to 0.060), p .030." in worse


def test_of_what_nothing_stands_beside_nothing_is_claimed():
    words = said(against_plain=against_plain(beside(1, 0.05, 0.03), outside=[0]))
    assert (
        "1 STEER point lies outside what the front of plain sampling spans in diversity, so nothing stands beside it "
        "and nothing is claimed of it: γ 0.2, η 0.4, top-p 0.9, temperature 1." in words
    )
    assert "outside" not in said()
    alone = said(against_plain=against_plain(outside=[0, 1]))
    assert f"{ASK} It cannot be said" in alone
    assert "2 STEER points lie outside" in alone


def test_the_question_is_that_of_the_objectives():
    goals = tune()["objectives"]
    assert "Is steering better than the best plain sampling in diversity? Yes" in said(objectives=goals[:1])
    three = said(objectives=[*goals, {"score": AUTHENTIC, "maximise": True}])
    assert "is steering better than plain sampling in fidelity (authenticity left aside)? Yes" in three
    assert "is steering better" not in said(objectives=[])


@pytest.mark.parametrize("older", [None, {"undominated": True, "numbers": [1], "surely_better": True}])
def test_where_it_was_not_tested_nothing_is_asked(older):
    assert "is steering better" not in said(against_plain=older)
    nothing = against_plain()
    assert f"{ASK} It cannot be said: no STEER point did well enough" in said(
        against_plain=nothing, confirmed=[measured(0, PLAIN)]
    )


def test_the_table_shows_gains_over_plain_sampling(tmp_path):
    tuned, links = read(tmp_path, tune=tune(against_plain=against_plain(beside(1, 0.05, 0.03), outside=[0])))
    table = fresh_table(tuned.search, links)
    assert table.gained == ("gain in fidelity", "over plain, at equal diversity")
    tested, outside = (line.gain for line in table.groups["STEER"])
    assert (tested.value, tested.interval, tested.p, tested.sure) == ("+0.050", "0.040 to 0.060", "p .030", True)
    assert (outside.value, outside.sure) == ("nothing beside it", False)
    assert all(line.gain is None for line in table.groups["Plain sampling over temperature"])
    worse, _ = read(tmp_path, tune=tune(against_plain=against_plain(beside(1, -0.05, 0.03))))
    line = fresh_table(worse.search, links).groups["STEER"][0]
    assert (line.gain.value, line.gain.sure) == ("−0.050", False)
    page = Page(write_tuning(made(tmp_path, **ALL)))
    assert "+0.050" in page.text


def test_a_table_without_gains_has_no_column_of_them(tmp_path):
    tuned, links = read(tmp_path, tune=tune(against_plain=None))
    assert not fresh_table(tuned.search, links).gained


def test_looks_and_flattery_are_told():
    once, often = (cautions(Search.of(tune(looks=looks))) for looks in (1, 4))
    shared = "The run's own report and “steer compare” look at the same split"
    assert once[0].startswith(f"The test split was looked at once by this search. {shared}")
    assert often[0].startswith(f"The test split was looked at 4 times by searches in this folder. {shared}")
    assert "diversity 0.930 in the search, 0.800 on fresh samples, 0.800 on the test split" in once[1]


def test_a_time_limit_is_one_of_the_search_alone(tmp_path):
    tuned, _ = read(tmp_path, tune=tune(plan={**tune()["plan"], "budget": 600.0}))
    assert (
        "no point of the search was begun later; confirming, plain sampling and the test" in method(tuned)["time limit"]
    )


def test_cards_stand_to_plain_sampling():
    found = Search.of(tune(**against("plain", **{DIVERSITY: (0.05, 0.01), AUROC: (-0.1, 0.01), AUTHENTIC: (0.1, 0.9)})))
    assert [card.reply for card in cards(found)] == ["Better", "Worse", "Cannot be told apart"]
    assert "Against the best plain sampling: worse by 0.100 (0.090 to 0.110), p .010." in cards(found)[1].details
    assert "Asked for: calibrated_authenticity >= 0.9; met, even at the pessimistic end." in cards(found)[2].details
    plain = Search.of(tune(recommended=choice(PLAIN)))
    assert {card.reply for card in cards(plain)} == {"It is plain sampling"}


def test_a_pessimistic_end_is_that_of_the_direction():
    least, most = (
        Search.of(tune(constraints=[{"score": AUROC, "at_least": at_least, "limit": limit}])).constraints[0]
        for at_least, limit in ((True, 0.6), (False, 0.6))
    )
    for value, low, high, at_least, at_most in (
        (0.7, 0.65, 0.8, "surely", "no"),
        (0.7, 0.5, 0.8, "by value", "no"),
        (0.5, 0.4, 0.55, "no", "surely"),
        (0.5, 0.4, 0.65, "no", "by value"),
        (0.7, nan, nan, "by value", "no"),
        (nan, nan, nan, "unknown", "unknown"),
    ):
        assert least.met({AUROC: Reading(value, low, high)}) == at_least
        assert most.met({AUROC: Reading(value, low, high)}) == at_most


def test_points_in_words():
    assert words(point(0.3, 0.1)) == "γ 0.3, η 0.1, top-p 0.9, temperature 1"
    assert words(point(**{COUNT: 10.0})) == "top-p 0.9, temperature 1"
    assert is_plain(PLAIN)
    assert not is_plain({**PLAIN, "guidance.alpha": 0.1})
    assert not is_plain({**PLAIN, "guidance.strength": 0.8})


# -- directions ------------------------------------------------------------------------------------------------------


def one_axis(values, half=0.02):
    rows = [Row(i, {GAMMA: g}, scores={DIVERSITY: Reading(v, v - half, v + half)}) for i, (g, v) in enumerate(values)]
    return Grid({GAMMA: [g for g, _ in values]}, {(row.point[GAMMA],): row for row in rows})


@pytest.mark.parametrize(
    ("values", "half", "expected"),
    [
        ((0.1, 0.2, 0.3), 0.02, "rises"),
        ((0.3, 0.2, 0.1), 0.02, "falls"),
        ((0.1, 0.2, 0.3), 0.2, "leans up"),
        ((0.3, 0.2, 0.1), nan, "leans down"),
        ((0.1, 0.3, 0.1), 0.02, "none"),
        ((0.2, 0.2, 0.2), 0.02, "none"),
        ((0.2, nan, nan), 0.02, "unknown"),
    ],
)
def test_a_direction_takes_a_rank_correlation_and_ends_that_lie_apart(values, half, expected):
    found = trend(one_axis(list(zip((0.0, 0.5, 1.0), values, strict=True)), half), GAMMA, of_score(DIVERSITY))
    assert found.direction == expected


def test_the_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    values = [0.3, 0.1, 0.4, 0.1, 0.5]
    found = trend(one_axis(list(enumerate(values))), GAMMA, of_score(DIVERSITY))
    assert found.correlation == pytest.approx(spearmanr(range(5), values).statistic)


def test_the_other_dial_is_held_still(tmp_path):
    """Where cells are missing, all of them together would show the opposite."""

    def value(gamma, eta):
        return None if (gamma > 0.3) == (eta > 0.3) else diverse(0.5 + 0.1 * gamma - 0.4 * (gamma > 0.3))

    tuned, _ = read(tmp_path, figures=figures(steer=grid_of(TWO, value)))
    together = trend(tuned.forms["steer"], GAMMA, of_score(DIVERSITY))
    assert together.correlation == 1
    assert together.rows == 5


def test_ends_the_other_way_forbid_to_be_sure():
    assert Trend(0.9, 3, 0, 5).direction == "rises"
    assert Trend(0.9, 2, 0, 5).direction == "leans up"
    assert Trend(0.9, 4, 1, 5).direction == "leans up"
    assert Trend(-0.9, 0, 3, 5).direction == "falls"


def test_below_a_coin_toss_an_auroc_does_not_move():
    rows = {(float(i),): Row(i, {GAMMA: i}, scores={AUROC: Reading(v, v, v)}) for i, v in enumerate((0.5, 0.4, 0.3))}
    assert trend(Grid({GAMMA: [0, 1, 2]}, rows), GAMMA, of_score(AUROC)).direction == "none"


def test_the_reversal_of_the_printed_form_is_computed_from_its_cells(tmp_path):
    tuned, links = read(tmp_path, figures=figures())
    first = form_pictures(tuned, links)[0]
    assert (
        "rises with η (rank correlation +1.00; intervals at the ends lie apart at 5 of 5 values of γ)"
        in first.sentences[0]
    )
    assert "falls with η (rank correlation −1.00" in first.sentences[2]
    assert first.sentences[3:] == ["Over η the forms part: diversity rises balanced, and falls as it is printed."]
    same = {"a": tuned.forms["steer"], "b": tuned.forms["steer_authors"]}
    assert reversals(same, DIVERSITY) == []


def test_sentences_speak_of_the_number_that_is_shown():
    """A higher AUROC is less fidelity."""
    rows = {(g,): Row(0, {GAMMA: g}, scores={AUROC: Reading(v, v, v)}) for g, v in ((0.0, 0.6), (0.5, 0.7), (1.0, 0.9))}
    grid = Grid({GAMMA: [0, 0.5, 1]}, rows)
    assert sentence("Fidelity", grid, scaled(AUROC)).startswith("Fidelity falls with γ (rank correlation −1.00")
    assert sentence("AUROC", grid, of_score(AUROC)).startswith("AUROC rises with γ (rank correlation +1.00")
    assert scaled(AUROC)(rows[0.0,]).value == pytest.approx(0.8)
    assert scaled(AUROC)(Row(0, {}, scores={AUROC: Reading(0.3, 0.2, 0.6)})) == Reading(1.0, pytest.approx(0.8), 1.0)


# -- pictures --------------------------------------------------------------------------------------------------------


def test_the_panels_have_one_scale_of_colours():
    first = {(0.0, 0.0): Cell(0.2), (1.0, 0.0): Cell(0.5)}
    second = {(0.0, 0.0): Cell(0.5), (1.0, 0.0): Cell(0.8), (0.0, 1.0): Cell(nan)}
    figure = panels("t", "γ", "η", {"a": first, "b": second}, Score("diversity"))
    shades = {}
    for item in figure.items:
        if item.kind.startswith("heat") and item.title:
            shades.setdefault(item.title.split()[-1], []).append(item.kind)
    assert shades["0.500"] == ["heat4", "heat4"]
    assert (shades["0.200"], shades["0.800"]) == (["heat0"], ["heat8"])
    assert sum(item.kind == "best" for item in figure.items) == 1
    crossed = [item.title for item in figure.items if item.kind == "hatch"]
    assert crossed == [
        "γ 0, η 1\nnot measured",
        "γ 1, η 1\nnot measured",
        "γ 0, η 1\nno value",
        "γ 1, η 1\nnot measured",
    ]
    assert "Ranges: a 0.20 to 0.50; b 0.50 to 0.80." in figure.caption
    assert panels("t", "γ", "η", {"a": {}}, Score("d")).description == "Nothing to show."


@pytest.mark.parametrize("y_name", ["η", "share of real negatives, which is long"])
@pytest.mark.parametrize("count", [1, 2, 5, 21])
def test_the_panels_lie_within_the_figure(count, y_name):
    cells = {(float(x), float(y)): Cell(0.5 + x / 100) for x in range(count) for y in range(count)}
    figure = panels("t", "γ", y_name, dict.fromkeys("abcd", cells), Score("AUROC", higher_is_better=False))
    for item in figure.items:
        x, y = (
            (item.x, item.y) if hasattr(item, "x") else map(float, re.match(r"M([-\d.]+) ([-\d.]+)", item.d).groups())
        )
        assert 0 <= x <= figure.width
        assert 0 <= y <= figure.height


def test_the_sum_of_diversity_and_fidelity_is_marked(tmp_path):
    tuned, links = read(tmp_path, figures=figures())
    (told,) = sweep_pictures(tuned, links)
    assert "greatest sum (γ 0)" in inline(told.picture.figure)
    assert "Fidelity is 2 · (1 − AUROC)" in told.picture.figure.caption
    assert told.sentences[0] == "Held still: η 0, top-p 0.9, temperature 1."
    assert "Diversity rises with γ" in told.sentences[1]
    assert "Fidelity falls with γ" in told.sentences[2]
    assert greatest({"diversity": []}) == (None, pytest.approx(nan, nan_ok=True))


def test_the_tradeoff_has_the_search_its_confirmation_and_the_rivals(tmp_path):
    tuned, links = read(tmp_path, tune=tune(trials=[*tune()["trials"], measured(4, COLD)]))
    (picture,) = tradeoffs(tuned.search, links)
    drawn = inline(picture.figure)
    for name in (
        "STEER, confirmed (2)",
        "STEER, in the search (2)",
        "plain sampling, top-p 0.9 (2)",
        "recommended, knee",
    ):
        assert name in drawn
    assert "On the front is only what meets calibrated_authenticity &gt;= 0.9." in drawn
    assert "surely worse" not in drawn


def test_what_misses_the_constraints_is_not_on_the_front(tmp_path):
    """However good it is in the objectives."""
    rivals = [measured(0, COLD, scores(0.95, 0.55, 0.5)), measured(1, PLAIN, scores(0.8, 0.55), on_front=True)]
    tuned, links = read(tmp_path, tune=tune(rivals=rivals))
    (picture,) = tradeoffs(tuned.search, links)
    _legend, front = (item.d for item in picture.figure.items if item.kind == "front")
    assert front.count("V") == 2
    assert "1 point of both does not." in picture.figure.caption


def test_the_best_of_a_column_is_that_of_its_direction(tmp_path):
    trials = [
        measured(0, OWN, scores(0.9, 0.6)),
        measured(1, BEST, scores(0.8, 0.45)),
        measured(2, PLAIN, scores(0.7, 0.4)),
    ]
    tuned, links = read(tmp_path, tune=tune(trials=[*trials, measured(3, COLD, scores(1, 0.3), state="stopped")]))
    lines = trials_table(tuned.search, links).groups[""]
    # A coin toss is best, and neither 0.45 nor 0.4 is better than that.
    assert [[value.best for value in line.values[:2]] for line in lines] == [
        [True, False],
        [False, True],
        [False, True],
        [False, False],
    ]


def test_fewer_and_more_objectives_have_their_pictures(tmp_path):
    goals = tune()["objectives"]
    names = {
        count: [one.name for one in tradeoffs(Search.of(tune(objectives=some)), Links(read(tmp_path, tune=tune())[0]))]
        for count, some in (
            (1, goals[:1]),
            (3, [*goals, {"score": AUTHENTIC, "maximise": True}]),
        )
    }
    assert names[1] == ["tradeoff"]
    assert names[3] == [
        f"tradeoff-{x}-{y}" for x, y in ((DIVERSITY, AUROC), (DIVERSITY, AUTHENTIC), (AUROC, AUTHENTIC))
    ]
    alone = tune(objectives=goals[:1], constraints=[])
    path = write_tuning(made(tmp_path, tune=alone))
    assert "One score alone was wanted" in Page(path).text


def test_a_grid_is_placed_by_its_order(tmp_path):
    """Where η is 0 no negatives are shown, and all points of their number are one."""
    axes = {ETA: (0.0, 1.0), COUNT: (2.0, 4.0)}
    cells = grid(axes, lambda eta, count: diverse(0.5 + 0.1 * eta + 0.01 * count))
    for row in cells["cells"][:2]:
        row["point"][COUNT] = 10.0
    tuned, links = read(tmp_path, grid=cells)
    figure = grid_pictures(tuned, links)[0].picture.figure
    titles = {item.title.partition("\n")[0] for item in figure.items if item.kind.startswith("heat") and item.title}
    assert titles == {f"η {eta}, number of negatives {count}" for eta in (0, 1) for count in (2, 4)}


def test_further_axes_are_panels_and_a_single_one_is_a_curve(tmp_path):
    three = {GAMMA: (0.0, 1.0), ETA: (0.0, 1.0), TEMPERATURE: (0.8, 1.2)}
    tuned, links = read(tmp_path / "three", grid=grid(three))
    first = inline(grid_pictures(tuned, links)[0].picture.figure)
    assert "temperature 0.8" in first
    assert "temperature 1.2" in first
    tuned, links = read(tmp_path / "one", grid=grid({GAMMA: FIVE}))
    told = grid_pictures(tuned, links)
    assert [one.picture.name for one in told] == ["grid-guidance.gamma", f"grid-{AUTHENTIC}"]
    assert [one.first for one in told] == [True, False]


# -- the page --------------------------------------------------------------------------------------------------------

ALL = {"tune": tune(), "figures": figures(), "grid": grid({GAMMA: FIVE, ETA: FIVE})}
SUBSETS = [["tune"], ["figures"], ["grid"], ["tune", "grid"], ["figures", "grid"], list(ALL)]


@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_whatever_lies_there_makes_a_page_whose_links_lead_to_ids(tmp_path, names):
    path = write_tuning(made(tmp_path, **{name: ALL[name] for name in names}))
    page = Page(path)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    links = page.all("href")
    assert all(link == "data:," or (link.startswith("#") and link[1:] in ids) for link in links)
    assert any(link.startswith("#texts-") for link in links)
    assert ("Trade-off" in page.text) == ("tune" in names)
    assert ("Your grid" in page.text) == ("grid" in names)
    assert ("One dial at a time" in page.text) == ("figures" in names)


def test_the_page_has_no_scripts_and_loads_nothing(tmp_path):
    page = Page(write_tuning(made(tmp_path, **ALL)))
    assert not {"script", "img", "iframe", "object", "embed", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "src"]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.all("content")
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page.markup)


def test_everything_is_escaped(tmp_path):
    hostile = tune(
        want=HOSTILE,
        recommended=choice({**BEST, HOSTILE: 1.0}, why=HOSTILE),
        trials=[measured(0, OWN, state="failed", reason=HOSTILE)],
        dials={HOSTILE: {"low": 0}},
        objectives=[{"score": HOSTILE, "maximise": True}, {"score": AUROC, "maximise": False}],
    )
    folder = made(
        tmp_path, tune=hostile, figures=figures(**{HOSTILE.replace("/", ""): grid_of(TWO, lambda g, e: scores())})
    )
    write_json(folder / "examples" / "search.json", [{"point": OWN, "texts": [HOSTILE]}])
    page = Page(write_tuning(folder))
    assert not {"script", "b"} & {tag for tag, _ in page.tags}
    assert not any("onclick" in attributes for _, attributes in page.tags)
    assert page.text.count("alert(1)") >= 4


def test_texts_stand_where_links_lead(tmp_path):
    page = Page(write_tuning(made(tmp_path, **ALL)))
    cell = re.search(r'<a href="#(texts-steer_printed-\d+)">\n<path[^>]*><title>γ 0.4, η 0.8\n', page.markup)
    place = page.markup.index(f'id="{cell[1]}"')
    assert page.markup.rfind("γ 0.4, η 0.8, top-p 0.9, temperature 1", 0, place) > place - 150
    assert "a text 0" in page.markup[place : place + 600]


def test_the_printed_form_is_not_plain_where_both_dials_are_zero(tmp_path):
    page = Page(write_tuning(made(tmp_path, **ALL)))
    printed = page.text.partition("STEER as it is printed 25 points")[2]
    assert printed.split(" 2 texts")[0].strip() == "γ 0, η 0, top-p 0.9, temperature 1"
    assert "plain: top-p 0.9, temperature 0.8 2 texts" in page.text


def test_reasons_of_stopped_and_failed_points_are_told(tmp_path):
    text = Page(write_tuning(made(tmp_path, **ALL))).text
    assert "stopped: surely worse than gamma 0" in text
    assert "failed: too few texts" in text
    assert "As the authors ran it: 5 points of 25 could not be measured (too few texts)." in text
    assert "1 of 4: those which by their first 24 texts were surely worse" in text


@pytest.mark.parametrize("tree", [{}, dict.fromkeys(tune())])
def test_nulls_are_no_obstacle(tmp_path, tree):
    path = write_tuning(made(tmp_path, tune=tree, figures={}, grid={}))
    assert "No point is recommended." in Page(path).text


def test_undefined_scores_are_no_obstacle(tmp_path):
    none = {name: scored(None) for name in (DIVERSITY, AUROC, AUTHENTIC)}
    row = {**measured(1, BEST, none), "front_share": None, "seconds": None, "samples": None, "number": None}
    told = tune(trials=[row], confirmed=[row], rivals=[{**row, "point": PLAIN}], seconds=None, knee=None)
    told["recommended"] = {**choice(BEST), "test": none, "search": none, "validation": none}
    axes = {GAMMA: (0.0, 1.0), ETA: (0.0, 1.0)}
    empty = {"samples": None, "forms": {"steer": grid_of(axes, lambda g, e: none)}, "sweeps": {GAMMA: None}}
    page = Page(write_tuning(made(tmp_path, tune=told, figures=empty)))
    assert not re.search(r"\bnan\b", page.markup)
    assert "None" not in page.text


def test_an_empty_folder_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none of tune\.json, figures\.json, grid\.json; expected a folder"):
        write_tuning(tmp_path)
    assert not list(tmp_path.iterdir())


def test_pictures_are_files_of_their_own_and_old_ones_go(tmp_path):
    folder = made(tmp_path, **ALL)
    write_json(folder / "figures" / "heat-gone.svg", {})
    write_json(folder / "figures" / "mine.svg", {})
    write_tuning(folder)
    names = {path.name for path in (folder / "figures").iterdir()}
    assert {
        "tradeoff.svg",
        f"heat-{DIVERSITY}.svg",
        "dial-guidance.gamma.svg",
        f"grid-{AUROC}.svg",
        "mine.svg",
    } <= names
    assert "heat-gone.svg" not in names
    (folder / "grid.json").unlink()
    write_tuning(folder)
    assert not list((folder / "figures").glob("grid-*"))


def test_the_page_is_written_last(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("steer.report.tuning.write_pictures", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_tuning(made(tmp_path, **ALL))
    assert not (tmp_path / "tune.html").exists()
