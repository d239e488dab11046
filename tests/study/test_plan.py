"""What an annotator is shown, in which order and on which side; and the file it is read from."""

import json
from collections import Counter
from itertools import pairwise

import pytest
import sample

from steer.study.plan import FILE, Showing, Study, study_folder

MANY = range(1, 401)  # annotators


def earnest(study: Study, shown: list[Showing]) -> list[Showing]:
    return [one for one in shown if not one.repeat and not study.by_id[one.pair].gold]


# -- showing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "gold", "repeats"), [(6, 1, 3), (7, 2, 0), (1, 0, 3), (2, 3, 1), (30, 2, 3)])
def test_every_pair_is_shown_once_and_the_repeated_ones_twice(pairs, gold, repeats):
    study = sample.study(pairs, gold, repeats=repeats)
    for annotator in range(1, 20):
        shown = study.showing(annotator, study.asked)
        counts = Counter(one.pair for one in shown)
        again = {one.pair for one in shown if one.repeat}
        assert counts == {pair.id: 1 + (pair.id in again) for pair in study.pairs}
        assert len(again) == min(repeats, (pairs + 1) // 2)
        assert not again & {pair.id for pair in study.gold}


@pytest.mark.parametrize("pairs", [1, 2, 6, 7, 25])
def test_half_of_an_annotators_pairs_or_one_more_have_a_first(pairs):
    study = sample.study(pairs)
    found = set()
    for annotator in MANY:
        firsts = [one.first for one in earnest(study, study.showing(annotator, study.asked))]
        assert abs(2 * firsts.count("a") - pairs) == pairs % 2
        found.add(firsts.count("a"))
    assert found == {pairs // 2, (pairs + 1) // 2}  # of an odd number, either side has the one more


def test_a_repeated_pair_comes_after_its_first_showing_with_its_sides_exchanged():
    study = sample.study(10, 2, repeats=3)
    for annotator in MANY:
        shown = study.showing(annotator, study.asked)
        for place, one in enumerate(shown):
            if one.repeat:
                before = [other for other in shown[:place] if other.pair == one.pair]
                assert before == [Showing(pair=one.pair, first="b" if one.first == "a" else "a")]


def test_gold_pairs_may_stand_anywhere_and_repeats_in_the_second_half():
    study = sample.study(6, 1, repeats=1)
    shown = [study.showing(annotator, study.asked) for annotator in MANY]
    assert {[one.pair for one in some].index("zg000") for some in shown} == set(range(8))
    assert {[one.repeat for one in some].index(True) for some in shown} == {4, 5, 6, 7}
    assert {one.first for some in shown for one in some if one.pair == "zg000"} == {"a", "b"}


def test_the_same_study_and_annotator_always_meet_the_same(tmp_path):
    study = sample.study(12, 2)
    study.write(tmp_path)
    again = Study.read(tmp_path)
    assert [again.showing(n, again.asked) for n in MANY] == [study.showing(n, study.asked) for n in MANY]


def test_who_cannot_see_the_study_cannot_tell_the_sides():
    # The digest covers everything: one letter of one text, or another seed, and all orders and sides are others.
    study = sample.study(12, 2)
    changed = sample.of_texts(*(text for pair in study.asked for text in (pair.a.text, pair.b.text + " ")))
    other_seed = study.model_copy(update={"seed": study.seed + 1})
    shown = {tuple(study.showing(n, study.asked)) for n in MANY}
    assert len(shown) == len(MANY)
    for other in (changed, other_seed):
        assert other.digest != study.digest
        assert not shown & {tuple(other.showing(n, other.asked)) for n in MANY}


def test_neither_the_place_nor_the_pair_nor_the_annotator_tells_the_side():
    study = sample.study(6, 0, repeats=0)
    by_place: Counter[int] = Counter()
    by_pair: Counter[str] = Counter()
    by_step: Counter[tuple[int, bool]] = Counter()  # whether the next place has the same side as this one
    for annotator in MANY:
        shown = study.showing(annotator, study.asked)
        by_place.update(place for place, one in enumerate(shown) if one.first == "a")
        by_pair.update(one.pair for one in shown if one.first == "a")
        by_step.update((place, a.first == b.first) for place, (a, b) in enumerate(pairwise(shown)))
    # Of 400 tosses of a coin, 200 and 4 standard deviations of 10.
    for counts in (by_place, by_pair):
        assert len(counts) == 6
        assert all(160 <= count <= 240 for count in counts.values()), counts
    # Three of six are on either side: the next is the same in 2 of 5 cases.
    assert all(120 <= by_step[place, True] <= 200 for place in range(5)), by_step


# -- the file ----------------------------------------------------------------------------------------------------------

ODD = 'quotes " and \\, a line\n\r\n, a separator \u2028, NUL \x00, right to left \u202e אב, an emoji 🌒, </script>'


def test_a_study_is_read_as_it_was_written(tmp_path):
    study = sample.of_texts(ODD, "plain", title=ODD, prompt=ODD, ties=False, annotators=5, per_annotator=7)
    path = study.write(tmp_path / "new")
    assert path == tmp_path / "new" / FILE
    assert Study.read(tmp_path / "new") == study
    assert Study.read(tmp_path / "new").digest == study.digest


def test_a_folder_that_holds_no_study_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no study\.json; steer study create makes one"):
        Study.read(tmp_path)


def changed(**fields) -> str:
    return json.dumps({**sample.study().model_dump(mode="json"), **fields})


WHOLE = changed()
PAIRS = json.loads(WHOLE)["pairs"]
DAMAGED = {
    "empty": ("", "the file"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "the file"),
    "another thing": ("[1, 2]", "the file"),
    "not UTF-8": (b'{"title": "\xff"}', "utf-8"),
    "a column unknown": (changed(colour="red"), "colour"),
    "no pairs": (changed(pairs=[]), "pairs"),
    "one set": (changed(sets=json.loads(WHOLE)["sets"][:1]), "sets"),
    "no question": (changed(questions=[]), "questions"),
    "a question without words": (changed(questions=[{"name": "odd", "asks": ""}]), r"questions\.0\.asks"),
    "a third side": (changed(pairs=[{**PAIRS[0], "better": "c"}]), r"pairs\.0\.better"),
    "a text missing": (changed(pairs=[{**PAIRS[0], "a": {"set": "s", "id": "i"}}]), r"pairs\.0\.a\.text"),
    "a pair twice": (changed(pairs=[PAIRS[0], PAIRS[0]]), "pair 'zp000' is there twice"),
    "nobody asked": (changed(annotators=0), "annotators"),
}


@pytest.mark.parametrize(("content", "told"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_told_with_its_place(tmp_path, content, told):
    (tmp_path / FILE).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=told) as error:
        Study.read(tmp_path)
    said = str(error.value)
    assert said.startswith(f"{tmp_path / FILE} cannot be read: ")
    assert "\n" not in said
    assert "pydantic" not in said


def test_a_study_is_found_in_its_own_folder_and_in_its_runs(tmp_path):
    sample.study().write(tmp_path / "run" / "study")
    assert study_folder(tmp_path / "run") == tmp_path / "run" / "study"
    assert study_folder(tmp_path / "run" / "study") == tmp_path / "run" / "study"
    assert study_folder(tmp_path) == tmp_path


def test_a_repeated_pair_does_not_come_at_once_again():
    made = sample.study(6, gold=0, repeats=3)
    for annotator in range(300):
        order = [one.pair for one in made.showing(annotator, made.asked)]
        assert all(one != other for one, other in pairwise(order))


@pytest.mark.parametrize(("pairs", "most", "people", "shown"), [(30, 50, 3, 35), (60, 50, 4, 55), (1, 50, 3, 4)])
def test_who_runs_a_study_is_told_what_it_takes(pairs, most, people, shown):
    made = sample.study(pairs, 2, annotators=3, per_annotator=most, repeats=3)
    assert (made.people, made.shown) == (people, shown)
    assert made.shown == len(made.showing(1, made.asked[:most]))
    assert made.minutes == max(1, round(shown * len(made.questions) / 4))


def test_a_study_is_found_in_its_run_and_by_its_file(tmp_path):
    folder = tmp_path / "run" / "study"
    sample.study(2).write(folder)
    assert {study_folder(path) for path in (folder, folder.parent, folder / "study.json")} == {folder}
    assert study_folder(tmp_path) == tmp_path
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Study.read(tmp_path / "nowhere")
