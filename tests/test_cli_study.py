"""`steer study` at the door: from two files to a page, and what it says where something is wrong."""

import json
import subprocess
import sys

import pytest
from scripted import Reply, serving

from steer.cli import main
from steer.config import Settings
from steer.records import write_json, write_jsonl, write_text
from steer.study.plan import Study
from steer.study.store import Store

pytestmark = pytest.mark.usefixtures("apart")


@pytest.fixture
def apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("steer.cli.options.verbose_wanted", False)
    for name in ("one", "two"):
        rows = [{"text": f"The {name} writes of the sea, of its tides and of ship {i}"} for i in range(12)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def steer(capsys, *words: str) -> tuple[int, str, str]:
    """-> exit code, standard output, standard error."""
    code = main(["study", *words], exit=lambda code: code)
    said = capsys.readouterr()
    return code, said.out, said.err


CREATE = ["create", "one.jsonl", "two.jsonl", "--out", "s", "--pairs", "8"]


def voted(tmp_path, people: int = 2) -> None:
    """People who always take the first set, and one who takes what stands first."""
    study = Study.read(tmp_path / "s")
    store = Store(tmp_path / "s", study)
    for i in range(people + 1):
        who, _ = store.join(store.invite("general"))
        while (step := store.progress(who.number).step) is not None:
            pair = study.by_id[step.showing.pair]
            place = "first" if i == people or step.showing.first == (pair.better or "a") else "second"
            store.vote(who.number, step.number, step.attempt, place, 3.0)
    store.close()


def test_from_two_files_to_a_page(capsys, tmp_path):
    code, out, _ = steer(capsys, *CREATE, "--title", "Ships")
    assert code == 0
    assert "8 pairs of 2 sets, 2 gold pairs" in out
    assert "3 people of each group are needed" in out
    assert steer(capsys, "score", "s")[0] == 1
    voted(tmp_path)
    code, out, _ = steer(capsys, "score", "s", "--attention", "0.9")
    assert code == 0
    assert "gold below 90%: 3" in out
    assert "kept, without a gold pair: nobody" in out
    assert "annotators and pairs" in out
    for name in ("votes.csv", "scores.json", "study.html"):
        assert (tmp_path / "s" / name).is_file()
    code, out, _ = steer(capsys, "score", "s", "--json")
    rows = json.loads(out)["rows"]
    assert [(row["group"], row["a"], row["b"]) for row in rows] == [("general", "one", "two")] * 2
    assert min(row["win_rate"]["value"] for row in rows) > 0.7
    code, out, _ = steer(capsys, "size", "--pilot", "s", "--annotators", "20", "--json")
    assert json.loads(out)["design"]["annotator_sd"] > 0


def test_scores_are_told_in_the_report_of_their_run(capsys, tmp_path, monkeypatch):
    steer(capsys, *CREATE)
    voted(tmp_path)
    run = tmp_path / "run"
    task = {"data": "notes.jsonl", "instruction": "Write a note.", "example": "{text}"}
    write_text(run / "config.yaml", Settings.model_validate({"task": task}).to_yaml())
    write_json(run / "manifest.json", {})
    (tmp_path / "s").rename(run / "study")
    (run / "report.html").write_text("an older one")
    code, out, _ = steer(capsys, "score", "run")
    assert code == 0
    assert out.splitlines()[-1] == "report: run/report.html"
    assert 'href="study/study.html"' in (run / "report.html").read_text()
    (run / "report.html").unlink()
    monkeypatch.chdir(run / "study")
    assert steer(capsys, "score", ".", "--json")[0] == 0
    assert (run / "report.html").is_file()


@pytest.mark.parametrize(("name", "beside"), [("s", "manifest.json"), ("study", "notes.json")])
def test_scores_of_no_run_are_in_no_report(capsys, tmp_path, name, beside):
    """Of a folder that its report would not look into; and beside what is no run."""
    steer(capsys, *CREATE)
    voted(tmp_path)
    (tmp_path / "s").rename(tmp_path / name)
    (tmp_path / "config.yaml").write_text("of something else: true")
    write_json(tmp_path / beside, {})
    code, out, _ = steer(capsys, "score", name)
    assert (code, "report" in out) == (0, False)
    assert not (tmp_path / "report.html").exists()


def test_a_judge_is_told_its_cost_first_and_is_one_more_group(capsys, tmp_path):
    steer(capsys, *CREATE)
    code, out, _ = steer(capsys, "judge", "s", "model:steer-nano", "--dry-run")
    assert (code, out.split(" requests")[0]) == (0, "40")
    assert not (tmp_path / "s" / "judges").exists()
    code, out, err = steer(capsys, "judge", "s", "model:steer-nano", "--name", "nano")
    assert code == 0
    assert "40 requests" in err
    assert "the two orders agree for" in out
    code, out, _ = steer(capsys, "score", "s", "--json")
    assert {(group["name"], group["kind"]) for group in json.loads(out)["groups"]} == {("nano", "judge")}
    assert json.loads(out)["judges"][0]["name"] == "nano"


def test_a_judge_that_cannot_be_read_is_a_failure(capsys):
    steer(capsys, *CREATE)
    with serving() as server:
        server.always = Reply(200, {"choices": [{"message": {"content": ""}}]})
        code, out, _ = steer(capsys, "judge", "s", f"openai:m@{server.url}")
    assert code == 1
    assert "answers could be read, as in an empty answer; more --max-tokens may help, or a model that chats" in out


def test_an_endpoint_is_waited_for_as_long_as_was_said(capsys, monkeypatch):
    asked = []

    def noted(study, where, judge, **_):
        asked.append(judge)
        raise ValueError("not now")

    monkeypatch.setattr("steer.study.judge.judge", noted)
    steer(capsys, *CREATE)
    for words in (["--timeout", "2.5"], []):
        steer(capsys, "judge", "s", "openai:m@http://localhost:1/v1", *words)
    assert [judge.server.timeout for judge in asked] == [2.5, 60]
    for wrong in ("0", "-1", "nan", "inf"):
        code, _, err = steer(capsys, "judge", "s", "openai:m", "--timeout", wrong)
        assert (code, "expected seconds, more than 0" in err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "one.jsonl"], 2, "only the set one came: a study needs two sets"),
        (["create", "one.jsonl", "two.jsonl"], 2, "name the study's folder with --out"),
        ([*CREATE, "--sets", "one,twoo"], 2, "Did you mean 'two'?"),
        ([*CREATE, "--gold", "-1"], 2, "expected a number, or a file"),
        ([*CREATE, "--question", "x=A?", "--question", "x=B?"], 2, "'x' came twice"),
        ([*CREATE, "--match", "tone"], 1, "no 'tone'"),
        (["score", "nowhere"], 1, "nowhere: there is no such folder"),
        (["serve", "."], 1, ". is no study: it holds no study.json"),
        (["judge", ".", "gpt"], 1, ". is no study"),
        (["size", "--rate", "0.4"], 1, "expect one above 0.5"),
        (["size", "--rate", "0.96"], 1, "room for 0 to 0.08 ties, not 0.1: name fewer with --ties"),
        (["size", "--rate", "0.97", "--ties", "0"], 1, "name smaller ones with --annotator-sd and --pair-sd"),
        (["size", "--annotators", "3", "--per-pair", "5"], 1, "3 annotators, 5 of whom see each pair"),
        (["score", "s", "--atention", "1"], 2, "steer study score --help"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(capsys, words, code, said):
    found, _, err = steer(capsys, *words)
    assert found == code
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("judge", ["gpt", "openai:", "model:", "openai:m@nowhere"])
def test_what_is_no_judge_is_wrong_usage(capsys, judge):
    steer(capsys, *CREATE)
    code, _, err = steer(capsys, "judge", "s", judge)
    assert code == 2
    assert "expected openai:MODEL" in err


def test_a_certificate_that_is_none_is_told_before_anything_is_served(capsys, tmp_path):
    steer(capsys, *CREATE)
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no certificate")
    words = ["serve", "s", "--port", "0", "--certificate", "cert.pem", "--key", "key.pem"]
    code, out, err = steer(capsys, *words)
    assert (code, out) == (1, "")
    assert "cert.pem and key.pem are no certificate and its key" in err
    code, _, err = steer(capsys, *words[:-2])
    assert code == 2
    assert "TLS needs both" in err


def test_sets_of_a_grid_can_be_named(capsys, tmp_path):
    rows = []
    for i, gamma in enumerate((0.0, 0.5, 1.0)):
        texts = [{"id": str(k), "text": f"gamma {gamma} writes text {k} of the sea"} for k in range(9)]
        write_jsonl(tmp_path / "tune" / f"texts/grid-0{i}.jsonl", texts)
        rows.append({"point": {"guidance.gamma": gamma, "guidance.eta": 0.4}, "file": f"texts/grid-0{i}.jsonl"})
    write_json(tmp_path / "tune" / "examples" / "grid.json", rows)
    write_json(tmp_path / "tune" / "grid.json", {})
    sets = ["--sets", "gamma=0.5 eta=0.4,gamma=1 eta=0.4", "--against", "gamma=0 eta=0.4"]
    code, _, err = steer(capsys, "create", "tune", "--out", "s", "--pairs", "4", *sets)
    assert (code, err) == (0, "")
    made = Study.read(tmp_path / "s")
    assert {(pair.a.set, pair.b.set) for pair in made.asked} == {
        ("gamma=0.5 eta=0.4", "gamma=0 eta=0.4"),
        ("gamma=1 eta=0.4", "gamma=0 eta=0.4"),
    }


def test_a_missing_extra_is_named(capsys, monkeypatch):
    steer(capsys, *CREATE)
    monkeypatch.setattr("steer.study.find_spec", lambda name: None)
    code, _, err = steer(capsys, "serve", "s")
    assert (code, err) == (1, "steer: steer study serve needs: pip install 'steer-text[study]'\n")


def test_only_serving_needs_the_extra():
    script = "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'uvicorn', 'itsdangerous', 'starlette')))\n"
    script += "import steer.cli.studying, steer.study.create, steer.study.judge, steer.study.scored, steer.study.power"
    subprocess.run([sys.executable, "-c", script], check=True)
