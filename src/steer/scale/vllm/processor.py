"""The logits processor, for both interfaces of vLLM: of the first model runner (V1) and of the second (V2)."""

import warnings
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from steer.scale.vllm.groups import Member, sort_out
from steer.scale.vllm.recipe import Mixed, Reading, Recipe, force, mix, note, parse

try:
    import vllm
    from vllm.v1.sample.logits_processor import LogitsProcessor as First
    from vllm.v1.sample.logits_processor.builtin import process_dict_updates
except ImportError as error:
    raise ImportError(
        f"{error}: guided decoding in vLLM needs the package vllm, installed apart because it brings its own torch"
    ) from error

try:
    from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor as Second
except ImportError:  # versions that have one model runner only

    class Second:  # type: ignore[no-redef]
        """Stands for the interface that this version lacks."""


TESTED = ((0, 32), (0, 33))  # from, up to and without
# What would change a row's logits or end it beside us, and its only value.
UNTOUCHED = {
    "n": 1,
    "temperature": 0,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "min_tokens": 0,
    "stop": [],
    "logit_bias": None,
    "allowed_token_ids": None,
    "bad_words": [],
    "structured_outputs": None,
    "thinking_token_budget": None,
    "repetition_detection": None,
    "trace_decode_token_ids": None,
}
ARGUMENTS = {"group": str, "role": int, "seed": int, "recipe": str}


class Guidance(First, Second):  # type: ignore[misc]
    """Draws one token for each group of requests from the weighted sum of their logits, and forces it on all of them.

        LLM(model, logits_processors=[Guidance], async_scheduling=False, enable_chunked_prefill=False)

    A request is of a group by `SamplingParams(temperature=0, stop_token_ids=..., ignore_eos=True, extra_args={"steer":
    {"group": id, "role": r, "seed": int, "recipe": text}})`; `steer.scale.vllm.recipe.write` makes the text. Others
    pass untouched. Accept a group only where all its outputs have the same ids and finish reason: see `groups`. Groups
    must be admitted whole, so the engine should run in the process that adds them (`VLLM_ENABLE_V1_MULTIPROCESSING=0`;
    else about a third may be out of step, and to be drawn again), and `max_num_seqs` be a multiple of their streams.

    On processors vllm 0.32 takes the last adapter for requests without one (vllm-project/vllm#48421): there, send those
    of the base model with an adapter of scale 0. With tensor parallelism every rank runs this on the same gathered
    logits, with noise that is a function of (seed, step, token): all draw the same, if the devices are of one kind.

    Raises ValueError on an engine whose steps cannot be followed, and warns of a version that is not tested.
    """

    def __init__(self, vllm_config: Any, *rest: Any) -> None:
        """rest: device and is_pin_memory (V1), or the states of the requests (V2)."""
        _check(vllm_config)
        self._states: Any = rest[0] if hasattr(rest[0], "prompt_len") else None
        self._members: dict[int, Member] = {}  # by row of the batch (V1) or slot (V2)
        self._readings: OrderedDict[str, Reading] = OrderedDict()
        self._room = 4 * vllm_config.scheduler_config.max_num_seqs

    @classmethod
    def validate_params(cls, sampling_params: Any) -> None:
        """Raises ValueError where a request of a group could not be followed, and says what was expected."""
        arguments = (sampling_params.extra_args or {}).get("steer")
        if arguments is None:
            return
        if not isinstance(arguments, dict) or arguments.keys() != ARGUMENTS.keys():
            raise ValueError(f"extra_args['steer'] is {arguments!r:.80}; expected a dict of {', '.join(ARGUMENTS)}")
        for name, kind in ARGUMENTS.items():
            if type(arguments[name]) is not kind:
                raise ValueError(f"{name} is {arguments[name]!r:.80}; expected {kind.__name__}")
        roles = len(parse(arguments["recipe"]).weights)
        if arguments["role"] not in range(roles):
            raise ValueError(f"role is {arguments['role']}; the recipe has the roles 0 to {roles - 1}")
        for name, value in UNTOUCHED.items():
            if (found := getattr(sampling_params, name, value)) != value and (found or value):
                raise ValueError(f"{name} is {found!r}; expected {value!r}: the recipe alone says how a token is drawn")
        if not sampling_params.stop_token_ids:
            raise ValueError("stop_token_ids is empty; expected the tokens that end a text")

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        """V1: requests have come, gone or moved in the batch."""
        process_dict_updates(self._members, batch_update, lambda params, _, output: _member(params, output))

    def add_request(self, req_idx: int, sampling_params: Any) -> bool:
        """V2: a request takes this slot. Whether it is of a group."""
        member = _member(sampling_params)
        if member is None:
            self._members.pop(req_idx, None)
        else:
            self._members[req_idx] = member
        return member is not None

    def apply(self, logits: Tensor, ctx: Any = None) -> Tensor:
        """(B, V) float32 logits, changed in place at one token of each row of a group. ctx: V2's layout of a batch."""
        if not self._members:
            return logits
        whole, astray = sort_out(self._present(ctx))
        rows, tokens = [], []
        for recipe, together in whole.items():
            at = torch.tensor(together.rows, device=logits.device)
            seeds = torch.tensor(together.seeds, device=logits.device)
            steps = torch.tensor(together.steps, device=logits.device)
            mixed = mix(logits, at, seeds, steps, recipe)
            self._note(recipe, together.names, logits, at, mixed)
            rows.append(at.flatten())
            tokens.append(mixed.drawn.tokens.repeat_interleave(at.shape[1]))
        if astray:
            lost = torch.tensor(astray, device=logits.device)
            rows.append(lost[:, 0])
            tokens.append(lost[:, 1])
        if rows:
            force(logits, torch.cat(rows), torch.cat(tokens))
        return logits

    def read(self, groups: Sequence[str]) -> list[Reading | None]:
        """What was noted of these groups, once; None where nothing was."""
        return [self._readings.pop(group, None) for group in groups]

    def _present(self, ctx: Any) -> Iterable[tuple[int, Member, int]]:
        """Of each row of a group: where it is in the logits, and how many tokens it has so far."""
        if ctx is None:
            return [(row, member, len(member.output)) for row, member in self._members.items()]
        prompts, lengths = self._states.prompt_len.np, ctx.seq_lens_upper_bound_np
        return [
            (row, self._members[slot], int(lengths[row] - prompts[slot]))
            for row, slot in enumerate(ctx.idx_mapping_np.tolist())
            if slot in self._members
        ]

    def _note(self, recipe: Recipe, groups: Sequence[str], logits: Tensor, rows: Tensor, mixed: Mixed) -> None:
        """Keep what the recipe asks for, of as many texts as may be in flight and some more."""
        if recipe.keep != "nothing":
            for group in groups:
                self._readings.setdefault(group, Reading())
                self._readings.move_to_end(group)
            while len(self._readings) > self._room:
                self._readings.popitem(last=False)
            note([self._readings.get(group, Reading()) for group in groups], logits, rows, mixed, recipe.keep)


