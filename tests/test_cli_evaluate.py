"""`steer evaluate`: any two files, any rivals, the user's own embeddings, labels, and the quality gate."""

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest

SENTENCE = "old stars keep their cold gas while young ones lose it to wind and light from far away in dust"
WORDS = SENTENCE.split()
QUICK = ["--metrics", "ngram_diversity,cosine_similarity,copied_share,coverage"]


def write(path: Path, count: int, seed: int, **columns: str) -> Path:
    rng = random.Random(seed)
    rows = [{"text": " ".join(rng.choices(WORDS, k=12)), **columns} for _ in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path) -> dict[str, Path]:
    names = ("real", "ours", "theirs", "train")
    return {name: write(tmp_path / f"{name}.jsonl", 40, seed) for seed, name in enumerate(names)}


@pytest.fixture
def printed(command):
    def run(*arguments):
        code, out, err = command("evaluate", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


def test_rivals_are_named_by_their_files_and_held_against_the_texts(printed, files, tmp_path):
    (tmp_path / "other").mkdir()
    twin = write(tmp_path / "other" / "theirs.jsonl", 30, 9)
    made = printed(files["real"], files["ours"], files["theirs"], twin, "--train", files["train"], *QUICK)
    assert list(made["rivals"]) == [str(files["theirs"]), str(twin)]
    difference = made["rivals"][str(twin)]["differences"]["ngram_diversity"]
    mine, theirs = made["scores"]["ngram_diversity"], made["rivals"][str(twin)]["scores"]["ngram_diversity"]
    assert difference["value"] == pytest.approx(mine["value"] - theirs["value"])
    assert difference["low"] < difference["value"] < difference["high"]
    assert difference["p"] <= difference["adjusted"] <= 1
    assert "30 texts a set" in made["notes"][0]


def test_a_rival_takes_no_name_that_is_taken(printed, files):
    made = printed(files["real"], files["ours"], files["train"], "--train", files["train"], *QUICK)
    assert list(made["rivals"]) == [str(files["train"])]
    assert made["rivals"][str(files["train"])]["scores"]["copied_share"]["value"] == 1


def test_the_table_shows_every_rival_what_differs_and_what_was_done(command, files):
    twin = files["ours"].with_name("copy.jsonl")
    twin.write_bytes(files["train"].read_bytes())
    code, out, _ = command("evaluate", files["real"], files["ours"], twin, "--train", files["train"], *QUICK)
    assert code == 0
    head, *rows = out.splitlines()
    assert head.split()[-1] == "copy"
    (copied,) = (row for row in rows if "copied_share" in row)
    assert copied.split()[-1] == "1.000*"
    assert any(row.startswith("* ") for row in rows)
    assert any("note: brought to one size: 40 texts" in row for row in rows)


def test_a_copied_text_is_named_with_its_source(command, printed, files):
    lines = files["train"].read_text().splitlines()
    files["ours"].write_text("\n".join([*files["ours"].read_text().splitlines()[:20], lines[7]]) + "\n")
    given = (files["real"], files["ours"], "--train", files["train"], "--metrics", "copied_share")
    assert {"row": 20, "source": 7, "reason": "near copy", "similarity": 1.0} in printed(*given)["suspects"]
    assert "text 21 copies source 8: near copy 1.00" in command("evaluate", *given)[1]


def test_own_embeddings_take_the_place_of_an_embedder(printed, files, tmp_path):
    rng = np.random.default_rng(0)
    options = []
    for option, name in (("real", "real"), ("synthetic", "ours"), ("rival", "theirs"), ("train", "train")):
        np.save(tmp_path / f"{name}.npy", rng.normal(size=(40, 3)) + (5 if name == "theirs" else 0))
        options += [f"--{option}-embeddings", tmp_path / f"{name}.npy"]
    given = (files["real"], files["ours"], files["theirs"], "--train", files["train"])
    made = printed(*given, *options, "--metrics", "coverage")
    assert made["scores"]["coverage"]["value"] > 0.8
    assert made["rivals"]["theirs"]["scores"]["coverage"]["value"] == 0
    assert "embedder:given by the user" in made["scores"]["coverage"]["signature"]


@pytest.mark.parametrize(
    ("write_array", "said"),
    [
        (lambda path: None, "there is no such file"),
        (lambda path: path.write_text("1,2"), "no array of numbers"),
        (lambda path: np.save(path, np.zeros(40)), r"float64 of shape \(40,\) came, expected"),
        (lambda path: np.save(path, np.zeros((39, 3))), "39 embeddings came for 40 texts"),
        (lambda path: np.save(path, np.array([["a"]] * 40)), "expected one array of numbers"),
        (lambda path: np.save(path, np.zeros((40, 3))), "real came with embeddings and synthetic without"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(complaint, files, tmp_path, write_array, said):
    write_array(tmp_path / "real.npy")
    code, line = complaint("evaluate", files["real"], files["ours"], "--real-embeddings", tmp_path / "real.npy", *QUICK)
    assert code == 1
    assert re.search(said, line), line


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("copied_share=0.5", 0),  # lower is better, and it is 0
        ("ngram_diversity=0", 0),
        ("ngram_diversity=1.5", 3),
        ("copied_share=-1", 3),
    ],
)
def test_the_gate_knows_which_way_is_better(command, files, gate, code):
    done, out, err = command("evaluate", files["real"], files["ours"], *QUICK, "--fail-under", gate)
    assert done == code
    assert "ngram_diversity" in out
    assert ("steer: " in err) == (code == 3)


def test_what_is_not_known_does_not_pass_the_gate(command, files):
    given = ("evaluate", files["real"], files["ours"], "--metrics", "membership_auroc")
    code, _, err = command(*given, "--fail-under", "membership_auroc=0.6")
    assert code == 3
    assert "membership_auroc is -, expected at most 0.6" in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fail-under", "coverage"], "expected SCORE=VALUE"),
        (["--fail-under", "coverage=nan"], "expected SCORE=VALUE"),
        (["--fail-under", "mmd=1"], "not among the scores"),
        (["--embedder", "domain"], "here there is none"),
        (["--fail-under", "coverag=1"], "did you mean 'coverage'"),
        (["--classifier", "forest"], "classifier"),
        (["--rival-embeddings", "x.npy"], "expected one for each"),
        (["--train-embeddings", "x.npy"], "--train"),
        (["--metrics", "coverag"], "did you mean 'coverage'"),
        (["--html", "nowhere/page.html"], "nowhere is no folder"),
    ],
)
def test_options_without_meaning_are_wrong_usage(command, files, options, said):
    code, _, err = command("evaluate", files["real"], files["ours"], *QUICK, *options)
    assert code == 2
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--embedder", "minilmm"], "minilm"),
        (["--tokenisation", "word"], "words"),
        (["--label", "lable"], "no 'lable'"),
    ],
)
def test_unknown_names_say_what_there_is(complaint, files, options, said):
    code, line = complaint("evaluate", files["real"], files["ours"], *options)
    assert code == 1
    assert said in line


