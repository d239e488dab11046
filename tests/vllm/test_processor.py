"""The processor in both interfaces of vLLM, on batches written by hand."""

import importlib
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from steer.config import Sampling
from steer.scale.vllm.recipe import mix, parse, write

SIZE, STOP = 30, 3
RECIPE = write([1.5, -0.5], Sampling(top_p=0.9), keep="logprobs")


def config(**changes: Any) -> Any:
    scheduler = {"async_scheduling": False, "enable_chunked_prefill": False, "max_num_seqs": 4}
    parallel = {"pipeline_parallel_size": 1, "data_parallel_size": 1, "enable_batch_sharded_sampling": False}
    return SimpleNamespace(
        scheduler_config=SimpleNamespace(**{k: changes.get(k, v) for k, v in scheduler.items()}),
        parallel_config=SimpleNamespace(**{k: changes.get(k, v) for k, v in parallel.items()}),
        speculative_config=changes.get("speculative_config"),
    )


def params(group: str | None = "a", role: Any = 0, recipe: Any = RECIPE, seed: Any = 9, **others: Any) -> Any:
    from vllm import SamplingParams

    steer = {"steer": {"group": group, "role": role, "seed": seed, "recipe": recipe}} if group else {}
    return SamplingParams(**{"temperature": 0, "stop_token_ids": [STOP], "extra_args": steer, **others})


class First:
    """A batch of the first model runner: rows of the batch -> output so far, which the processor shares."""

    def __init__(self) -> None:
        module = importlib.import_module("steer.scale.vllm")
        self.processor = module.Guidance(config(), torch.device("cpu"), False)
        self.outputs: dict[int, list[int]] = {}

    def update(self, *, added: Any = (), removed: Any = (), moved: Any = ()) -> None:
        from vllm.v1.sample.logits_processor import BatchUpdate, MoveDirectionality

        new = []
        for row, param, output in added:
            self.outputs[row] = list(output)
            new.append((row, param, [1, 2], self.outputs[row]))
        swapped = [
            (a, b, MoveDirectionality.SWAP if both else MoveDirectionality.UNIDIRECTIONAL) for a, b, both in moved
        ]
        self.processor.update_state(BatchUpdate(8, list(removed), new, swapped))

    def apply(self, logits: torch.Tensor) -> list[int]:
        tokens: list[int] = self.processor.apply(logits.clone()).argmax(-1).tolist()
        return tokens


class Second:
    """A batch of the second model runner: slots with a prompt of 4 tokens each."""

    def __init__(self) -> None:
        module = importlib.import_module("steer.scale.vllm")
        lengths = SimpleNamespace(np=np.full(8, 4, dtype=np.int32))
        interface = importlib.import_module("vllm.v1.worker.gpu.sample.logits_processor")
        states = interface.LogitsProcRequestState(
            device=torch.device("cpu"),
            max_num_reqs=8,
            vocab_size=SIZE,
            all_token_ids=None,
            prompt_len=lengths,
            prefill_len=lengths,
            total_len=None,
        )
        self.context = interface.LogitsContext
        self.processor = module.Guidance(config(), states)

    def apply(self, logits: torch.Tensor, slots: list[int], steps: list[int]) -> list[int]:
        mapping = torch.tensor(slots)
        context = self.context(
            expanded_idx_mapping=mapping,
            idx_mapping=mapping,
            idx_mapping_np=mapping.numpy(),
            expanded_local_pos=torch.zeros_like(mapping),
            input_ids=torch.zeros_like(mapping),
            pos=torch.tensor(steps) + 3,
            seq_lens_upper_bound_np=np.array(steps, dtype=np.int32) + 4,
        )
        tokens: list[int] = self.processor.apply(logits.clone(), context).argmax(-1).tolist()
        return tokens


def rows_of(count: int) -> torch.Tensor:
    return 3 * torch.randn(count, SIZE, generator=torch.Generator().manual_seed(1))


def expected(logits: torch.Tensor, rows: list[int], step: int, seed: int = 9) -> int:
    mixed = mix(logits, torch.tensor([rows]), torch.tensor([seed]), torch.tensor([step]), parse(RECIPE))
    return int(mixed.drawn.tokens)


def test_first_interface_follows_requests_through_the_batch():
    first, logits = First(), rows_of(5)
    plain = logits.argmax(-1).tolist()
    assert first.apply(logits) == plain
    first.update(added=[(0, params(role=1), []), (1, params(None), []), (3, params(role=0), [])])
    token = expected(logits, [3, 0], step=0)
    assert first.apply(logits) == [token, plain[1], plain[2], token, plain[4]]
    first.outputs[0].append(token)
    first.outputs[3].append(token)
    later = expected(logits, [3, 0], step=1)
    assert later != token, "the noise is that of the step"
    assert first.apply(logits) == [later, plain[1], plain[2], later, plain[4]]
    first.update(moved=[(0, 1, True), (3, 2, False)])
    moved = expected(logits, [2, 1], step=1)
    assert first.apply(logits) == [plain[0], moved, moved, plain[3], plain[4]]
    first.update(removed=[1, 2])
    assert first.apply(logits) == plain


def test_first_interface_a_row_that_is_preempted_and_returns():
    first, logits = First(), rows_of(3)
    plain = logits.argmax(-1).tolist()
    first.update(added=[(0, params(role=0), [5, 6]), (1, params(role=1), [5, 6])])
    assert first.apply(logits)[:2] == [expected(logits, [0, 1], step=2)] * 2
    first.update(removed=[0])
    assert first.apply(logits) == [plain[0], 0, plain[2]]
    first.outputs[1].append(0)
    first.update(added=[(2, params(role=0), [5, 6])])
    assert first.apply(logits) == [plain[0], STOP, STOP], "one is a token ahead; both end"


