"""Embeddings from a server that answers as OpenAI's does. Only this module sends texts anywhere, where it is named."""

import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException, IncompleteRead
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request

import numpy as np

from steer.evaluate.embed import Embeddings, clean, in_a_line

OPENAI = "https://api.openai.com/v1"
BATCH = 64  # texts a request
WAITS = (1, 2, 4, 8, 16, 32)  # seconds before an endpoint is asked again; together the minute its limits are counted by


@dataclass(frozen=True)
class Endpoint:
    """A server that answers POST {url}/embeddings as OpenAI's does. Texts leave this machine when it is asked.

    The key is $OPENAI_API_KEY, sent where there is one. What may pass (429, 5xx, a timeout of so many seconds, a broken
    connection) is tried again after each of WAITS, by `sleep`. Its signature can only tell what was asked for: where
    the server changes the model under a name, delete the cache.
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
        for wait in (*WAITS, None):
            try:
                status, body = self._post(texts)
                if status == 200:
                    return self._read(body, len(texts))
                problem, passing = f"{status}: {_message(body)}", status == 429 or status >= 500
            except (OSError, HTTPException) as error:
                reason = error.reason if isinstance(error, URLError) else error
                problem = in_a_line(f"{type(reason).__name__} {reason}")
                passing = isinstance(reason, TimeoutError | ConnectionResetError | IncompleteRead)
            if wait is None or not passing:
                break
            self.sleep(wait)
        raise ConnectionError(f"{self.url} gave no embeddings of {self.name}: {problem}")

    def _post(self, texts: list[str]) -> tuple[int, bytes]:
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        if not (key.isascii() and key.isprintable()):
            raise ValueError("the environment variable OPENAI_API_KEY holds what is no key")
        if not key and self.url == OPENAI:
            raise ValueError(f"openai:{self.name} needs a key in the environment variable OPENAI_API_KEY")
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        body = json.dumps({"model": self.name, "input": texts}).encode()
        # Without the handler of redirects, which would carry the key to another server.
        opener = OpenerDirector()
        for handler in (ProxyHandler(), HTTPHandler(), HTTPSHandler()):
            opener.add_handler(handler)
        with opener.open(Request(f"{self.url}/embeddings", body, headers), timeout=self.timeout) as response:
            return response.status, response.read()

    def _read(self, body: bytes, count: int) -> Embeddings:
        try:
            rows = sorted(json.loads(body)["data"], key=lambda row: row["index"])
            table = np.array([row["embedding"] for row in rows], dtype=np.float64)
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self.url} answered with something else than embeddings: {_message(body)}") from None
        if [row["index"] for row in rows] != list(range(count)):
            raise ValueError(f"{self.url} gave {len(rows)} vectors for {count} texts, or numbered them otherwise")
        if table.ndim != 2 or not np.isfinite(table).all():
            raise ValueError(f"{self.url} gave vectors that are no finite numbers")
        return table


def endpoint(name: str, rest: str) -> Endpoint:
    """Endpoint of MODEL or MODEL@URL; the name of a model may itself begin with @."""
    model, at, url = rest[:1], *rest[1:].partition("@")[1:]
    model += rest[1:].partition("@")[0]
    parts = urlsplit(url)
    plain = parts.scheme in ("http", "https") and parts.hostname and not parts.query and "@" not in url
    if not model or (at and not plain):
        raise ValueError(f"{name!r}; expected openai:MODEL or openai:MODEL@URL, URL like http://localhost:8080/v1")
    return Endpoint(model, url.rstrip("/") if at else OPENAI)


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    with suppress(KeyError, TypeError, ValueError):
        text = str(json.loads(text)["error"]["message"])
    return in_a_line(text)