def test_labels_are_found_and_scored_one_by_one(printed, tmp_path):
    paths = []
    for name in ("real", "mine!", "a train"):
        halves = [
            write(tmp_path / "half.jsonl", 30, len(name) + 50 * (label == "b"), label=label).read_text()
            for label in "ab"
        ]
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("".join(halves))
    made = printed(*paths[:2], "--train", paths[2], "--metrics", "downstream_accuracy,ngram_diversity")
    assert set(made["labels"]) == {"a", "b"}
    assert "ngram_diversity" in made["labels"]["a"]["scores"]
    assert made["scores"]["downstream_accuracy"]["ceiling"] is not None
    useful = made["usefulness"]["synthetic"]
    assert len(useful["sets"]["both"]["scores"]) == 5
    assert useful["curve"][-1][1]["real"]["mean"] == made["scores"]["downstream_accuracy"]["ceiling"]
    # A task says otherwise, and so does a file that has no labels.
    assert "labels" not in printed(paths[0], write(tmp_path / "plain.jsonl", 30, 1), "--metrics", "ngram_diversity")


def test_multiple_choice_questions_by_a_task(printed, tmp_path):
    rng = random.Random(0)

    def ask(path: Path, count: int) -> Path:
        rows = []
        for _ in range(count):
            topic, *others = rng.sample(WORDS, 3)
            choices = [f"{topic} {topic}", *others]
            rng.shuffle(choices)
            answer = "ABC"[choices.index(f"{topic} {topic}")]
            rows.append({"q": f"what is like {topic}", **dict(zip("xyz", choices, strict=True)), "answer": answer})
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    task = tmp_path / "task.yaml"
    task.write_text(
        f"task: {{data: {ask(tmp_path / 'a.jsonl', 60)}, example: '{{q}} {{x}} or {{y}} or {{z}}? {{answer}}.'}}\n"
        "evaluate: {choices: {question: q, choices: [x, y, z], answer: answer}}\n"
    )
    made = printed(tmp_path / "a.jsonl", ask(tmp_path / "b.jsonl", 60), "--task", task, "--metrics", "useful")
    assert made["scores"]["downstream_accuracy"]["value"] > 0.6
    assert made["usefulness"]["synthetic"]["chance"] == pytest.approx(1 / 3)


def test_the_same_command_prints_the_same_bytes(command, files):
    given = ("evaluate", files["real"], files["ours"], files["theirs"], "--train", files["train"], "--json")
    metrics = ("--metrics", "diverse,faithful,authentic,precision,hull_f_pca")
    first, second = (command(*given, *metrics)[1] for _ in range(2))
    assert first == second
    assert first.count("\n") == 1


@pytest.mark.parametrize("broken", ["", "\n\n", '{"text": 1}\n{"text"'])
def test_broken_files_are_refused(complaint, files, broken):
    files["ours"].write_text(broken)
    code, line = complaint("evaluate", files["real"], files["ours"], *QUICK)
    assert code == 1
    assert "ours.jsonl" in line


def test_a_report_and_its_figures_are_written(command, files, tmp_path):
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    given = ("evaluate", files["real"], files["ours"], "--train", files["train"], *QUICK)
    code, out, err = command(*given, "--html", page, "--figures", figures)
    assert code == 0, err
    assert page.read_text().lstrip().startswith("<!")
    assert list(figures.glob("*.svg"))
    assert str(page) in out