class Readings:
    """What a worker answers about the processor in it (`worker_extension_cls`)."""

    def steer_read(self, groups: Sequence[str]) -> list[Reading | None]:
        return self._processor().read(groups)

    def _processor(self) -> Guidance:
        runner: Any = self.model_runner  # type: ignore[attr-defined]
        if hasattr(runner, "sampler") and hasattr(runner.sampler, "logits_processors"):
            processors = runner.sampler.logits_processors
        else:
            processors = runner.input_batch.logitsprocs.non_argmax_invariant
        return next(processor for processor in processors if isinstance(processor, Guidance))


def _member(params: Any, output: Sequence[int] = ()) -> Member | None:
    """The member that these parameters make of a request, if any."""
    arguments = (params.extra_args or {}).get("steer")
    if arguments is None:
        return None
    stops = set(params.stop_token_ids)
    other = next(token for token in range(len(stops) + 1) if token not in stops)
    recipe = parse(arguments["recipe"])
    return Member(arguments["group"], arguments["role"], arguments["seed"], recipe, min(stops), other, output)


def _check(config: Any) -> None:
    scheduler, parallel = config.scheduler_config, config.parallel_config
    wrong = {
        "async_scheduling=False": scheduler.async_scheduling,
        "enable_chunked_prefill=False": scheduler.enable_chunked_prefill,
        "speculative_config=None": config.speculative_config,
        "kv_transfer_config=None": getattr(config, "kv_transfer_config", None),
        "pipeline_parallel_size=1": parallel.pipeline_parallel_size > 1,
        "data_parallel_size=1": parallel.data_parallel_size > 1,
        "enable_batch_sharded_sampling=False": getattr(parallel, "enable_batch_sharded_sampling", False),
    }
    for option, found in wrong.items():
        if found:
            raise ValueError(f"the streams of a text must be computed step by step together: set {option}")
    version = tuple(int(part) for part in vllm.__version__.split(".")[:2] if part.isdigit())
    low, high = (".".join(map(str, bound)) for bound in TESTED)
    if not TESTED[0] <= version < TESTED[1]:
        warnings.warn(f"vllm {vllm.__version__} is not tested with steer: {low} up to {high} is", stacklevel=3)
