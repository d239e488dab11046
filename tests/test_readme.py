"""What the README tells people to type is understood: every command, setting, run file and name in it."""

import ast
import re
import shlex
from pathlib import Path

import pytest
import typer.main

import steer
from steer import cli
from steer.config import Settings, load_settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    shlex.split(line.split("#")[0])
    for language, block in BLOCKS
    if not language
    for line in block.splitlines()
    if re.match(r"(\.venv/bin/)?steer ", line)
]
COMMANDS += [shlex.split(line) for line in re.findall(r"`(steer \w+ [^`]*=[^`]*)`", README) if "..." not in line]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_are_understood(words, tmp_path):
    command, rest = typer.main.get_command(cli.app).commands[words[1]], words[2:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    given = command.make_context(command.name, rest).params
    if "file" not in given:
        return
    run_file = tmp_path / given["file"].name
    shipped = ROOT / given["file"]
    text = shipped.read_text(encoding="utf-8") if shipped.is_file() else "task: {data: reviews.jsonl}\n"
    run_file.write_text(text if run_file.suffix == ".yaml" else "", encoding="utf-8")
    assert isinstance(load_settings(run_file, given["settings"] or []), Settings)


def test_the_example_run_file_is_valid(tmp_path):
    (block,) = [block for language, block in BLOCKS if language == "yaml"]
    (tmp_path / "run.yaml").write_text(block, encoding="utf-8")
    settings = load_settings(tmp_path / "run.yaml")
    assert settings.task.balance == ["stars"]
    assert settings.generate.count == 1000


def test_the_table_of_commands_is_complete():
    told = set(re.findall(r"^\| `steer (\w+)", README, re.MULTILINE))
    assert told == set(typer.main.get_command(cli.app).commands)


def test_the_python_example_uses_names_that_exist():
    (block,) = [block for language, block in BLOCKS if language == "python"]
    names = {
        node.attr
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "steer"
    }
    assert {"load", "guided_logprobs"} <= names
    assert all(hasattr(steer, name) for name in names)


def test_the_files_it_names_are_there():
    pages = ("EVALUATION.md", "LOG.md", "docs/scale.md", "src/steer/nano/README.md")
    for name in (*pages, "benchmarks", "scripts/pretrain_nano.py", "examples"):
        assert name in README
        assert (ROOT / name).exists()
