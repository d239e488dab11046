"""Of several texts the best: how many of each group are kept, which, and what says which are the best."""

import importlib
import math
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import toy

from steer import guidance as g
from steer.config import Generation, Negatives, Sampling
from steer.config import Ranking as RankingSettings
from steer.engine.contexts import contexts
from steer.engine.executor import Local
from steer.engine.logprobs import guided_logprobs
from steer.engine.requests import Completion, Request
from steer.generate import BudgetError, Generator
from steer.ranking import Ranking, likelihood_ratios
from steer.records import Record, Sample
from steer.task import Task

PLAIN = Task(data="x")
BALANCED = Task(data="x", instruction="Write a {label} text.", balance=["label"])
RATIO = {"by": "likelihood_ratio", "factor": 4}


@pytest.fixture(scope="module")
def pair():
    return toy.pair()


def ranking(**settings: object) -> Ranking:
    return Ranking(RankingSettings.model_validate(settings))


@pytest.fixture
def generator(pair):
    def make(task: Task = PLAIN, *, count: int = 10, folder: Path | None = None, **options: object) -> Generator:
        given = {"count": count, "round_size": 16, "group_size": 8, **options.pop("settings", {})}
        options = {"negatives": Negatives(count=3), "ranking": ranking(**options.pop("by", RATIO)), **options}
        settings = Generation.model_validate(given)
        return Generator(Local(pair), task, toy.records(), g.steer(), settings=settings, folder=folder, **options)

    return make


@pytest.fixture
def rewards(tmp_path):
    """A file with functions that give texts a number."""
    path = tmp_path / "rewards.py"
    path.write_text(
        "def length(texts):\n    return [len(text.split()) for text in texts]\n"
        "def none_of(texts):\n    return []\n"
        "def undefined(texts):\n    return [float('nan')] * len(texts)\n"
        "value = 3\n"
    )
    return path


def groups(samples: list[Sample]) -> list[list[Sample]]:
    made = defaultdict(list)
    for sample in samples:
        made[sample.round, sample.group].append(sample)
    return list(made.values())


def accepted(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.verdict == "accepted"]


# -- how many are kept, and which --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [PLAIN, BALANCED], ids=["plain", "balanced"])
@pytest.mark.parametrize(("factor", "group_size"), [(2, 8), (4, 8), (3, 8), (4, 3)])
def test_of_each_group_the_best_are_kept(generator, task, factor, group_size):
    settings = {"group_size": group_size, "round_size": 24}
    samples = generator(task, by={**RATIO, "factor": factor}, settings=settings).run()
    kept = accepted(samples)
    assert len(kept) == 10
    seen = Counter()
    for group in groups(samples):
        best = [sample for sample in group if sample.verdict == "accepted"]
        others = [sample for sample in group if sample.verdict == "outranked"]
        assert len(best) <= math.ceil(len(group) / factor)
        assert not others or len(best) == math.ceil(len(group) / factor)
        assert min((s.reward for s in best), default=math.inf) >= max((s.reward for s in others), default=-math.inf)
        seen.update(sample.verdict for sample in group)
    assert seen["outranked"]
    assert seen["malformed"]
    assert all(s.reason == "others of its group have a higher reward" for s in samples if s.verdict == "outranked")
    if task is BALANCED:
        assert Counter(sample.labels["label"] for sample in kept) == {"dark": 5, "light": 5}


def test_what_is_outranked_is_no_negative_and_no_source_of_duplicates(generator):
    samples = generator(count=16).run()
    kept, real = {sample.id for sample in accepted(samples)}, {record.id for record in toy.records()}
    assert all(set(sample.negatives) <= kept | real for sample in samples)
    assert {sample.source for sample in samples if sample.verdict == "duplicate"} <= kept


def test_ids_and_seeds_are_those_of_texts_that_nobody_ranks(generator, pair):
    """Ranking looks at what was drawn and draws nothing else: the first round is the same one, in another order."""
    ranked = [s for s in generator(count=4, settings={"group_size": 4}).run() if s.round == 0]
    plain = Generator(
        Local(pair),
        PLAIN,
        toy.records(),
        g.steer(),
        negatives=Negatives(count=3),
        settings=Generation(count=16, round_size=16, group_size=4),
    ).run()
    drawn = {s.id: (s.text, s.seed, s.negatives, s.entropy) for s in plain if s.round == 0}
    assert {s.id: (s.text, s.seed, s.negatives, s.entropy) for s in ranked} == drawn
    assert all(sample.reward is None for sample in plain)


def test_a_resumed_run_ends_with_the_same_files(generator, tmp_path):
    whole = generator(BALANCED, folder=tmp_path / "whole").run()
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert len(files) >= 3
    for done in range(len(files)):
        folder = tmp_path / f"after-{done}"
        folder.mkdir()
        for name in sorted(files)[:done]:
            (folder / name).write_bytes(files[name])
        assert generator(BALANCED, folder=folder).run() == whole
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


def test_the_budget_is_of_texts_that_may_be_kept(generator):
    drawing = generator(count=5, settings={"attempts": 2}, sampling=Sampling(max_new_tokens=1))
    assert drawing.quotas.budget == 5 * 2 * 4
    with pytest.raises(BudgetError, match=r"of 5 samples were accepted in 40 attempts; the gate"):
        drawing.run()


