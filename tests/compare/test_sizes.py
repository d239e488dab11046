"""More training texts or more steering: nested parts, an adapter of each, and rivals of the same size."""

from pathlib import Path

import pytest
import toy
from tiny import add_adapter

from steer import pipeline
from steer.compare.sizes import grow, parse_sizes
from steer.config import Settings, UsageError
from steer.records import read_json, read_jsonl
from steer.run import PARTS, Run

SIZES = [4, 8, 12]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    """A run that has its data. Nothing may change it."""
    folder = tmp_path_factory.mktemp("world")
    tree = {
        "task": {"data": str(toy.write_data(folder / "data.jsonl"))},
        "model": str(toy.write_model(folder / "base")),
        "domain": str(toy.write_adapter(folder / "adapter")),
        "negatives": {"count": 3, "form": "pairs"},
        "evaluate": {"metrics": ["ngram_diversity", "cosine_similarity"]},
    }
    with Run.create(folder / "run", Settings.model_validate(tree)) as made:
        pipeline.make(made, "data")
    return made


@pytest.fixture
def tuned(monkeypatch):
    """Fine-tune by taking an adapter of random weights -> what each was to be tuned on."""
    asked = []

    def finetune(task, train, validation, out, **options):
        asked.append((list(train), list(validation), options["form"]))
        add_adapter(toy.model(), seed=len(train)).save_pretrained(out)

    monkeypatch.setattr("steer.domain.finetune", finetune)
    return asked


def texts(folder: Path, name: str) -> list[str]:
    return [row["text"] for row in read_jsonl(folder / "texts" / f"{name}.jsonl")]


def contents(folder: Path) -> dict[str, bytes]:
    untimed = (path for path in folder.rglob("*") if path.name not in (".lock", "log.jsonl", "manifest.json"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in untimed if path.is_file()}


@pytest.mark.parametrize(
    ("text", "expected"),
    [("50,100,200", [50, 100, 200]), ("200, 50,50", [50, 200]), ("2", [2]), (" 3 ", [3])],
)
def test_sizes_are_read(text, expected):
    assert parse_sizes(text) == expected


@pytest.mark.parametrize("text", ["", "many", "50,", "1,2", "0", "-5,10", "2.5", "50;100"])
def test_what_is_no_list_of_sizes_is_refused(text):
    with pytest.raises(UsageError, match="expected numbers of texts, 2 or more, as in 50,100,200"):
        parse_sizes(text)


def test_no_more_than_there_are(run, tuned, tmp_path):
    with pytest.raises(UsageError, match=r"--train-sizes 29: .*run has 28 training texts"):
        grow(run, [10, 29], tmp_path / "sizes", 8, 0)
    assert not tuned
    assert not (tmp_path / "sizes").exists()


def test_every_smaller_part_lies_within_the_larger_ones(run, tuned, tmp_path):
    grow(run, SIZES, tmp_path, 8, 0)
    parts = {len(train): {record.id for record in train} for train, *_ in tuned}
    assert sorted(parts) == SIZES
    assert parts[4] < parts[8] < parts[12] < {record.id for record in run.records("train")}
    assert all(validation == run.records("validation") and form == "pairs" for _, validation, form in tuned)
    for size in SIZES:
        part = Run.open(tmp_path / "seed-0" / str(size))
        assert {record.id for record in part.records("train")} == parts[size]
        assert [part.records(name) for name in PARTS[1:]] == [run.records(name) for name in PARTS[1:]]
        assert part.settings.domain is None


def test_each_row_tells_its_size_and_is_held_against_nucleus_sampling_of_that_size(run, tuned, tmp_path):
    told = grow(run, SIZES, tmp_path, 8, 0)
    assert told == read_json(tmp_path / "compare.json")
    rows = {one["name"]: one for one in told["decoders"]}
    assert list(rows) == [f"{name}_{size}" for size in reversed(SIZES) for name in ("steer", "nucleus")]
    for name, row in rows.items():
        kind, _, size = name.partition("_")
        assert (row["train_size"], row["compared"], row["texts"]) == (int(size), True, 8)
        assert row["label"].endswith(f", {size} training texts")
        for score, found in row["scores"].items():
            rival = rows[f"nucleus_{size}"]["scores"][score]
            if kind == "nucleus":
                assert found["from_nucleus"] is None
            else:
                assert found["from_nucleus"]["value"] == pytest.approx(found["value"] - rival["value"])
            assert found["from_curve"] is None
    # Each is drawn from an adapter of its own.
    assert len({tuple(texts(tmp_path, f"nucleus_{size}")) for size in SIZES}) == 3
    assert [row["text"] for row in read_jsonl(tmp_path / "train.jsonl")] == [r.text for r in run.records("train")]


def test_killed_at_any_size_it_comes_to_the_same_files(run, tuned, tmp_path, monkeypatch):
    grow(run, [4, 8], tmp_path / "whole", 6, 0)
    made = pipeline.make
    for kth in (1, 2):
        calls = []

        def killed(part, until, calls=calls, kth=kth):
            calls.append(part)
            if len(calls) == kth:
                raise KeyboardInterrupt
            made(part, until)

        folder = tmp_path / f"killed-{kth}"
        with monkeypatch.context() as patch:
            patch.setattr("steer.compare.sizes.make", killed)
            with pytest.raises(KeyboardInterrupt):
                grow(run, [4, 8], folder, 6, 0)
        grow(run, [4, 8], folder, 6, 0)
        assert contents(folder) == contents(tmp_path / "whole")
    begun = len(tuned)
    grow(run, [4, 8], tmp_path / "whole", 6, 0)
    assert len(tuned) == begun  # what is tuned is not tuned again


def test_parts_are_nested_whatever_seed_came_before(run, tuned, tmp_path):
    grow(run, [4], tmp_path, 6, 0)
    grow(run, [4, 8], tmp_path, 6, 1)

    def ids(size: int) -> set[str]:
        return {record.id for record in Run.open(tmp_path / "seed-1" / str(size)).records("train")}

    assert ids(4) < ids(8)


def test_one_that_falls_short_leaves_nothing_to_compare(run, tuned, tmp_path):
    settings = run.settings.model_copy(
        update={"sampling": run.settings.sampling.model_copy(update={"max_new_tokens": 1})}
    )
    with pytest.raises(
        ValueError, match=r"steer_4: \d of 8 texts were well-formed in \d+ drawn, so there is nothing to compare"
    ):
        grow(Run(run.folder, settings), [4], tmp_path, 8, 0)
