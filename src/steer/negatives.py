"""The pool of what exists already, and the draws of negatives from it (Algorithm 1 of arXiv 2308.07645)."""

import random
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steer.config import Form, Negatives
from steer.engine.contexts import prompt_ids
from steer.records import Record


@dataclass(frozen=True)
class Pool:
    """Real training texts and accepted samples as they stood at the start of a round."""

    real: tuple[Record, ...]
    synthetic: tuple[Record, ...] = ()
    _found: dict[tuple[tuple[str, str], ...], tuple[Sequence[Record], Sequence[Record]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def draw(self, settings: Negatives, labels: Mapping[str, str], rng: random.Random) -> list[Record]:
        """`settings.count` texts of the same labels without repeats, real and synthetic mixed, in random order.

        Where one side has too few, the other fills up. Texts given by hand are shown instead, all of them.
        """
        if settings.texts:
            return [Record(f"hand{i}", {}, text) for i, text in enumerate(settings.texts)]
        sides = self._alike(tuple(labels.items()))
        wanted = round(settings.count * settings.real_share)
        real = min(len(sides[0]), max(wanted, settings.count - len(sides[1])))
        synthetic = min(len(sides[1]), settings.count - real)
        drawn = rng.sample(sides[0], real) + rng.sample(sides[1], synthetic)
        rng.shuffle(drawn)
        return drawn

    def _alike(self, labels: tuple[tuple[str, str], ...]) -> tuple[Sequence[Record], Sequence[Record]]:
        """The texts of these labels, of both sides; found once, as many groups ask for the same."""
        if labels not in self._found:
            real, synthetic = ([r for r in side if _has(r, labels)] for side in (self.real, self.synthetic))
            self._found[labels] = real, synthetic
        return self._found[labels]


def _has(record: Record, labels: tuple[tuple[str, str], ...]) -> bool:
    return all(record.fields.get(name) == value for name, value in labels)


def fitting(
    tokenizer: Any, prompt: str, negatives: Sequence[Record], room: int | None, form: Form = "texts"
) -> list[Record]:
    """As many of the negatives, from the first, as fit with the prompt into `room` tokens; none is ever cut in half."""
    if room is None:
        return list(negatives)
    # Each takes at least a token, so no more than `room` are ever looked at.
    most = list(negatives[:room])

    def too_long(count: int) -> bool:
        return len(prompt_ids(tokenizer, prompt, [record.text for record in most[:count]], form)) > room

    return most[: bisect_left(range(1, len(most) + 1), True, key=too_long)]