def test_one_in_four_is_kept_where_all_are_well_formed(generator, monkeypatch, pair):
    """And no more are drawn than it takes."""
    rng, module = random.Random(0), importlib.import_module("steer.engine.executor")
    scored = module.decode

    def decode(pair, guidance, requests, sampling, **options):
        if requests[0].forced:
            yield from scored(pair, guidance, requests, sampling, **options)
            return
        for _ in requests:
            yield Completion([*pair.tokenizer(" ".join(rng.sample(toy.WORDS, 9)))["input_ids"], 0], "stop")

    monkeypatch.setattr(module, "decode", decode)
    samples = generator(count=8, by={**RATIO, "factor": 4}, settings={"round_size": 64}).run()
    assert Counter(sample.verdict for sample in samples) == {"accepted": 8, "outranked": 24}


# -- by what -----------------------------------------------------------------------------------------------------


def drawn(pair, texts: list[str], prompt: str = "Write a text.") -> tuple[list[Request], list[Completion]]:
    shown = contexts(pair.tokenizer, prompt, ["old stars glow"])
    completions = [Completion([*pair.tokenizer(text)["input_ids"], 0], "stop") for text in texts]
    return [Request(shown, seed, 20) for seed in range(len(texts))], completions


def test_the_likelihood_ratio_is_that_of_each_stream_on_its_own(pair):
    texts = ["old stars glow", "moons", "dim red rings drift outside of the warm haloes"]
    requests, completions = drawn(pair, texts)
    expected = []
    for text in texts:
        scored = [
            guided_logprobs(pair, one, prompt="Write a text.", text=f"{text} <end>").combined
            for one in (g.domain, g.base)
        ]
        expected.append(float((scored[0] - scored[1]).mean()))
    assert likelihood_ratios(Local(pair), requests, completions) == pytest.approx(expected, abs=1e-5)
    assert len({round(value, 3) for value in expected}) == 3
    assert ranking(**RATIO).rewards(Local(pair), requests, completions, [None] * 3) == pytest.approx(expected, abs=1e-5)


def test_a_sample_holds_the_reward_it_was_ranked_by(generator, pair):
    for sample in generator(count=2).run()[:6]:
        words = pair.tokenizer.decode(sample.token_ids)
        one, other = (
            guided_logprobs(pair, stream, prompt="Write a text.", text=words).combined for stream in (g.domain, g.base)
        )
        assert sample.reward == pytest.approx(float((one - other).mean()), abs=1e-3)


def test_by_a_column_of_numbers(pair):
    fields = ["3", "-1.5", "many", "nan", "inf", " 7 "]
    records = [Record("", {"score": value, "text": "x"}, "x") for value in fields]
    by_column = ranking(by="column:score")
    nothing = ([], [])
    assert by_column.rewards(Local(pair), *nothing, [None, *records]) == [
        -math.inf,
        3,
        -1.5,
        -math.inf,
        -math.inf,
        -math.inf,
        7,
    ]
    assert by_column.rewards(Local(pair), *nothing, [None]) == [-math.inf]
    with pytest.raises(ValueError, match=r"ranking.by=column:grade: the samples have score, text"):
        ranking(by="column:grade").rewards(Local(pair), *nothing, records)


def test_by_a_function_of_the_users_own(pair, rewards):
    records = [Record("", {"text": text}, text) for text in ("one two three", "one", "one two")]
    given = (Local(pair), [], [], [records[0], None, *records[1:]])
    assert ranking(by=f"{rewards}:length").rewards(*given) == [3, -math.inf, 1, 2]
    assert ranking(by=f"{rewards}:undefined").rewards(*given) == [-math.inf] * 4


@pytest.mark.parametrize(
    ("function", "error", "said"),
    [
        ("none_of", ValueError, "rewards.py:none_of gave 0 numbers for 1 texts"),
        ("lenght", ValueError, "rewards.py holds no function lenght"),
        ("value", ValueError, "rewards.py holds no function value"),
    ],
)
def test_a_function_that_cannot_be_used_is_an_error(pair, rewards, function, error, said):
    with pytest.raises(error, match=said):
        ranking(by=f"{rewards}:{function}").rewards(Local(pair), [], [], [Record("", {"text": "x"}, "x")])


def test_a_file_that_is_not_there_is_an_error(pair, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone.py:length: there is no file .*gone.py"):
        ranking(by=f"{tmp_path / 'gone.py'}:length").rewards(Local(pair), [], [], [Record("", {"text": "x"}, "x")])


def test_the_longest_are_kept_where_length_is_the_reward(generator, rewards):
    samples = generator(by={"by": f"{rewards}:length", "factor": 4}).run()
    for sample in samples:
        malformed = sample.verdict == "malformed" and not (sample.text and sample.reason.startswith("cut off"))
        assert sample.reward == (None if malformed else len(sample.text.split()))
    mean = {
        verdict: [len(s.text.split()) for s in samples if s.verdict == verdict] for verdict in ("accepted", "outranked")
    }
    assert sum(mean["accepted"]) / len(mean["accepted"]) > 2 * sum(mean["outranked"]) / len(mean["outranked"])
