"""From votes to what is told of them."""

from math import isfinite, isnan

import pytest

from steer.evaluate.intervals import holm
from steer.study.plan import Entry, Pair, Question, Study, TextSet
from steer.study.power import Design
from steer.study.quality import qualities
from steer.study.score import PEOPLE, agreement, majority, score
from steer.study.score.rates import z_test
from steer.study.scored import Scored, scored
from steer.study.store import Store
from steer.study.votes import Vote, as_csv, as_jsonl, exported


def study(sets: str = "ab", pairs: int = 12, against: str = "b") -> Study:
    """Each set against one, with two gold pairs; the texts of `a` are the longer ones."""
    made = []
    for name in sets.replace(against, ""):
        for i in range(pairs):
            texts = [
                Entry(set=of, id=f"{of}{i}", text=f"{of} text {i}" + " on" * (of == "a")) for of in (name, against)
            ]
            made.append(Pair(id=f"{name}{i}", a=texts[0], b=texts[1]))
    golden = [Entry(set="gold", id=str(i), text=f"gold {i}") for i in range(2)]
    made += [Pair(id=f"g{i}", a=golden[0], b=golden[1], better="ab"[i]) for i in range(2)]
    found = tuple(TextSet(name=name, source=name, texts=pairs) for name in sets)
    return Study(title="t", questions=(Question(name="q", asks="Which?"),), sets=found, pairs=tuple(made))


def votes(said: str, annotator: str = "1", group: str = "general", of: str = "a", **facts) -> list[Vote]:
    """A letter for each pair: a, b, - for a tie, ? for undecided, a space for no vote."""
    winners = {"a": "a", "b": "b", "-": "tie", "?": "undecided"}
    return [
        Vote(annotator, group, f"{of}{i}", "q", winners[letter], "a", seconds=float(i), **facts)
        for i, letter in enumerate(said)
        if letter != " "
    ]


# -- win rates -------------------------------------------------------------------------------------------------------


def test_wins_ties_and_losses_are_counted_and_ties_are_halves():
    (row,) = score(study(), votes("aaaaab--")).rows
    assert (row.a, row.b, row.wins, row.ties, row.losses) == ("a", "b", 5, 2, 1)
    assert row.preference.rate.value == 6 / 8
    assert row.z_p == z_test(6, 8)
    assert row.wilson == pytest.approx((0.4093, 0.9285), abs=1e-4)
    assert row.longer == 6 / 8  # the texts of a are the longer ones


def test_gold_repeated_and_undecided_answers_are_no_part_of_a_win_rate():
    some = [*votes("aab?", annotator="1"), *votes("bbb", repeat=True), *votes("bb", of="g")]
    (row,) = score(study(), some).rows
    assert (row.wins, row.ties, row.losses, row.undecided, row.pairs) == (2, 0, 1, 1, 3)


def test_who_is_right_on_too_few_gold_pairs_is_left_out():
    good = [*votes("aaaaaa", "1"), *votes("ab", "1", of="g")]
    bad = [*votes("bbbbbb", "2"), *votes("aa", "2", of="g")]
    assert score(study(), good + bad).rows[0].losses == 6
    without = score(study(), good + bad, attention=0.7)
    assert (without.rows[0].losses, without.left_out) == (0, ("2",))
    assert score(study(), good + bad, attention=0.5).left_out == ()
    assert {one.annotator for one in without.annotators} == {"1", "2"}  # told of all the same


def test_groups_are_scored_apart_and_together_and_a_judge_by_itself():
    people = [*votes("aaaa", "1", "expert"), *votes("bbbb", "2", "general")]
    found = score(study(), people, votes("aabb", "judge", "judge"))
    rates = {row.group: row.preference.rate.value for row in found.rows}
    assert rates == {"expert": 1.0, "general": 0.0, PEOPLE: 0.5, "judge": 0.5}
    assert [group.kind for group in found.groups] == ["people", "people", "people", "judge"]
    assert [row.group for row in score(study(), votes("aaaa")).rows] == ["general"]


def test_one_annotator_says_nothing_of_others():
    row = score(study(), [], votes("aabaab", "judge", "judge")).rows[0]
    assert row.preference.holds_for == ("items",)
    assert row.alpha.reason
    assert isnan(row.alpha.value)


def test_holm_counts_the_comparisons_of_a_question_and_group():
    one = score(study("ab"), votes("aaaaaaaaab"))
    three = score(study("acdb"), [*votes("aaaaaaaaab"), *votes("ab" * 5, of="c"), *votes("ab" * 5, of="d")])
    alone, among = one.rows[0], three.rows[0]
    assert alone.adjusted == alone.preference.rate.p
    assert among.preference.rate.p == alone.preference.rate.p
    assert among.adjusted == pytest.approx(3 * alone.adjusted)
    assert (alone.stars, among.stars) == ("*", "")


