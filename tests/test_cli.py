"""The door: what it prints where, with which exit code, and how it says that something is wrong."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy
import yaml
from filelock import FileLock

from steer.cli import main
from steer.records import read_jsonl

HEAVY = ("torch", "transformers", "peft", "sklearn", "scipy", "numpy", "pandas", "jinja2", "rapidfuzz")
METRICS = "evaluate.metrics=[ngram_diversity,cosine_similarity,adversarial_auroc,copied_share]"
pytestmark = pytest.mark.usefixtures("apart")
QUICK = ["generate.count=6", "generate.round_size=4", "negatives.count=2", "evaluate.embedders=[tfidf]", METRICS]


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    toy.write_data(folder / "data.jsonl")
    toy.write_model(folder / "base")
    toy.write_adapter(folder / "adapter")
    return folder


@pytest.fixture
def models(world) -> list[str]:
    """The settings of a run that fine-tunes nothing."""
    return [f"model={world / 'base'}", f"domain={world / 'adapter'}", *QUICK]


def lines(path: Path, rows: list[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def texts(*found: str) -> list[object]:
    return [{"text": text} for text in found]


# -- the door itself ---------------------------------------------------------------------------------------------


def test_help_is_quick_and_loads_nothing_heavy():
    script = "import sys; from steer.cli import main; main(sys.argv[1:], exit=lambda code: print(code, *sys.modules))"
    seconds = []
    for arguments in (["--help"], ["run", "--help"], ["--version"]):
        started = time.monotonic()
        done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
        seconds.append(time.monotonic() - started)
        code, *modules = done.stdout.splitlines()[-1].split()
        assert code == "0"
        assert not {name.split(".")[0] for name in modules} & set(HEAVY)
    assert min(seconds) < 1.0


def test_help_names_every_command(command):
    code, out, err = command("--help")
    assert (code, err) == (0, "")
    for name in ("run", "finetune", "generate", "evaluate", "explain", "replay", "report"):
        assert f" {name} " in out
        assert command(name, "--help")[0] == 0
    assert command() == (0, out, "")
    assert command("-h") == (0, out, "")
    assert "(default: runs/NAME)" in " ".join(command("run", "--help")[1].replace("│", " ").split())


def test_the_installed_command_answers_with_its_exit_code(tmp_path):
    script = [sys.executable, "-c", "from steer.cli import main; main()"]
    for arguments, code in ((["--version"], 0), (["run", tmp_path / "none.jsonl"], 1), (["run", "--outt"], 2)):
        done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu", "data.jsonl"], "No such command 'rnu'. Did you mean 'run'?; steer --help shows"),
        (["run"], "Missing argument 'file'; steer run --help shows"),
        (["run", "data.jsonl", "--outt", "x"], "No such option: --outt"),
        (["run", "data.jsonl", "--out"], "Option '--out' requires an argument"),
        (["evaluate", "one.jsonl"], "Missing argument 'synthetic'"),
        (["evaluate", "a", "b", "--seed", "-1"], "Invalid value for '--seed'"),
        (["evaluate", "a", "b", "--seed", "x"], "Invalid value for '--seed'"),
        (["run", "data.jsonl", "gamma=0.3"], "data.jsonl: unknown setting 'gamma'; did you mean 'guidance.gamma'?"),
        (["run", "data.jsonl", "guidance.gama=0.3"], "did you mean 'guidance.gamma'?"),
        (["run", "data.jsonl", "guidance=steeer(0.2)"], "unknown name 'steeer'; did you mean 'steer'?"),
        (["run", "data.jsonl", "guidance.eta=nan"], "guidance.eta: 'nan' came: expected a number"),
        (["run", "data.jsonl", "count"], "'count': expected key=value"),
        (["run", "broken.yaml"], "broken.yaml line 2: not YAML"),
        (["explain", "run"], "say either which sample (its ID) or which text (--text)"),
    ],
)
def test_wrong_usage_is_2_and_says_what_was_probably_meant(complaint, tmp_path, arguments, said):
    toy.write_data(tmp_path / "data.jsonl")
    (tmp_path / "broken.yaml").write_text("task:\n\tdata: x\n")
    code, complained = complaint(*arguments)
    assert code == 2
    assert said.removeprefix("data.jsonl: ") in complained
    assert not (tmp_path / "runs").exists()


# -- data that cannot be used ------------------------------------------------------------------------------------

GOOD = [f"{a} {b} {c}" for a, b, c in zip(toy.WORDS, toy.WORDS[7:], toy.WORDS[13:], strict=False)][:20]

DATA = {
    "empty": ([], "x.jsonl is empty: expected at least one row"),
    "blank lines": (["", "  "], "x.jsonl is empty: expected at least one row"),
    "broken JSON": (
        [*texts(*GOOD[:16]), '{"text": "no end'],
        "x.jsonl line 17, column 10: broken JSON (Unterminated string starting at)",
    ),
    "not objects": ([*texts(*GOOD[:3]), "7"], "x.jsonl line 4: a number came, expected an object"),
    "missing column": (
        [{"body": text} for text in GOOD],
        "line 1: no 'text' for the column 'text': the row holds 'body'",
    ),
    "missing later": ([*texts(*GOOD), {"txt": "x"}], "x.jsonl line 21: no 'text' for the column 'text'"),
    "null": ([*texts(*GOOD), {"text": None}], "x.jsonl line 21: 'text' is null, expected text"),
    "duplicates": (texts(*["the same text"] * 50), "x.jsonl: 50 rows hold only 1 distinct text"),
    "few": (texts(*GOOD[:9]), "9 records with 9 distinct texts came: train, validation and test need at least 10"),
    "empty texts": (texts(*[""] * 20), "none of 20 rows can be used (20 empty)"),
}


@pytest.mark.parametrize("name", DATA)
def test_data_that_cannot_be_used(complaint, tmp_path, name):
    rows, said = DATA[name]
    code, complained = complaint("run", lines(tmp_path / "x.jsonl", rows))
    assert code == 1
    assert said in complained


def test_data_that_is_not_there(complaint, tmp_path):
    toy.write_data(tmp_path / "texts.jsonl")
    code, said = complaint("run", tmp_path / "txts.jsonl")
    assert code == 1
    assert said.startswith(f"steer: no file {tmp_path / 'txts.jsonl'}: {tmp_path} holds ")
    assert said.endswith("Did you mean 'texts.jsonl'?")
    (tmp_path / "mine.yaml").write_text("task: {data: texts.jsonl}")
    code, said = complaint("run", tmp_path / "mne.yaml")
    assert (code, said) == (1, f"steer: {tmp_path / 'mne.yaml'}: there is no such run file; did you mean mine.yaml?")


def test_data_that_is_not_utf_8(complaint, tmp_path):
    rows = b"".join(json.dumps({"text": text}).encode() + b"\n" for text in GOOD)
    (tmp_path / "x.jsonl").write_bytes(rows + '{"text": "caf\u00e9"}\n'.encode("latin-1"))
    code, said = complaint("run", tmp_path / "x.jsonl")
    assert code == 1
    assert "x.jsonl line 21: byte " in said
    assert "(0xe9) is not UTF-8: convert the file first" in said


def test_a_mistake_in_the_data_can_be_mended_in_place(complaint, command, tmp_path, models):
    """What has failed at the first step has left nothing that is in the way."""
    assert complaint("generate", tmp_path / "wrong.jsonl", *models, "--out", tmp_path / "run")[0] == 1
    data = toy.write_data(tmp_path / "right.jsonl")
    assert complaint("generate", data, f"model={tmp_path}/none/at/all", "--out", tmp_path / "run")[0] == 1
    assert command("generate", data, *models, "--out", tmp_path / "run")[0] == 0


# -- models and runs that cannot be used -------------------------------------------------------------------------


def test_a_model_that_cannot_be_loaded(complaint, world, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "config.json").write_text((world / "base" / "config.json").read_text())
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"")
    for name, said in {
        "empty": "the folder holds no config.json",
        "bare": "the folder holds no weights; expected *.safetensors",
        "broken": "config.json is broken",
        "none/at/all": "there is no such folder",
    }.items():
        model = tmp_path / name
        code, complained = complaint("finetune", world / "data.jsonl", f"model={model}", "--out", tmp_path / "run")
        assert (code, complained.split(": ", 2)[:2]) == (1, ["steer", f"model {model}"])
        assert said in complained


def test_an_adapter_that_cannot_be_loaded(complaint, world, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    options = [f"model={world / 'base'}", f"domain={tmp_path / 'adapter'}", "--out", tmp_path / "run"]
    code, said = complaint("generate", world / "data.jsonl", *options)
    assert code == 1
    assert said.endswith("adapter holds no adapter_model.safetensors; only safetensors are loaded")


def test_a_context_too_short_for_the_prompt(complaint, world, models, tmp_path):
    prompt = f"task.instruction={'stars ' * 200}"
    code, said = complaint("generate", world / "data.jsonl", *models, prompt, "--out", tmp_path / "run")
    assert code == 1
    assert "the prompt takes 200 tokens and" in said
    assert "holds 128, so no text could follow: shorten task.instruction" in said
    code, said = complaint("finetune", world / "data.jsonl", models[0], prompt, "--out", tmp_path / "tuned")
    assert code == 1
    assert "fits the 128 tokens that" in said


def test_all_samples_refused(complaint, world, models, tmp_path):
    options = ["generate.attempts=1", "sampling.max_new_tokens=1"]
    code, said = complaint("generate", world / "data.jsonl", *models, *options, "--out", tmp_path / "run")
    assert code == 1
    assert "only 0 of 6 samples were accepted in 6 attempts; the gate 'malformed' refused 6: raise sampling" in said


def test_a_run_folder_in_use(complaint, world, models, tmp_path):
    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"):
        code, said = complaint("run", world / "data.jsonl", *models, "--out", tmp_path / "run")
    assert code == 1
    assert said == f"steer: {tmp_path / 'run'} is in use by another process; wait for it or choose another --out"


def test_folders_that_are_no_run_or_another_one(complaint, command, world, models, tmp_path):
    data = world / "data.jsonl"
    assert command("generate", data, *models, "--out", tmp_path / "run")[0] == 0
    code, said = complaint("generate", data, *models, "seed=1", "--out", tmp_path / "run")
    assert (code, said.split(": ", 2)[2]) == (2, "seed: 0 -> 1; choose another --out")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").touch()
    assert complaint("generate", data, *models, "--out", tmp_path / "notes")[0] == 2
    assert complaint("generate", data, *models, "--out", tmp_path / "notes" / "a.txt")[0] == 1
    for name in ("report", "explain", "replay"):
        code, said = complaint(name, tmp_path / "notes", *([] if name == "report" else ["0000-00-00"]))
        assert code == 1
        assert said.endswith("notes is no run: it holds no config.yaml")
    assert "the run's samples are 0000-00-00 to " in complaint("replay", tmp_path / "run", "0000-99-00")[1]


def test_what_nobody_foresaw_is_one_line_too_and_a_traceback_with_v(complaint, monkeypatch, tmp_path):
    def failing(*arguments):
        raise RuntimeError("the accelerator\nis on fire")

    monkeypatch.setattr("steer.config.load_settings", failing)
    said = "steer: unexpected RuntimeError: the accelerator is on fire (-v shows where)"
    assert complaint("run", tmp_path / "x.jsonl") == (1, said)
    with pytest.raises(RuntimeError):
        main(["run", "x.jsonl", "-v"])


def test_stopped_by_hand(command, monkeypatch, tmp_path):
    def stopped(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("steer.config.load_settings", stopped)
    assert command("run", "x.jsonl") == (130, "", "stopped; the same command goes on from here\n")


# -- texts of any length -----------------------------------------------------------------------------------------


def test_texts_of_one_character(command, world, models, tmp_path):
    data = lines(tmp_path / "x.jsonl", texts(*"abcdefghijklmnopqrst"))
    room = "sampling.max_new_tokens=20"  # by the real texts it would be 2: one token and the end
    code, out, _ = command("generate", data, *models, room, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)["count"]) == (0, 6)


def test_texts_of_a_hundred_thousand_characters(command, complaint, world, models, tmp_path):
    rng = random.Random(0)
    long = texts(*(" ".join(rng.choices(toy.WORDS, k=17_000)) for _ in range(12)))
    assert min(len(row["text"]) for row in long) > 90_000
    data = lines(tmp_path / "long.jsonl", long)
    code, said = complaint("finetune", data, models[0], "--out", tmp_path / "tuned")
    assert code == 1
    assert "none of the 8 training texts (or of the 2 for validation) fits the 128 tokens" in said
    code, out, err = command("generate", data, *models, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)["count"]) == (0, 6)
    assert "no more negatives fit the 128 tokens of the model: " in err


# -- what is printed ---------------------------------------------------------------------------------------------


def test_every_command_and_its_json(command, world, models, tmp_path):
    """From the data to the report; with --json one object and nothing else on standard output."""
    out = tmp_path / "run"
    settings = {"task": {"data": str(world / "data.jsonl")}, "model": str(world / "base"), "finetune": {"epochs": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    run = ("mine.yaml", *QUICK, "--out", out)

    def printed(*arguments: object) -> dict:
        code, shown, err = command(*arguments, "--json")
        assert code == 0, err
        assert len(shown.splitlines()) == 1
        return json.loads(shown)

    assert printed("finetune", *run) == {"domain": str(out / "domain")}
    assert printed("generate", *run) == {"synthetic": str(out / "synthetic.jsonl"), "count": 6}
    made = printed("run", *run)
    assert made["report"] == str(out / "report.html")
    assert {key: made[key] for key in ("scores", "rivals")}.items() <= json.loads(
        (out / "metrics.json").read_text()
    ).items()
    assert printed("report", out) == {"report": str(out / "report.html")}
    sample = read_jsonl(out / "synthetic.jsonl")[0]
    assert printed("replay", out, sample["id"]) == {**sample, "same": True}
    assert "".join(printed("explain", out, sample["id"])["tokens"]).startswith(sample["text"])
    measured = printed("evaluate", out / "data" / "test.jsonl", out / "synthetic.jsonl")
    assert measured.keys() == json.loads((out / "metrics.json").read_text()).keys()

    # And in words.
    code, shown, err = command("run", *run)
    assert code == 0
    assert "adversarial_auroc" in shown
    assert f"texts:  {out / 'synthetic.jsonl'}" in shown
    assert err == ""
    assert command("generate", *run)[1] == f"6 texts: {out / 'synthetic.jsonl'}\n"
    assert command("finetune", *run)[1] == f"domain adapter: {out / 'domain'}\n"
    assert command("replay", out, sample["id"])[1] == sample["text"] + "\n"
    assert sample["text"].split()[0] in command("explain", out, sample["id"], "--html", tmp_path / "page.html")[1]
    assert (tmp_path / "page.html").read_text().lstrip().startswith("<!")
    assert "domain[negatives]" in command("explain", out, "--text", "old stars")[1]


def test_progress_goes_to_standard_error_and_the_folder_has_the_name_of_the_file(command, world, models, tmp_path):
    code, out, err = command("generate", world / "data.jsonl", *models)
    assert (code, out) == (0, f"6 texts: {Path('runs/data/synthetic.jsonl')}\n")
    assert err.startswith("data: 40 texts (none dropped): 28 train, 4 validation, 8 test\n")
    assert "generate: 6 of 6" in err


def test_an_adapter_that_is_given_is_not_trained(command, world, models, tmp_path):
    code, out, _ = command("finetune", world / "data.jsonl", *models, "--out", tmp_path / "run", "--json")
    assert (code, json.loads(out)) == (0, {"domain": str(world / "adapter")})
