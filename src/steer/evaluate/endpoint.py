"""Embeddings from a server that answers as OpenAI's does."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from steer.endpoint import OPENAI, Server, message, parse
from steer.evaluate.embed import Embeddings, clean

BATCH = 64  # texts a request


@dataclass(frozen=True)
class Endpoint:
    """A server that answers POST {url}/embeddings as OpenAI's does. Texts leave this machine when it is asked.

    timeout, sleep: see `steer.endpoint.Server`. Its signature can only tell what was asked for: where the server
    changes the model under a name, delete the cache.
    """

    name: str
    url: str = OPENAI
    timeout: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    @property
    def signature(self) -> str:
        return f"openai {self.name} at {self.url}"

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D) of N texts. A single space stands for the empty text, which endpoints refuse.

        Raises ConnectionError with what the server said where it refused, ValueError where its answer is no embedding
        of these texts, and where the key is missing.
        """
        inputs = [clean(text) or " " for text in texts]
        batches = [self._ask(inputs[start : start + BATCH]) for start in range(0, len(inputs), BATCH)]
        if len({batch.shape[1] for batch in batches}) > 1:
            raise ValueError(f"{self.url} gave vectors of different lengths for one model")
        return np.concatenate(batches) if batches else np.zeros((0, 1))

    def _ask(self, texts: list[str]) -> Embeddings:
        server = Server(self.url, self.timeout, self.sleep)
        try:
            answer = server.post("embeddings", {"model": self.name, "input": texts})
        except ConnectionError as error:
            raise ConnectionError(f"no embeddings of {self.name} from {error}") from None
        return self._read(answer, len(texts))

    def _read(self, answer: dict[str, Any], count: int) -> Embeddings:
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            table = np.array([row["embedding"] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            said = message(json.dumps(answer))
            raise ValueError(f"{self.url} answered with something else than embeddings: {said}") from None
        if [row["index"] for row in rows] != list(range(count)):
            raise ValueError(f"{self.url} gave {len(rows)} vectors for {count} texts, or numbered them otherwise")
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ValueError(f"{self.url} gave vectors that are no finite numbers")
        return table


def endpoint(name: str, rest: str) -> Endpoint:
    """Endpoint of MODEL or MODEL@URL; the name of a model may itself begin with @."""
    return Endpoint(*parse(name, rest))
