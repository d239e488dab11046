"""Groups of requests on their way through an engine: admitted whole, gathered again, and run anew if out of step."""

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.scale.vllm.groups import agreed
from steer.scale.vllm.recipe import Reading

TRIES = 5


@dataclass(eq=False)
class Text:
    """A text to draw, or with `forced` to score: for each role its prompt and its adapter.

    prompts: for each role the token ids it is shown. adapters: what `Adapters.at` gives. stops: the ids that end it.
    rows: the finished requests, one for each role. tries: how often it was begun.
    """

    prompts: Sequence[tuple[int, ...]]
    adapters: Sequence[Any]
    seed: int
    recipe: str
    stops: Sequence[int]
    max_new_tokens: int
    forced: tuple[int, ...] | None = None
    rows: list[Any] = field(default_factory=list)
    reading: Reading | None = None
    done: bool = False
    tries: int = 0

    @property
    def read(self) -> list[int]:
        """How many tokens each role has before its first new one."""
        return [len(prompt) + len((self.forced or ())[:-1]) for prompt in self.prompts]


class Flight:
    """What is under way in one engine. reruns: groups that fell out of step and were begun anew."""

    def __init__(self, engine: Any) -> None:
        """engine: a `vllm.v1.engine.llm_engine.LLMEngine` whose core runs in this process."""
        self.engine = engine
        self.reruns = 0
        scheduler = engine.vllm_config.scheduler_config
        self.slots = scheduler.max_num_seqs
        self.budget = scheduler.max_num_scheduled_tokens or scheduler.max_num_batched_tokens
        cache = engine.engine_core.engine_core.scheduler.kv_cache_config
        self.blocks = cache.num_blocks - 1  # one stands for nothing
        self._block_sizes = [group.kv_cache_spec.block_size for group in cache.kv_cache_groups]
        self._waiting: deque[Text] = deque()
        self._flying: dict[str, Text] = {}
        self._names = map(str, itertools.count())

    @property
    def flying(self) -> int:
        """How many texts are under way."""
        return len(self._flying)

    @property
    def idle(self) -> bool:
        return not self._waiting and not self._flying

    def submit(self, texts: Sequence[Text]) -> None:
        self._waiting.extend(texts)

    def withdraw(self, texts: Sequence[Text]) -> None:
        """Forget what is left of these."""
        gone = {id(text) for text in texts if not text.done}
        self._waiting = deque(text for text in self._waiting if id(text) not in gone)
        names = [name for name, text in self._flying.items() if id(text) in gone]
        if names:
            self.engine.abort_request([f"{name}-{r}" for name in names for r in range(len(self._flying[name].prompts))])
            self._read(names)
        for name in names:
            del self._flying[name]

    def step(self, *, reserve: bool = True) -> None:
        """One token for each text under way; those that have ended are `done`.

        reserve: admit a text only where the cache can hold all of it to its last token, so that nothing is preempted.
        """
        self._admit(reserve)
        landed = []
        for output in self.engine.step():
            name, _, role = output.request_id.rpartition("-")
            text = self._flying[name]
            text.rows[int(role)] = output
            if all(text.rows):
                landed.append(name)
        if landed:
            for name, reading in zip(landed, self._read(landed), strict=True):
                self._land(self._flying.pop(name), reading)

    def _land(self, text: Text, reading: Reading | None) -> None:
        outputs = [output.outputs[0] for output in text.rows]
        if text.forced is None and not agreed([(list(o.token_ids), o.finish_reason) for o in outputs]):
            if text.tries == TRIES:
                raise RuntimeError(
                    f"the streams of a text fell out of step {TRIES} times: give vLLM's cache more memory "
                    "(gpu_memory_utilization), or lower generate.lanes"
                )
            self.reruns += 1
            self._waiting.appendleft(text)
            return
        text.reading, text.done = reading, True

    def _read(self, names: Sequence[str]) -> list[Reading | None]:
        found: list[Reading | None] = self.engine.collective_rpc("steer_read", args=(list(names),))[0]
        return found

    def _admit(self, reserve: bool) -> None:
        """Begin the next texts, as long as whole ones fit."""
        slots = self.slots - sum(len(text.prompts) for text in self._flying.values())
        budget = self.budget - (self.slots - slots)
        blocks = self.blocks - sum(map(self._needs, self._flying.values()))
        while self._waiting:
            text = self._waiting[0]
            slots, budget, blocks = slots - len(text.prompts), budget - sum(text.read), blocks - self._needs(text)
            # A text that has failed before waits for room enough, whatever the others do.
            if slots < 0 or budget < 0 or (blocks < 0 and (reserve or text.tries)):
                if not self._flying:
                    raise ValueError(
                        f"one text takes {len(text.prompts)} requests, {sum(text.read)} tokens before its first and "
                        f"{self._needs(text)} blocks of the cache, but the engine has {self.slots}, {self.budget} and "
                        f"{self.blocks}: raise max_num_batched_tokens or gpu_memory_utilization under vllm"
                    )
                return
            self._begin(self._waiting.popleft())

    def _needs(self, text: Text) -> int:
        """The blocks of the cache that hold a text to its last token, none of them shared."""
        longest = [read + text.max_new_tokens for read in text.read]
        return sum(-(-length // size) for length in longest for size in self._block_sizes)

    def _begin(self, text: Text) -> None:
        from vllm.inputs.engine import tokens_input

        name = next(self._names)
        text.rows = [None] * len(text.prompts)
        text.tries += 1
        self._flying[name] = text
        for role, (prompt, adapter) in enumerate(zip(text.prompts, text.adapters, strict=True)):
            ids = tokens_input([*prompt, *(text.forced or ())[:-1]])
            params = _scoring(text.forced[-1]) if text.forced is not None else _drawing(text, name, role)
            self.engine.add_request(f"{name}-{role}", ids, params, lora_request=adapter)


def _drawing(text: Text, name: str, role: int) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0,
        max_tokens=text.max_new_tokens,
        stop_token_ids=list(text.stops),
        ignore_eos=True,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        extra_args={"steer": {"group": name, "role": role, "seed": text.seed, "recipe": text.recipe}},
    )


def _scoring(last: int) -> Any:
    """Each token of the prompt gets its log-probability; the last id of the text is left to be drawn, and is."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=0,
        max_tokens=1,
        prompt_logprobs=0,
        logprobs=0,
        allowed_token_ids=[last],
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
