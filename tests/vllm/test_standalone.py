"""The processor in a stock `vllm.LLM`, without our executor: what the documentation shows (standalone.py)."""

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_texts import NUCLEUS, STEER, differing

from steer.engine.contexts import Contexts
from steer.engine.decode import decode
from steer.engine.executor import Source
from steer.engine.requests import Completion, Request

pytestmark = pytest.mark.timeout(600)

GROUPS = 100
NAMES = ["the warm gas", "small moons", "old stars near the bulge", "a giant planet", "edges", "young discs"]
PROMPTS = [f"Does {NAMES[group % 6]} cool?\n" for group in range(GROUPS)]
NEGATIVES = ["".join(f"{name}\n\n" for name in NAMES[: group % 4]) for group in range(GROUPS)]


@pytest.fixture(scope="module")
def local(tiny: Source) -> tuple[Any, list[Request], list[Completion]]:
    """What our own engine draws: the model, the requests and their texts."""
    pair = tiny.load()

    def ids(text: str) -> tuple[int, ...]:
        return tuple(pair.tokenizer(text)["input_ids"])

    asked = [
        Request(Contexts(ids(prompt), ids(before + prompt), (0,)), seed, max_new_tokens=48)
        for seed, (prompt, before) in enumerate(zip(PROMPTS, NEGATIVES, strict=True))
    ]
    return pair, asked, list(decode(pair, STEER, asked, NUCLEUS))


@pytest.fixture
def drawn(tiny: Source, monkeypatch) -> Iterator[Callable[[str], list[Any]]]:
    """Draws with an engine whose core runs in a process of its own ("1") or not ("0")."""
    from vllm import LLM

    made = []

    def draw(apart: str) -> list[Any]:
        monkeypatch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", apart)
        standalone = importlib.import_module("standalone")
        sizes = {"max_num_seqs": 96, "max_loras": 2, "gpu_memory_utilization": 0.1}
        made.append(LLM(tiny.model, dtype="float32", enable_lora=True, **sizes, **standalone.OURS))
        found: list[Any] = standalone.draw(made[0], tiny.adapter, PROMPTS, NEGATIVES)
        return found

    yield draw
    for llm in made:
        llm.llm_engine.engine_core.shutdown()


def test_every_text_is_that_of_our_own_engine(drawn, local):
    """300 requests in 96 slots: groups wait for others, and come in whole."""
    pair, asked, expected = local
    found = drawn("0")
    assert None not in found
    assert {text.finish_reason for text in found} == {"stop", "length"}
    assert near(pair, asked, expected, found) <= 2


def test_a_core_in_another_process_may_part_groups_but_not_deceive(drawn, local, capsys):
    """There requests arrive one by one while it computes, so that a group may be admitted in two steps."""
    pair, asked, expected = local
    found = drawn("1")
    whole = [i for i, text in enumerate(found) if text is not None]
    with capsys.disabled():
        print(f"\n{GROUPS} texts by an engine core of its own process: {GROUPS - len(whole)} out of step")
    assert len(whole) > GROUPS / 10, "otherwise this shows nothing"
    assert near(pair, *([of[i] for i in whole] for of in (asked, expected, found))) <= 2


def near(pair: Any, asked: list[Request], expected: list[Completion], found: list[Any]) -> int:
    """How many texts are others than expected, each where two tokens are as good as equal."""
    texts = [Completion(list(text.token_ids), text.finish_reason) for text in found]
    return differing(pair, STEER, NUCLEUS, asked, list(zip(expected, texts, strict=True)))


def test_the_sample_runs_as_it_stands(tiny):
    ours = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1"}
    file = Path(__file__).with_name("standalone.py")
    command = [sys.executable, file, tiny.model, tiny.adapter, "Does the gas cool?\n"]
    done = subprocess.run(command, env={**os.environ, **ours}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("'", '"', "("))]
    assert len(lines) == 100
    assert "(out of step)" not in lines
    assert len(set(lines)) > 90, "every text has a seed of its own"
