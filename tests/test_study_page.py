"""The page of a study: who prefers what is said as the votes have it, and what it writes is safe to open."""

import csv
import io
import json
import re
from itertools import combinations
from pathlib import Path

import pytest
from pages import Page

from steer.config import Settings
from steer.records import write_json, write_text
from steer.report import write_report
from steer.report.drawing import Label, Shape
from steer.report.study import study_of_run, write_study
from steer.report.study.cards import cards
from steer.report.study.files import as_csv, latex
from steer.report.study.method import about, commands, limits, method
from steer.report.study.method import cautions as cautions_of_judges
from steer.report.study.pictures import dial_pictures, dials, strengths, win_rates
from steer.report.study.rows import Interval, Row
from steer.report.study.tables import agreement_table, annotators_table, judges_table, votes_table
from steer.report.study.verdict import cautions, relation, verdict
from steer.report.study.voted import Voted
from steer.report.study.words import marked
from steer.study.plan import Entry, Pair, Question, Study, TextSet
from steer.study.score import score
from steer.study.score.rates import stars
from steer.study.votes import Vote

ONE = (Question(name="creative", asks="Which is more creative?"),)
TWO = (*ONE, Question(name="plausible", asks="Which is more plausible?"))


def planned(comparisons=(("steer", "nucleus"),), pairs=12, questions=ONE, dials=(), **more) -> Study:
    """dials: set -> (gamma, eta). Every second text of the first set is the longer one of its pair."""
    names = list(dict.fromkeys(name for both in comparisons for name in both))
    at = dict(dials)
    made = []
    for a, b in comparisons:
        for i in range(pairs):
            first, second = ("a longer text", "a text") if i % 2 else ("a text", "a longer text")
            entries = Entry(set=a, id=str(i), text=first), Entry(set=b, id=str(i), text=second)
            made.append(Pair(id=f"p{len(made)}", a=entries[0], b=entries[1], match={"tone": "dry"}))
    made.append(Pair(id="g0", a=made[0].a, b=made[0].b, better="a"))
    sets = []
    for name in names:
        gamma, eta = at.get(name, (None, None))
        sets.append(TextSet(name=name, source=f"{name}.jsonl", texts=20, gamma=gamma, eta=eta))
    return Study(**{"title": "Ideas", "questions": questions, "sets": sets, "pairs": made, **more})


def votes(plan: Study, group: str, annotators: int, wins: float, question="creative", judge=False, sets=None):
    """Of every annotator on every pair in earnest: the first set in this share of them, spread over both evenly."""
    made = []
    for who in range(annotators):
        some = [pair for pair in plan.asked if sets in (None, (pair.a.set, pair.b.set))]
        for i, pair in enumerate(some):
            # Every other annotator says the same, so that votes are not independent.
            place = (i + who % 2) % len(some)
            winner = "a" if int((place + 1) * wins + 1e-9) > int(place * wins + 1e-9) else "b"
            name = group if judge else f"{group}{who}"
            first = None if judge else ("a", "b")[i % 2]
            made.append(Vote(name, group, pair.id, question, winner, first, seconds=None if judge else 10.0 + i))
    return made


