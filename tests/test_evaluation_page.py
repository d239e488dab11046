"""EVALUATION.md: every score is there, and the table of traps holds the numbers of its results."""

import json
import re
from pathlib import Path

import pytest

from steer.evaluate.catalogue import FAMILIES, NAMES, QUESTIONS

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "EVALUATION.md").read_text(encoding="utf-8")
TRAPS = json.loads((ROOT / "benchmarks" / "results" / "traps.json").read_text(encoding="utf-8"))["scores"]


@pytest.mark.parametrize("name", NAMES)
def test_every_score_is_explained(name):
    plain = re.sub(r"^(unique_ngram_ratio)_\d$", r"\1", name)
    assert f"`{plain}`" in PAGE


@pytest.mark.parametrize("name", sorted({name for family in FAMILIES for name in family.optional}))
def test_what_is_measured_only_when_asked_is_marked(name):
    assert f"`{name}`°" in PAGE


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_is_named(question):
    assert f"**{question}?**" in PAGE


ROWS = re.findall(r"^\| `(\w+)` \|((?: -?\d+\.\d\d \|)+)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_table_of_traps_is_that_of_the_results(row):
    name, cells = row
    assert [float(cell) for cell in cells.split("|")[:-1]] == [round(trap[name], 2) + 0.0 for trap in TRAPS.values()]


def test_the_table_has_all_of_the_results():
    (head,) = re.findall(r"^\| score \| real \|(.*)\|$", PAGE, re.MULTILINE)
    assert [cell.strip() for cell in head.split("|")] == list(TRAPS)[1:]
    assert len(ROWS) == len(TRAPS["real"])