def test_a_row_of_another_group_does_not_make_up_for_one_that_lacks():
    first, logits = First(), rows_of(4)
    first.update(
        added=[(0, params("a", 0), []), (1, params("b", 1), []), (2, params("c", 0), []), (3, params("c", 1), [])]
    )
    token = expected(logits, [2, 3], step=0)
    assert first.apply(logits) == [STOP, 0, token, token]


def test_second_interface_follows_slots():
    second, logits = Second(), rows_of(4)
    plain = logits.argmax(-1).tolist()
    assert second.processor.add_request(5, params(role=0))
    assert second.processor.add_request(2, params(role=1))
    assert not second.processor.add_request(7, params(None))
    token = expected(logits, [3, 0], step=6)
    assert second.apply(logits, [2, 7, 1, 5], [6, 3, 0, 6]) == [token, plain[1], plain[2], token]
    assert second.apply(logits, [5, 7, 1, 2], [6, 3, 0, 7]) == [STOP, plain[1], plain[2], 0], "out of step"
    second.processor.add_request(5, params(None))
    assert second.apply(logits, [5, 2, 1, 7], [0, 8, 0, 0]) == [plain[0], STOP, plain[2], plain[3]]


def test_both_interfaces_draw_the_same():
    first, second, logits = First(), Second(), rows_of(4)
    requests = [params("a", 0), params("b", 1), params("a", 1), params("b", 0)]
    first.update(added=[(row, request, [5]) for row, request in enumerate(requests)])
    for slot, request in zip([6, 0, 3, 1], requests, strict=True):
        second.processor.add_request(slot, request)
    tokens = first.apply(logits)
    assert tokens == second.apply(logits, [6, 0, 3, 1], [1, 1, 1, 1])
    assert tokens[0] == tokens[2] == expected(logits, [0, 2], step=1)
    assert tokens[1] == tokens[3] == expected(logits, [3, 1], step=1)


def test_readings_are_given_once_and_bounded():
    first, logits = First(), rows_of(2)
    for group in map(str, range(40)):
        first.update(added=[(0, params(group, 0), []), (1, params(group, 1), [])])
        first.apply(logits)
    (last,) = first.processor.read(["39"])
    assert len(last.entropy) == len(last.combined) == len(last.streams) == 1
    assert first.processor.read(["39", "0"]) == [None, None]
    assert sum(found is not None for found in first.processor.read([str(i) for i in range(40)])) == 4 * 4 - 1


def test_requests_of_a_group_are_checked():
    from steer.scale.vllm import Guidance

    Guidance.validate_params(params())
    Guidance.validate_params(params(None, temperature=1.0, stop_token_ids=[]))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"temperature": 0.5}, "temperature is 0.5; expected 0"),
        ({"presence_penalty": 0.5}, "presence_penalty is 0.5; expected 0"),
        ({"repetition_penalty": 1.5}, "repetition_penalty is 1.5; expected 1"),
        ({"min_tokens": 2}, "min_tokens is 2"),
        ({"stop": ["x"]}, "stop is"),
        ({"logit_bias": {1: 2.0}}, "logit_bias is"),
        ({"allowed_token_ids": [1]}, "allowed_token_ids is"),
        ({"bad_words": ["x"]}, "bad_words is"),
        ({"stop_token_ids": []}, "stop_token_ids is empty"),
        ({"role": 2}, "role is 2; the recipe has the roles 0 to 1"),
        ({"role": "0"}, "role is '0'; expected int"),
        ({"seed": 1.5}, "seed is 1.5; expected int"),
        ({"recipe": {"weights": [1.0]}}, "expected str"),
        ({"recipe": "{}"}, "expected a JSON object"),
        ({"extra_args": {"steer": {"group": "a"}}}, "expected a dict of group, role, seed, recipe"),
    ],
)
def test_a_request_that_cannot_be_followed_is_refused(changes, complaint):
    from steer.scale.vllm import Guidance

    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        Guidance.validate_params(params(**changes))


def test_more_than_one_output_is_refused():
    from steer.scale.vllm import Guidance

    several = params()
    several.n = 2  # vLLM itself refuses it with temperature 0
    with pytest.raises(ValueError, match="n is 2; expected 1"):
        Guidance.validate_params(several)


@pytest.mark.parametrize(
    ("changes", "option"),
    [
        ({"async_scheduling": True}, "async_scheduling=False"),
        ({"enable_chunked_prefill": True}, "enable_chunked_prefill=False"),
        ({"speculative_config": object()}, "speculative_config=None"),
        ({"pipeline_parallel_size": 2}, "pipeline_parallel_size=1"),
        ({"data_parallel_size": 2}, "data_parallel_size=1"),
        ({"enable_batch_sharded_sampling": True}, "enable_batch_sharded_sampling=False"),
    ],
)
def test_an_engine_whose_steps_cannot_be_followed_is_refused(changes, option):
    from steer.scale.vllm import Guidance

    with pytest.raises(ValueError, match=f"set {option}"):
        Guidance(config(**changes), torch.device("cpu"), False)


@pytest.mark.parametrize(("version", "warned"), [("0.32.4", False), ("0.33.0", True), ("0.31.9", True), ("1.0", True)])
def test_a_version_that_is_not_tested_is_warned_of(monkeypatch, version, warned):
    import vllm

    from steer.scale.vllm import Guidance

    monkeypatch.setattr(vllm, "__version__", version)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        Guidance(config(), torch.device("cpu"), False)
    assert [str(w.message) for w in said] == [f"vllm {version} is not tested with steer: 0.32 up to 0.33 is"] * warned
