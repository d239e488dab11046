"""The log-probability that every stream gives each token of a text: one pass through the head for many tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor

from steer.engine.models import Pair
from steer.engine.streams import Features
from steer.guidance import Stream

SPAN = 64  # tokens of one text that go through a head together


class Trace:
    """The features of the texts in flight, kept until a text ends or has SPAN tokens more.

    A head is as wide as the vocabulary, and dozens of rows cost it little more than a few. Features that are logits
    already have been through it, and are as wide: they are not kept beyond their step.
    """

    def __init__(self, pair: Pair, streams: Sequence[Stream], lanes: int) -> None:
        self.pair, self.lanes = pair, lanes
        self.span = SPAN if all(pair.locate(stream)[0].linear for stream in streams) else 1
        self._kept: dict[Stream, Tensor] = {}  # (lanes, span, F)

    def note(self, lanes: Sequence[int], steps: Sequence[int], features: Features) -> None:
        """The features (B, F) from which these lanes' tokens are drawn, each the step-th of its text."""
        for stream, rows in features.items():
            if stream not in self._kept:
                self._kept[stream] = rows.new_zeros(self.lanes, self.span, rows.shape[-1])
            self._kept[stream][torch.tensor(lanes), torch.tensor(steps) % self.span] = rows

    def read(self, lane: int, token_ids: Sequence[int]) -> dict[Stream, list[float]]:
        """The log-probabilities in nats of the tokens of a text that were noted last, up to `span`."""
        tokens = token_ids[(len(token_ids) - 1) // self.span * self.span :]
        return {
            stream: logprob(self.pair.locate(stream)[0].head(kept[lane, : len(tokens)]), tokens)
            for stream, kept in self._kept.items()
        }

    def keep(self, lanes: Sequence[int]) -> None:
        """Drop all lanes but these."""
        self.lanes = len(lanes)
        self._kept = {stream: kept[lanes] for stream, kept in self._kept.items()}


def logprob(logits: Tensor, tokens: Sequence[int] | Tensor) -> list[float]:
    """(T, V) logits and T token ids -> the tokens' log-probabilities in nats."""
    column = torch.as_tensor(tokens, device=logits.device)[:, None]
    values: list[float] = (logits.gather(1, column) - logits.logsumexp(-1, keepdim=True))[:, 0].tolist()
    return values