def scored(folder: Path, plan: Study, people=(), judges=(), attention=None, **more) -> Path:
    """A folder as `steer study score` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    plan.write(folder)
    write_json(folder / "scores.json", {**score(plan, list(people), list(judges), attention).to_json(), **more})
    return folder


def found(folder: Path, plan: Study, people=(), judges=(), **more) -> Voted:
    return Voted.read(scored(folder, plan, people, judges, **more))


def simple(folder: Path, wins: float, annotators=4, judge=None, sets=(("steer", "nucleus"),)) -> Voted:
    """One comparison, one question, one group, and perhaps a judge."""
    plan = planned(sets, pairs=20)
    judges = [] if judge is None else votes(plan, "arbiter", 1, judge, judge=True)
    return found(folder, plan, votes(plan, "general", annotators, wins) if annotators else [], judges)


def said(study: Voted) -> str:
    return "\n".join(
        " ".join(f"{one.words}: {one.numbers}" if one.numbers else one.words for one in paragraph)
        for paragraph in verdict(study)
    )


# -- the verdict: one comparison -------------------------------------------------------------------------------------


def test_a_clear_win_is_told_with_its_numbers(tmp_path):
    assert said(simple(tmp_path, 0.8)) == (
        "Which is more creative? People prefer steer to nucleus: 80% (68% to 88%) of 80 votes go to steer, adjusted p "
        "below .001."
    )


def test_a_clear_loss_is_told_as_plainly(tmp_path):
    assert said(simple(tmp_path, 0.2)) == (
        "Which is more creative? People prefer nucleus to steer: 20% (12% to 32%) of 80 votes go to steer, adjusted p "
        "below .001 for nucleus."
    )


def test_what_cannot_be_told_is_no_preference(tmp_path):
    words = said(simple(tmp_path, 0.55))
    assert words.startswith("Which is more creative? It cannot be told whether people prefer steer or nucleus: 55% (")
    assert re.search(r"adjusted p \.\d{3}\.$", words)


@pytest.mark.parametrize("wins", [0.2, 0.45, 0.55, 0.65, 0.7, 0.8])
def test_who_is_called_first_decides_nothing(tmp_path, wins):
    """The p of the one side is that of the other, had the sets been exchanged."""
    (row,) = simple(tmp_path / "one", wins).rows
    (other,) = simple(tmp_path / "other", 1 - wins).rows
    assert row.rate.value == pytest.approx(1 - other.rate.value)
    assert (row.less, row.adjusted) == pytest.approx((other.adjusted, other.less))
    mirrored = {"more": "less", "less": "more", "alike": "alike"}
    assert mirrored[row.standing] == other.standing


@pytest.mark.parametrize(
    ("people", "judge", "expected"),
    [
        (0.8, 0.8, "The judge arbiter agrees: 80%"),
        (0.8, 0.15, "People and the judge arbiter disagree, as it prefers nucleus to steer: 15%"),
        (0.2, 0.85, "People and the judge arbiter disagree, as it prefers steer to nucleus: 85%"),
        (0.8, 0.5, "Of the judge arbiter no such preference can be told"),
        (0.5, 0.9, "The judge arbiter prefers steer to nucleus, which the votes of people do not show: 90%"),
        (0.5, 0.45, "Nor can it be told of the judge arbiter: 45%"),
    ],
)
def test_people_against_a_judge(tmp_path, people, judge, expected):
    assert expected in said(simple(tmp_path, people, judge=judge))


def test_a_judge_that_differs_beyond_chance_is_said_to(tmp_path):
    words = said(simple(tmp_path, 0.65, annotators=8, judge=1.0))
    assert "The judge arbiter agrees, more strongly" in words
    assert "strongly" not in said(simple(tmp_path / "same", 0.8, annotators=8, judge=0.8))


def test_where_no_person_was_asked_it_says_so_first(tmp_path):
    first, second = said(simple(tmp_path, 0, annotators=0, judge=0.85)).splitlines()
    assert first == "No person has been asked. What follows is what language models say."
    assert second.startswith("Which is more creative? The judge arbiter prefers steer to nucleus: 85%")
    assert "People" not in said(simple(tmp_path, 0, annotators=0, judge=0.85))


def test_groups_of_people_that_differ_are_told(tmp_path):
    plan = planned(pairs=20)
    people = [*votes(plan, "expert", 4, 0.15), *votes(plan, "general", 4, 0.85)]
    study = found(tmp_path, plan, people)
    assert study.lead.name == "all people"
    assert "The groups of people differ beyond chance: expert 15% (" in said(study)
    same = found(tmp_path / "same", plan, [*votes(plan, "expert", 4, 0.8), *votes(plan, "general", 4, 0.8)])
    assert "differ beyond chance" not in said(same)


def test_one_annotator_says_nothing_of_others(tmp_path):
    study = simple(tmp_path, 0.9, annotators=1)
    assert "The one person asked prefers steer to nucleus: 90%" in said(study)
    words = "The interval holds for other pairs only: one annotator says nothing of other annotators."
    assert cautions(study) == [words]
    assert words in cards(study)[0].details
    (line,) = votes_table(study, study.groups, "votes").parts[0].lines
    assert "pairs" in [cell.value for cell in line.cells]
    assert words not in cautions(simple(tmp_path / "four", 0.9))


def test_one_pair_says_nothing_of_other_pairs(tmp_path):
    plan = planned(pairs=1)
    study = found(tmp_path / "one", plan, votes(plan, "general", 6, 1.0))
    assert cautions(study)[0].startswith("The interval holds for other annotators only")
    alone = found(tmp_path / "alone", plan, votes(plan, "general", 1, 1.0))
    assert "One annotator and one pair tell nothing of others: 100% (no interval) of 1 vote for steer." in said(alone)


def test_a_judge_is_not_blamed_for_being_one(tmp_path):
    assert cautions(simple(tmp_path, 0, annotators=0, judge=0.85)) == []


def test_a_test_that_has_just_found_it_is_a_hint(tmp_path):
    """At .025 on either side it finds what an interval of a higher level, or of another kind, does not."""
    row = {"a": "s", "b": "n", "question": "creative", "group": "general", "wins": 60, "losses": 40}
    row |= {"win_rate": {"value": 0.6, "low": 0.49, "high": 0.7}, "p": 0.02, "adjusted_p": 0.02, "stars": "*"}
    study = found(tmp_path, planned(), votes(planned(), "general", 2, 0.8), rows=[row])
    assert any(words.endswith("read it as a hint.") for words in cautions(study))
    assert not cautions(simple(tmp_path / "sure", 0.8))


def row_of(p: float, rate: float = 0.6) -> Row:
    """p: for the first set; that for the second is the rest of it, as of one comparison."""
    return Row("s", "n", "q", "g", Interval(rate), adjusted=p, less=1 - p, stars=stars(p))


def test_a_preference_is_told_by_two_tests_that_share_the_level():
    """Of a null, whose p is as likely anywhere, .05 in all; each test alone, as stars are, takes .05."""
    ps = [(i + 0.5) / 1000 for i in range(1000)]
    told = [row_of(p).standing for p in ps]
    assert (told.count("more"), told.count("less"), told.count("alike")) == (25, 25, 950)
    assert sum(marked(row_of(p)).startswith("*") for p in ps) == sum(marked(row_of(p)) == "▼" for p in ps) == 50


def test_the_page_says_at_which_level_a_preference_is_told(tmp_path):
    study = simple(tmp_path, 0.8)
    assert "p below .025 for the one set or for the other" in about(study)
    assert "takes each at .025, which together is .05" in method(study)["test"]
    (words,) = [one for one in limits(study) if "a test of its own" in one]
    assert "at .025" in words
    assert words.endswith("in up to one of twenty cases.")


def test_relations_of_what_has_no_test():
    sure = Row("a", "b", "q", "g", Interval(0.8), adjusted=0.001)
    assert relation(sure, Row("a", "b", "q", "j", Interval())) == "unknown"
    assert relation(sure, sure) == "same"


# -- the verdict: several comparisons --------------------------------------------------------------------------------

GAMMAS, ETAS = (0.1, 0.2, 0.4), (0.0, 0.5)
GRID = {f"gamma={g:g},eta={e:g}": (g, e) for g in GAMMAS for e in ETAS}
RATES = dict(zip(GRID, (0.85, 0.5, 0.9, 0.5, 0.1, 0.5), strict=True))


def against(folder: Path, rates, judge=None, **more) -> Voted:
    """Sets against nucleus, by the share of votes for each; judge: the same of a judge."""
    plan = planned([(name, "nucleus") for name in rates], pairs=20, **more)
    people = [v for name, share in rates.items() for v in votes(plan, "general", 4, share, sets=(name, "nucleus"))]
    judges = [
        v
        for name, share in (judge or {}).items()
        for v in votes(plan, "arbiter", 1, share, judge=True, sets=(name, "nucleus"))
    ]
    return found(folder, plan, people, judges)


def test_many_sets_against_one_are_counted(tmp_path):
    study = against(tmp_path, RATES)
    assert said(study).startswith(
        "Which is more creative? People prefer 2 of 6 sets (gamma=0.1,eta=0 and gamma=0.2,eta=0) to nucleus; they "
        "prefer nucleus to gamma=0.4,eta=0; of 3 it cannot be told: the highest rate is that of gamma=0.2,eta=0, 90% ("
    )
    assert cautions(study)[0].startswith("The highest of 6 rates is picked by the very votes it is made of")
    (card,) = cards(study)
    assert (card.reply, card.number) == ("Some are preferred, some less", "2 of 6")
    assert dict(card.yardsticks)["preferred less"] == "1"


def test_where_all_lose_the_lowest_is_named(tmp_path):
    words = said(against(tmp_path, {"one": 0.1, "two": 0.2}))
    assert words.startswith(
        "Which is more creative? People prefer nucleus to one and two: the lowest rate is that of o"
    )


def test_none_of_many_sets(tmp_path):
    words = said(against(tmp_path, {"one": 0.5, "two": 0.55}))
    assert "Of none of 2 sets can it be told whether people prefer it or nucleus: the highest rate is that" in words


def test_a_judge_over_many_sets(tmp_path):
    judge = {**RATES, "gamma=0.1,eta=0": 0.05}
    assert (
        "The judge arbiter comes to the same in 5 of 6 comparisons, and to the opposite in 1: gamma=0.1,eta=0 over "
        "nucleus."
    ) in said(against(tmp_path, RATES, judge))


def each(folder: Path, strength: dict[str, float]) -> Voted:
    pairs = list(combinations(strength, 2))
    plan = planned(pairs, pairs=20)
    people = [v for a, b in pairs for v in votes(plan, "general", 4, 0.5 + strength[a] - strength[b], sets=(a, b))]
    return found(folder, plan, people)


def test_each_against_each(tmp_path):
    study = each(tmp_path, {"steer": 0.4, "cfg": 0.1, "plain": 0.05})
    words = said(study)
    assert "People prefer steer to plain and steer to cfg; 2 of 3 pairs of sets can be told apart: 85%" in words
    assert "Over all comparisons together steer comes first and plain last: strengths of " in words
    alike = said(each(tmp_path / "alike", {"one": 0.0, "two": 0.0, "three": 0.0}))
    assert "Of none of 3 pairs of sets can it be told which people prefer" in alike


# -- pictures --------------------------------------------------------------------------------------------------------


def words_of(shown) -> list[str]:
    return [item.words for item in shown.picture.figure.items if isinstance(item, Label)]


def test_a_win_rate_has_both_intervals_and_its_stars(tmp_path):
    study = simple(tmp_path, 0.8)
    (shown,) = win_rates(study)
    assert shown.picture.name == "winrates"
    assert "80% (68% to 88%) ***" in words_of(shown)
    kinds = [item.kind for item in shown.picture.figure.items if isinstance(item, Shape)]
    assert sum(kind.startswith("range") for kind in kinds) == 2  # and in the legend
    assert sum(kind.startswith("whisker") for kind in kinds) == 2
    assert {"← nucleus preferred", "steer preferred →"} <= set(words_of(shown))
    assert "20% (12% to 32%) ▼" in words_of(win_rates(simple(tmp_path / "lost", 0.2))[0])


def test_many_rates_are_a_figure_for_each_group(tmp_path):
    rates = {f"set {i}": 0.8 for i in range(16)}
    study = against(tmp_path, rates, rates)
    drawn = win_rates(study)
    assert [(one.picture.name, one.first) for one in drawn] == [
        ("winrates-creative-general", True),
        ("winrates-creative-arbiter", False),
    ]
    assert "set 15" in words_of(drawn[0])


def test_a_grid_has_curves_and_a_map(tmp_path):
    study = against(tmp_path, RATES, RATES, dials=GRID)
    drawn = {one.picture.name: one for one in dial_pictures(study)}
    assert list(drawn) == ["gamma-creative", "eta-creative", "heat-creative"]
    words = words_of(drawn["gamma-creative"])
    assert {"η 0", "η 0.5", "general", "arbiter (judge)"} <= set(words)
    starred = [row for row in study.rows if row.stars]
    assert sum(word.startswith("*") for word in words) == len(starred) > 0
    assert {"γ 0.1", "γ 0.2", "γ 0.4"} <= set(words_of(drawn["eta-creative"]))
    assert {"0.90", "0.10"} <= set(words_of(drawn["heat-creative"]))


def test_a_cross_of_dials_has_curves_and_no_map(tmp_path):
    cross = {"a": (0.1, 0.2), "b": (0.4, 0.2), "c": (0.8, 0.2), "d": (0.4, 0.0), "e": (0.4, 0.8)}
    study = against(tmp_path, dict.fromkeys(cross, 0.5), dials=cross)
    assert [one.picture.name for one in dial_pictures(study)] == ["gamma-creative", "eta-creative"]
    assert "η 0" not in words_of(dial_pictures(study)[0])  # one point is no curve


def test_one_dial_alone_has_a_curve(tmp_path):
    study = against(tmp_path, {"a": 0.5, "b": 0.8}, dials={"a": (0.1, None), "b": (0.4, None)})
    (shown,) = dial_pictures(study)
    assert shown.picture.name == "gamma-creative"


def test_sets_that_the_dials_do_not_tell_apart_have_no_curves(tmp_path):
    study = against(tmp_path, {"a": 0.5, "b": 0.8}, dials={"a": (0.1, 0.2), "b": (0.1, 0.2)})
    assert not dials(study)
    assert dial_pictures(study) == []


def test_strengths_are_drawn_by_rank(tmp_path):
    (shown,) = strengths(each(tmp_path, {"plain": 0.05, "steer": 0.4, "cfg": 0.1}))
    names = [word for word in words_of(shown) if re.match(r"\d\. ", word)]
    assert names == ["1. steer", "2. cfg", "3. plain"]


def test_two_sets_need_no_strengths(tmp_path):
    assert strengths(simple(tmp_path, 0.8)) == []


# -- tables and files ------------------------------------------------------------------------------------------------


def two_groups(folder: Path) -> Voted:
    plan = planned(pairs=20, questions=TWO)
    people = [v for q in ("creative", "plausible") for v in votes(plan, "expert", 3, 0.8, q)]
    people += [v for q in ("creative", "plausible") for v in votes(plan, "general", 5, 0.2, q)]
    return found(folder, plan, people, votes(plan, "arbiter", 1, 0.75, judge=True))


def test_csv_has_a_line_for_each_row(tmp_path):
    study = two_groups(tmp_path)
    lines = list(csv.DictReader(io.StringIO(as_csv(study))))
    stored = json.loads((tmp_path / "scores.json").read_text())["rows"]
    assert len(lines) == len(stored) == 8
    for line, row in zip(lines, stored, strict=True):
        assert [line[key] for key in ("a", "group", "question")] == [row[key] for key in ("a", "group", "question")]
        value = row["win_rate"]["value"]
        assert line["win_rate"] == ("" if value is None else str(value))
        assert line["naive_z_p"] == ("" if value is None else str(row["naive"]["z_p"]))


def test_csv_holds_no_formulas(tmp_path):
    study = simple(tmp_path, 0.8, sets=(("=1+1", "@cmd"),))
    (line,) = csv.DictReader(io.StringIO(as_csv(study)))
    assert (line["a"], line["b"]) == ("'=1+1", "'@cmd")


def test_latex_has_as_many_cells_in_every_row(tmp_path):
    made = latex(two_groups(tmp_path))
    body = made.partition(r"\toprule")[2].partition(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if " & " in line]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {4}  # all people, expert, general, judge
    assert r"80.0$^{\ast\ast" in made
    assert r"20.0$^{\downarrow}$" in made
    assert " & -- " in made  # the judge was not asked the second question
    assert made.count(r"\begin") == made.count(r"\end{table*}") + made.count(r"\end{tabular}") == 2


def test_latex_of_many_comparisons_breaks_over_pages(tmp_path):
    made = latex(against(tmp_path, {f"set_{i}": 0.55 for i in range(25)}))
    assert r"\begin{longtable}{lr}" in made
    assert r"\usepackage{booktabs,longtable}" in made
    assert r"set\_24 & 55.0 \\*" in made


def test_the_table_of_votes_has_every_number(tmp_path):
    study = simple(tmp_path, 0.8)
    table = votes_table(study, study.groups, "votes")
    (part,) = table.parts
    cells = {head: cell for (head, _), cell in zip(table.heads, part.lines[0].cells, strict=True)}
    assert (cells["win rate"].value, cells["win rate"].note) == ("80%***", "68% to 88%")
    assert cells["won, tied, lost"].value == "64, 0, 16"
    assert cells["votes"].value == "80"
    assert cells["naive interval"].value == "70% to 87%"
    assert cells["holds for other"].value == "annotators, pairs"
    assert cells["longer text"].value == "50%"


def test_agreement_says_why_there_is_none(tmp_path):
    alone = agreement_table(simple(tmp_path / "alone", 0.8, annotators=1))
    assert alone.parts[0].lines[0].cells[-1].value == "no item has two answers"
    assert alone.heads[-1][0] == "why there is none"
    assert agreement_table(simple(tmp_path / "four", 0.8)).heads[-1][0] == "same answer"


@pytest.mark.parametrize("key", ["consistent", "consistency"])
def test_a_judge_that_depends_on_the_order_is_told(tmp_path, key):
    judge = {"name": "arbiter", key: 0.6, "share_first": 0.7, "bias_first": 0.9, "undecided": 1, "cost": None}
    plan = planned()
    assert judges_table(found(tmp_path, plan, votes(plan, "general", 2, 0.8))) is None
    stored = json.loads((tmp_path / "scores.json").read_text())
    write_json(tmp_path / "scores.json", {**stored, "judges": [judge]})
    study = Voted.read(tmp_path)
    table = judges_table(study)
    assert [cell.value for cell in table.parts[0].lines[0].cells] == ["60%", "70%", "90%", "1"]
    assert [head for head, _ in table.heads] == [
        "both orders agree",
        "first text chosen",
        "first both times",
        "undecided",
    ]
    said = cautions_of_judges(study)
    assert "for only 60% of pairs" in said[0]
    assert "70% of its choices are the text that stood first" in said[1]


def test_who_was_left_out_is_marked(tmp_path):
    plan = planned()
    people = votes(plan, "general", 3, 0.8)
    people += [Vote(f"general{i}", "general", "g0", "creative", "a" if i else "b", "a") for i in range(3)]
    study = Voted.read(scored(tmp_path, plan, people, attention=0.5))
    lines = annotators_table(study).parts[0].lines
    assert [(line.name, line.note) for line in lines] == [
        ("general0", "left out"),
        ("general1", ""),
        ("general2", ""),
    ]
    assert method(study)["attention"].endswith("Who was right on less than 50% of them was left out: general0")
    assert commands(study)[0][1] == "steer study score . --attention 0.5"


def test_judges_are_no_annotators(tmp_path):
    table = annotators_table(simple(tmp_path, 0.8, judge=0.8))
    assert {line.name for line in table.parts[0].lines} == {f"general{i}" for i in range(4)}


def test_a_preference_for_length_is_a_caution(tmp_path):
    plan = planned(pairs=20)
    people = [
        Vote(f"general{who}", "general", pair.id, "creative", "a" if len(pair.a.text) > len(pair.b.text) else "b")
        for who in range(3)
        for pair in plan.asked
    ]
    words = [one for one in limits(found(tmp_path, plan, people)) if "longer" in one]
    assert words == [
        "Asked “Which is more creative?”, general chose the longer text of a pair in 100% of votes: part of a "
        "preference may be one for length."
    ]
    assert not [one for one in limits(simple(tmp_path / "even", 0.8)) if "longer" in one]


def test_people_are_counted_once(tmp_path):
    assert about(two_groups(tmp_path)).startswith("8 people and a judge, which is a language model, were shown pairs")


def test_the_null_stands_the_right_way_round(tmp_path):
    how = method(simple(tmp_path, 0.8))
    assert "null is that the win rate is one half or less" in how["test"]
    assert "have the same tone" in how["pairs"]


def test_the_commands_ask_as_many_again(tmp_path):
    lines = [line for _, line in commands(two_groups(tmp_path))]
    assert lines == [
        "steer study score .",
        "steer study serve . --invite expert=3 --invite general=5",
        "steer study judge . openai:MODEL",
    ]


# -- the page --------------------------------------------------------------------------------------------------------

NASTY = '<script>alert("&")</script>'
LONG = "an endless name " * 40


@pytest.fixture(scope="module")
def nasty(tmp_path_factory) -> Path:
    """A study in which everything that can be is hostile or very long."""
    questions = (Question(name="q", asks=f"{NASTY} \\textbf{{x}} 50%?"), Question(name="r", asks="w" * 500))
    plan = planned([(NASTY, LONG)], questions=questions, title=NASTY * 3, prompt=f"{NASTY}<i>p</i>")
    people = [v for q in ("q", "r") for group in ("<b>g</b>", LONG) for v in votes(plan, group, 2, 0.75, q)]
    judges = votes(plan, "<u>j</u>", 1, 0.5, "q", judge=True)
    return scored(tmp_path_factory.mktemp("nasty"), plan, people, judges)


def test_the_page_runs_and_fetches_nothing(nasty):
    page = Page(write_study(nasty))
    assert not {"script", "img", "iframe", "b", "i", "u"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page.all("content")
    assert all(link.startswith(("#", "data:")) for link in page.all("href") + page.all("src"))


def test_what_others_wrote_is_shown_as_text(nasty):
    page = Page(write_study(nasty))
    for words in (NASTY, "<b>g</b>", "<u>j</u> (judge)", "<i>p</i>", r"\textbf{x} 50%?"):
        assert words in page.text
    for picture in (nasty / "figures").iterdir():
        assert "<script" not in picture.read_text(encoding="utf-8")
    made = (nasty / "winrates.tex").read_text()
    assert r"\textless{}script\textgreater{}alert(''\&'')" in made
    assert r"\textbackslash{}textbf\{x\} 50\%?" in made


def test_long_names_are_cut_in_sentences(nasty):
    assert LONG.strip() not in said(Voted.read(nasty))
    assert "an endless name an endless name" in said(Voted.read(nasty))
    assert max(map(len, said(Voted.read(nasty)).splitlines())) < 700


def test_every_link_leads_somewhere(nasty):
    page = Page(write_study(nasty))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    targets = {link[1:] for link in page.all("href") if link.startswith("#")}
    assert {"verdict", "rates", "agreement", "method"} <= targets <= set(ids)


def test_a_page_of_many_sets_has_its_sections(tmp_path):
    study = against(tmp_path, RATES, RATES, dials=GRID)
    page = Page(write_study(tmp_path))
    assert {"dials", "strengths", "judges"} <= set(page.all("id"))
    assert not re.search(r"\bnan\b|\bNone\b", page.text)
    assert study.rival == "nucleus"


def test_a_group_that_did_not_vote_is_said_to_have_none(tmp_path):
    """The judge was asked one question of two: rows without votes."""
    two_groups(tmp_path)
    page = Page(write_study(tmp_path))
    assert "no votes" in page.text
    assert not re.search(r"\bnan\b|\bNone\b", page.text)


def test_a_group_without_rows(tmp_path):
    two_groups(tmp_path)
    stored = json.loads((tmp_path / "scores.json").read_text())
    write_json(tmp_path / "scores.json", {**stored, "rows": [r for r in stored["rows"] if r["group"] != "all people"]})
    page = Page(write_study(tmp_path)).text
    assert "Nothing can be said" not in page  # the next group with votes is spoken of first
    assert "prefer" in page


@pytest.mark.parametrize(
    "keys", [("title", "questions", "groups"), ("questions", "groups", "rows"), ("title", "level"), ()]
)
def test_what_is_missing_is_nothing_worse(tmp_path, keys):
    two_groups(tmp_path)
    stored = json.loads((tmp_path / "scores.json").read_text())
    write_json(tmp_path / "scores.json", {key: stored[key] for key in keys})
    (tmp_path / "study.json").unlink()
    page = Page(write_study(tmp_path))
    assert not re.search(r"\bnan\b|\bNone\b", page.text)
    assert ("votes go to steer" in page.text) == ("rows" in keys) == (tmp_path / "winrates.tex").is_file()


def test_rows_without_their_parts(tmp_path):
    two_groups(tmp_path)
    stored = json.loads((tmp_path / "scores.json").read_text())
    bare = [{key: row[key] for key in ("a", "b", "question", "group")} for row in stored["rows"]]
    write_json(tmp_path / "scores.json", {**stored, "rows": bare})
    assert "There are no votes that count, so nothing can be said." in Page(write_study(tmp_path)).text


def test_old_pictures_go(tmp_path):
    against(tmp_path, RATES, dials=GRID)
    write_study(tmp_path)
    assert (tmp_path / "figures" / "heat-creative.svg").is_file()
    own = tmp_path / "figures" / "mine.svg"
    own.write_text("<svg/>")
    simple(tmp_path, 0.8)
    write_study(tmp_path)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"winrates.svg", "mine.svg"}


def test_the_same_study_gives_the_same_page(tmp_path):
    two_groups(tmp_path)
    before = write_study(tmp_path).read_bytes()
    assert write_study(tmp_path).read_bytes() == before


def test_where_nothing_is_scored(tmp_path):
    with pytest.raises(FileNotFoundError, match="steer study score writes it"):
        write_study(tmp_path)


# -- in the report of a run ------------------------------------------------------------------------------------------


def run_folder(folder: Path) -> Path:
    task = {"data": "notes.jsonl", "instruction": "Write a note.", "example": "{text}"}
    write_text(folder / "config.yaml", Settings.model_validate({"task": task}).to_yaml())
    write_json(folder / "manifest.json", {})
    return folder


def test_the_report_of_a_run_tells_of_its_study(tmp_path):
    run = run_folder(tmp_path)
    simple(run / "study", 0.8, judge=0.15)
    assert "study/study.html" not in Page(write_report(run)).all("href")  # not yet written
    write_study(run / "study")
    page = Page(write_report(run))
    assert "study/study.html" in page.all("href")
    assert "Would a person prefer it? Which is more creative? People prefer steer to nucleus: 80%" in page.text
    assert "People and the judge arbiter disagree" in page.text
    assert "steer over nucleus" in page.all("aria-label")


def test_the_report_of_a_run_without_a_study_says_nothing_of_one(tmp_path):
    run = run_folder(tmp_path)
    (run / "study").mkdir()
    planned().write(run / "study")  # made, and not yet scored
    page = Page(write_report(run))
    assert "prefer" not in page.text
    assert "study" not in page.all("id")
    assert study_of_run(run) is None