def test_losses_are_corrected_as_wins_are():
    some = [*votes("bbbbbbbbba"), *votes("ab" * 5, of="c"), *votes("aaaaaaabbb", of="d")]
    found = score(study("acdb"), some).rows
    expected = holm({row.a: 1 - row.preference.rate.p for row in found})
    assert {row.a: row.adjusted_less for row in found} == expected
    assert found[0].adjusted_less < 0.1 < found[0].adjusted
    (mirrored,) = score(study(), votes("aaaaaaaaab")).rows
    (row,) = score(study(), votes("bbbbbbbbba")).rows
    assert (row.adjusted_less, row.adjusted) == pytest.approx((mirrored.adjusted, mirrored.adjusted_less))


def test_a_judge_may_be_called_as_a_group_is():
    found = score(study(), votes("aaaa", "1", "expert"), votes("bbbb", "expert", "expert"))
    assert [(group.name, group.kind) for group in found.groups] == [("expert", "people"), ("expert (judge)", "judge")]
    assert [row.preference.rate.value for row in found.rows] == [1.0, 0.0]


def test_sets_are_ranked_where_there_are_more_than_two():
    some = [*votes("aaaaaaaaab"), *votes("bbbbbbbbab", of="c")]
    (ranking,) = score(study("acb"), some).rankings
    assert dict(zip(ranking.sets, ranking.strengths.ranks, strict=True)) == {"a": 1, "b": 2, "c": 3}
    (broken,) = score(study("acb"), votes("aaab")).rankings
    assert broken.strengths is None
    assert broken.reason
    assert score(study("ab"), votes("ab")).rankings == ()


def test_without_votes_there_is_nothing_to_score():
    with pytest.raises(ValueError, match="there are no votes yet"):
        score(study(), [])


# -- agreement, and judges beside people -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"), [([], None), ([1, 0], None), ([0.5], None), ([1, 0.5], 1), ([0, 0, 1], 0)]
)
def test_majority(values, expected):
    assert majority(values) == expected


def test_a_judge_is_held_against_the_majority_of_people():
    people = [*votes("aaab", "1"), *votes("aabb", "2"), *votes("aaa-", "3")]
    (beside,) = score(study(), people, votes("abbb", "judge", "judge")).beside
    assert (beside.agrees, beside.pairs) == (2 / 4, 4)
    # Of the third pair only the b can be held against the others, who are of one mind; on all others they agree.
    assert beside.one_person == 8 / 9
    assert score(study(), people).beside == ()


def test_agreement_of_those_who_agree():
    some = [*votes("abab", "1"), *votes("abab", "2")]
    assert agreement(study(), some, "q") == (1.0, 1.0, 4)
    assert agreement(study(), votes("abab"), "q") == (None, None, 4)


def test_qualities():
    some = [*votes("aab-"), *votes("bab", repeat=True), *votes("bb", of="g")]
    (found,) = qualities(study(), some)
    assert (found.gold, found.gold_answers) == (0.5, 2)
    assert (found.consistent, found.repeats) == (2 / 3, 3)
    assert found.answers == 4
    assert found.first == 3 / 6  # a stood first throughout; gold pairs and the tie are left out
    assert found.seconds == 1.0


# -- in a folder -----------------------------------------------------------------------------------------------------


def test_the_scores_of_a_folder_are_those_of_its_store(tmp_path):
    study().write(tmp_path)
    with pytest.raises(ValueError, match="there are no votes yet"):
        scored(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]  # looking leaves nothing behind
    store = Store(tmp_path, study())
    annotator, _ = store.join(store.invite("expert"))
    while (step := store.progress(annotator.number).step) is not None:
        place = "first" if step.showing.first == "a" else "second"
        store.vote(annotator.number, step.number, step.attempt, place, 2.0)
    found = scored(tmp_path)
    (row,) = found.scores.rows
    assert (row.group, row.wins, row.losses) == ("expert", 12, 0)
    assert list(found.votes) == store.votes()
    told = found.to_json()
    assert told["rows"][0]["win_rate"]["value"] == 1.0
    assert told["judges"] == []


def test_exports_name_the_sets_and_hold_no_text():
    rows = exported(study(), [*votes("ab"), *votes("a", of="g")])
    assert [(row["a"], row["b"], row["gold"]) for row in rows] == [
        ("a", "b", False),
        ("a", "b", False),
        ("gold", "gold", True),
    ]
    table, lines = as_csv(rows).splitlines(), as_jsonl(rows).splitlines()
    assert (len(table), len(lines)) == (4, 3)
    assert not any("text" in line for line in table + lines)


def test_who_leaves_out_everybody_is_told():
    with pytest.raises(ValueError, match="leaves nobody"):
        score(study(), [*votes("aa", "1"), *votes("ba", "1", of="g")], attention=0.9)


def test_a_pilot_that_sees_no_difference_does_not_promise_there_is_none():
    alike = score(study(), [vote for who in "123" for vote in votes("abab" * 3, who)])
    assert Scored(alike, (), {}).spreads()["annotator_sd"] == Design.annotator_sd
    single = score(study(), [*votes("ab" * 3, "1"), *votes(" " * 6 + "ab" * 3, "2")])  # one vote on each pair
    assert all(isfinite(value) for value in Scored(single, (), {}).spreads().values())
