"""Which sets there are, and which of their texts are held against each other."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from steer.config import Settings, UsageError
from steer.records import Record, write_json, write_jsonl
from steer.study.create import comparisons, create, gold_of, questions, write
from steer.study.plan import Study, TextSet
from steer.study.sources import Source, home, matched, read_sources
from steer.study.store import ClosedError, Store
from steer.task import Task


def source(
    name: str, count: int, labels: str = "", text: str = "{name} writes about the sea in its own way, {i}"
) -> Source:
    """labels: one letter for each text, in turn."""
    records = []
    for i in range(count):
        fields = {"label": labels[i % len(labels)]} if labels else {}
        records.append(Record(f"{name}{i}", fields, text.format(name=name, i=i)))
    return Source(TextSet(name=name, source=name, texts=count), tuple(records))


def sets_of(study: Study) -> Counter:
    return Counter((pair.a.set, pair.b.set) for pair in study.asked)


# -- which comparisons -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "against", "expected"),
    [
        (["a", "b"], None, [("a", "b")]),
        (["a", "b", "c"], None, [("a", "b"), ("a", "c"), ("b", "c")]),
        (["nucleus", "a", "b"], None, [("a", "nucleus"), ("b", "nucleus")]),
        (["nucleus", "a", "b"], "a", [("nucleus", "a"), ("b", "a")]),
    ],
)
def test_each_against_one_or_each_against_each(names, against, expected):
    assert comparisons(names, against) == expected


def test_what_is_not_there_cannot_be_held_against():
    with pytest.raises(UsageError, match=r"nucleos.*Did you mean 'nucleus'"):
        comparisons(["steer", "nucleus"], "nucleos")


# -- which pairs -----------------------------------------------------------------------------------------------------


def test_a_text_is_shown_once_in_a_comparison_and_never_beside_itself():
    first, second = source("one", 12), source("two", 9)
    same = Record("same", {}, first.records[0].text.upper())
    study = create([first, Source(second.set, (*second.records, same))], "t", pairs=50, gold=0)
    assert len(study.pairs) == 10  # as many as the smaller set has texts
    for side in ("a", "b"):
        ids = [getattr(pair, side).id for pair in study.pairs]
        assert len(set(ids)) == len(ids)
    assert all(pair.a.text.lower() != pair.b.text.lower() for pair in study.pairs)


def test_pairs_match_and_are_spread_over_the_values():
    study = create([source("one", 40, "xxxy"), source("two", 40, "yyyz")], "t", pairs=8, gold=0)
    assert {pair.match["label"] for pair in study.pairs} == {"y"}
    study = create([source("one", 40, "xxxy"), source("two", 40, "xyyy")], "t", pairs=8, gold=0)
    assert Counter(pair.match["label"] for pair in study.pairs) == {"x": 4, "y": 4}


def test_what_never_matches_is_an_error():
    with pytest.raises(ValueError, match="one and two have no two texts that match in label"):
        create([source("one", 5, "x"), source("two", 5, "y")], "t")
    with pytest.raises(ValueError, match="no two texts that match and differ"):
        create([source("one", 5, text="same"), source("two", 5, text="Same")], "t")


def test_the_seed_decides_and_nothing_else():
    sources = [source("one", 40), source("two", 40)]
    assert create(sources, "t", seed=3).digest == create(sources, "t", seed=3).digest
    assert create(sources, "t", seed=3).digest != create(sources, "t", seed=4).digest


def test_many_sets_have_as_many_pairs_of_each_comparison():
    study = create([source(name, 30) for name in ("one", "two", "three")], "t", pairs=7, gold=0)
    assert sets_of(study) == {("one", "two"): 7, ("one", "three"): 7, ("two", "three"): 7}


# -- gold pairs ------------------------------------------------------------------------------------------------------


def test_a_gold_pair_is_a_text_and_its_words_in_another_order():
    study = create([source("one", 30), source("two", 30)], "t", gold=6)
    assert len(study.gold) == 6
    for pair in study.gold:
        better, worse = (pair.a, pair.b) if pair.better == "a" else (pair.b, pair.a)
        assert worse.text != better.text
        assert sorted(worse.text.split()) == sorted(better.text.split())
    assert {pair.better for pair in study.gold} == {"a", "b"}


def test_gold_pairs_of_a_file(tmp_path):
    path = tmp_path / "gold.jsonl"
    write_jsonl(path, [{"better": "A whole sentence.", "worse": "whole A."}])
    pair = create([source("one", 9), source("two", 9)], "t", gold=path).gold[0]
    assert (pair.text(pair.better), pair.a.set) == ("A whole sentence.", "gold.jsonl")
    write_jsonl(path, [{"better": "A whole sentence.", "worse": " "}])
    with pytest.raises(ValueError, match='line 1: expected texts in the columns "better" and "worse"'):
        create([source("one", 9), source("two", 9)], "t", gold=path)


# -- questions, and the folder ---------------------------------------------------------------------------------------


def test_questions():
    assert questions([]) == {}
    (one,) = questions(["funny=Which is funnier, A=B or C?"])["questions"]
    assert (one.name, one.asks) == ("funny", "Which is funnier, A=B or C?")
    for wrong in ("funny", "funny=", "=Which?", "two words=Which?"):
        with pytest.raises(UsageError, match="expected NAME=TEXT"):
            questions([wrong])
    with pytest.raises(UsageError, match="'funny' came twice"):
        questions(["funny=Which?", "funny=What?"])


def test_a_study_that_has_begun_is_not_overwritten(tmp_path):
    first, second = (create([source("one", 40), source("two", 40)], "t", seed=seed) for seed in (1, 2))
    write(first, tmp_path)
    write(second, tmp_path)  # nobody has joined
    store = Store(tmp_path, second)
    store.join(store.invite("expert"))
    store.close()
    for _ in range(2):
        with pytest.raises(ValueError, match="is of another study, which people have begun: choose another folder"):
            write(first, tmp_path)
        assert not (tmp_path / "study.json").exists() or Study.read(tmp_path) == second
        (tmp_path / "study.json").unlink(missing_ok=True)
    write(second, tmp_path)  # the same again brings it back
    assert Study.read(tmp_path) == second


def test_a_study_that_a_judge_has_answered_is_not_overwritten(tmp_path):
    first, second = (create([source("one", 40), source("two", 40)], "t", seed=seed) for seed in (1, 2))
    write(first, tmp_path)
    (tmp_path / "judges").mkdir()
    write(first, tmp_path)
    with pytest.raises(UsageError, match="holds another study, which has begun"):
        write(second, tmp_path)


def test_a_study_that_was_served_and_never_joined_is_made_anew_and_its_links_still_hold(tmp_path):
    first, second = (create([source("one", 40), source("two", 40)], "t", seed=seed) for seed in (1, 2))
    write(first, tmp_path)
    serving = Store(tmp_path, first)
    invitation = serving.invite("expert")
    write(second, tmp_path)
    with pytest.raises(ClosedError, match="being made anew"):
        serving.join(invitation)  # or there would be answers to the old pairs
    serving.close()
    store = Store(tmp_path, Study.read(tmp_path))
    annotator, _ = store.join(invitation)
    assert store.progress(annotator.number).step.showing.pair in second.by_id
    store.close()
    with pytest.raises(ValueError, match="which people have begun"):
        write(first, tmp_path)


def test_gold_is_a_number_or_a_file(tmp_path):
    assert gold_of("3") == 3
    (tmp_path / "gold.csv").touch()
    assert gold_of(str(tmp_path / "gold.csv")) == tmp_path / "gold.csv"
    for wrong in ("-1", "nowhere.jsonl", ""):
        with pytest.raises(UsageError, match="expected a number, or a file"):
            gold_of(wrong)


def test_sets_of_the_same_texts_are_warned_of(capsys):
    one = source("one", 9)
    other = Source(TextSet(name="other", source="", texts=9), tuple(reversed(one.records)))
    create([one, other], "t")
    assert "warning: one and other hold the same texts" in capsys.readouterr().err
    create([one, source("two", 9)], "t")
    assert "the same texts" not in capsys.readouterr().err


# -- where sets are from ---------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path) -> Path:
    folder, rows = tmp_path / "run", [{"id": f"0-{i}", "tone": "dry", "words": f"text {i}"} for i in range(4)]
    task = Task(data="d.jsonl", instruction="Write a {tone} text.", example="{words}!")
    settings = Settings(task=task).model_copy(update={"guidance": Settings(task=task).guidance})
    folder.mkdir()
    (folder / "config.yaml").write_text(settings.to_yaml())
    for name in ("synthetic", "baseline", "data/test"):
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


def test_a_run_has_its_samples_and_plain_sampling_and_real_texts_when_asked(run):
    steer, nucleus = read_sources([str(run)])
    assert (steer.set.name, nucleus.set.name) == ("steer", "nucleus")
    assert (steer.set.gamma, steer.set.eta, nucleus.set.gamma) == (0.1, 0.4, None)
    assert [(one.id, one.text, one.fields["tone"]) for one in steer.records][:1] == [("0-0", "text 0!", "dry")]
    assert matched([steer, nucleus], ()) == ("tone",)
    assert [one.set.name for one in read_sources([str(run)], ["real", "steer"])] == ["real", "steer"]
    assert home([str(run)]) == run / "study"
    other = run.parent / "other"
    shutil.copytree(run, other)
    names = [one.set.name for one in read_sources([str(run), str(other)])]
    assert names == ["run-steer", "run-nucleus", "other-steer", "other-nucleus"]


def test_a_comparison_has_all_its_decoders_with_their_dials(run):
    folder = run / "compare"
    for name in ("steer", "nucleus", "greedy"):
        write_jsonl(folder / "texts" / f"{name}.jsonl", [{"id": "0", "tone": "dry", "words": name}])
    rows = [{"name": name, "file": f"texts/{name}.jsonl"} for name in ("steer", "nucleus", "greedy")]
    rows[0]["dials"] = {"gamma": 0.3, "eta": 0.5}
    write_json(folder / "compare.json", {"decoders": rows})
    found = read_sources([str(folder)])
    assert [one.set.name for one in found] == ["steer", "nucleus", "greedy"]
    assert [one.set.gamma for one in found] == [0.3, None, None]
    assert found[0].records[0].text == "steer!"  # as the task of the run above writes it
    with pytest.raises(UsageError, match=r"'gredy' among steer, nucleus, greedy.*Did you mean 'greedy'"):
        read_sources([str(folder)], ["gredy", "steer"])
    assert home([str(folder)]) == run / "study"


def test_a_grid_has_its_points_called_by_their_dials(run):
    folder = run / "tune"
    points = [{"guidance.gamma": gamma, "guidance.eta": 0.4, "sampling.top_p": 0.9} for gamma in (0.0, 0.5)]
    rows = [{"point": point, "file": f"texts/grid-0{i}.jsonl", "texts": []} for i, point in enumerate(points)]
    for row in rows:
        write_jsonl(folder / row["file"], [{"id": "0", "tone": "dry", "words": "w"}])
    write_json(folder / "examples" / "grid.json", rows)
    write_json(folder / "grid.json", {})
    found = read_sources([str(folder)])
    assert [one.set.name for one in found] == ["gamma=0 eta=0.4", "gamma=0.5 eta=0.4"]
    assert [(one.set.gamma, one.set.eta) for one in found] == [(0.0, 0.4), (0.5, 0.4)]
    # Another form by its name only; what was varied beside is told; points of a search are none of a grid.
    hot = [{**points[0], "sampling.top_p": top_p} for top_p in (0.5, 1.0)]
    write_json(folder / "examples" / "steer_printed.json", rows[:1])
    write_json(folder / "examples" / "grid.json", [{**rows[0], "point": one} for one in hot])
    write_json(folder / "examples" / "search.json", rows)
    assert [one.set.name for one in read_sources([str(folder)])] == [
        "gamma=0 eta=0.4 top_p=0.5",
        "gamma=0 eta=0.4 top_p=1",
    ]
    named = read_sources([str(folder)], ["steer_printed: gamma=0 eta=0.4", "gamma=0 eta=0.4 top_p=1"])
    assert named[0].set.gamma == 0.0
    (folder / "examples" / "steer_printed.json").unlink()
    write_json(folder / "examples" / "grid.json", [{"point": points[0], "texts": []}])
    with pytest.raises(ValueError, match="holds no texts by point: run the same steer tune again"):
        read_sources([str(folder)])


def test_files_by_their_names_or_the_ones_given(tmp_path):
    for name in ("one", "two"):
        rows = [{"text": f"{name} {i}", "label": "xy"[i % 2]} for i in range(4)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
    first, second = read_sources([paths[0], f"other={paths[1]}"])
    assert (first.set.name, second.set.name) == ("one", "other")
    assert matched([first, second], ()) == ("label",)
    assert first.records[1].id == "line 2"
    assert home(paths) is None
    with pytest.raises(UsageError, match="two sets are called"):
        read_sources([f"x={paths[0]}", f"x={paths[1]}"])
    with pytest.raises(UsageError, match="a study needs two sets"):
        read_sources(paths[:1])
    with pytest.raises(UsageError, match="is no run"):
        read_sources([str(tmp_path), *paths])
    with pytest.raises(ValueError, match="no 'tone'"):
        read_sources(paths, match=["tone"])


def test_the_texts_of_a_rival_come_again_only_where_there_are_no_more(capsys):
    """Else who meets a text again knows that it is the rival's."""
    others = [source(name, 40) for name in ("one", "two", "three")]
    made = create([*others, source("nucleus", 40)], "t", pairs=12, gold=3)
    shown = Counter(entry.id for pair in made.asked for entry in (pair.a, pair.b))
    assert set(shown.values()) == {1}
    assert not {pair.text(pair.better) for pair in made.gold} & {p.text(s) for p in made.asked for s in ("a", "b")}
    assert capsys.readouterr().err == ""
    create([*others, source("nucleus", 20)], "t", pairs=12)
    assert "nucleus has fewer texts than it stands in pairs" in capsys.readouterr().err


def test_where_the_texts_lay_decides_nothing():
    study = create([source("one", 40), source("two", 40)], "t")
    moved = study.model_copy(update={"sets": tuple(s.model_copy(update={"source": "x"}) for s in study.sets)})
    assert moved.digest == study.digest
    assert moved.showing(1, moved.asked) == study.showing(1, study.asked)


def test_a_set_has_a_name():
    with pytest.raises(UsageError, match="expected NAME=FILE"):
        read_sources(["=a.txt", "b.txt"])
