"""Over-generate and keep: of a group's texts, those with the highest reward (what O'Neill et al. 2023 leave to others).

The reward is the domain-over-base log-likelihood ratio per token, a numeric column of the sample, or whatever a
function of the user's says of the texts.
"""

import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from steer.config import Ranking as Settings
from steer.config import Sampling
from steer.engine.executor import Executor
from steer.engine.requests import Completion, Request
from steer.guidance import base, domain
from steer.records import Record


@dataclass(frozen=True)
class Ranking:
    """Of `factor` texts that are drawn, one is kept."""

    settings: Settings

    @property
    def factor(self) -> int:
        return self.settings.factor

    def rewards(
        self,
        executor: Executor,
        requests: Sequence[Request],
        completions: Sequence[Completion],
        records: Sequence[Record | None],
    ) -> list[float]:
        """A number for each text, the higher the better; -inf where there is no record, or none to be had.

        Raises ValueError where a column or a function gives something else than numbers.
        """
        if self.settings.by == "likelihood_ratio":
            return likelihood_ratios(executor, requests, completions)
        known = [record for record in records if record is not None]
        column = self.settings.column
        values = iter(self._scored(known) if column is None else self._column(known, column))
        return [-math.inf if record is None else next(values) for record in records]

    def _column(self, records: Sequence[Record], name: str) -> list[float]:
        if records and name not in records[0].fields:
            raise ValueError(f"ranking.by={self.settings.by}: the samples have {', '.join(records[0].fields)}")
        return [_number(record.fields[name]) for record in records]

    def _scored(self, records: Sequence[Record]) -> list[float]:
        values = [float(value) for value in self._scorer([record.text for record in records])]
        if len(values) != len(records):
            raise ValueError(f"{self.settings.by} gave {len(values)} numbers for {len(records)} texts")
        return [-math.inf if math.isnan(value) else value for value in values]

    @cached_property
    def _scorer(self) -> Callable[[list[str]], Sequence[float]]:
        """The user's function: texts -> a number for each."""
        path, _, name = self.settings.by.rpartition(":")
        spec = importlib.util.spec_from_file_location("scorer", path)
        if not Path(path).is_file() or spec is None or spec.loader is None:
            raise FileNotFoundError(f"ranking.by={self.settings.by}: there is no file {path}")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        function: Callable[[list[str]], Sequence[float]] | None = getattr(module, name, None)
        if not callable(function):
            raise ValueError(f"{path} holds no function {name}")
        return function


def likelihood_ratios(
    executor: Executor, requests: Sequence[Request], completions: Sequence[Completion]
) -> list[float]:
    """log p(text | domain) - log p(text | base), in nats a token, each text after its own prompt."""
    both = domain + 0.5 * (domain - base)
    given = [tuple(completion.token_ids) for completion in completions]
    forced = [Request(r.contexts, 0, len(ids), forced=ids) for r, ids in zip(requests, given, strict=True)]
    scored = executor.decode(both, forced, Sampling(), logprobs=True)
    return [(math.fsum(c.logprobs["domain"]) - math.fsum(c.logprobs["base"])) / len(c.token_ids) for c in scored]


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return -math.inf
    return value if math.isfinite(value) else -math.inf
