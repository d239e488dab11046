"""Vectors that were computed once, kept by the hash of embedder and text."""

import hashlib
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.embed import Embedder, Embeddings, vectors

T = TypeVar("T")
Kept = dict[bytes, NDArray[np.float32]]

COMMIT = 512  # texts between two writes: so many a killed process loses at most


def default_cache() -> Path:
    """$STEER_CACHE, or the folder steer in the user's cache ($XDG_CACHE_HOME or ~/.cache)."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("STEER_CACHE") or user / "steer").expanduser()


class Store:
    """A table of a sqlite file, which processes and threads may share.

    table: as CREATE TABLE takes it. holds: what is lost without it, for the warning. It is never a reason to fail:
    where it cannot be used, one warning says so, and the work goes on without.
    """

    def __init__(self, file: Path, table: str, holds: str) -> None:
        self.file, self._table, self._holds = file, table, holds
        self._usable, self._lock = True, threading.Lock()

    def attempt(self, action: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What the action makes of the store, in one transaction; `otherwise` from the first failure on."""
        if not self._usable:
            return otherwise
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.file, timeout=60)) as store, store:
                store.execute(f"CREATE TABLE IF NOT EXISTS {self._table}")
                return action(store)
        except (OSError, ValueError, sqlite3.Error) as error:
            with self._lock:
                first, self._usable = self._usable, False
            if first:
                said = f"no cache of {self._holds}: {self.file} cannot be used ({error}); if it is damaged, delete it"
                warnings.warn(said, RuntimeWarning, stacklevel=3)
            return otherwise


class Cached:
    """An embedder whose vectors are kept in folder/embeddings.sqlite, by its signature and the hash of the text.

    Equal texts are embedded once. Vectors are those of a float32, whether kept or fresh.
    """

    def __init__(self, embedder: Embedder, folder: Path) -> None:
        self._embedder = embedder
        table = "vectors (model BLOB, text BLOB, vector BLOB, PRIMARY KEY (model, text))"
        self._store = Store(folder / "embeddings.sqlite", table, "embeddings")

    @property
    def name(self) -> str:
        return self._embedder.name

    @property
    def signature(self) -> str:
        return self._embedder.signature

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D) of N texts; the embedder is asked for those that are new, COMMIT at a time."""
        keys = [_hash(text) for text in texts]
        distinct = dict(zip(keys, texts, strict=True))
        model = _hash(self.signature)
        known: Kept = self._store.attempt(partial(_lookup, model=model, texts=distinct), {})
        new = [key for key in distinct if key not in known]
        for start in range(0, len(new), COMMIT):
            some = new[start : start + COMMIT]
            rows = vectors(self._embedder, [distinct[key] for key in some]).astype("<f4")
            fresh = dict(zip(some, rows, strict=True))
            self._store.attempt(partial(_keep, model=model, fresh=fresh), None)
            known.update(fresh)
        if len(lengths := sorted({len(row) for row in known.values()})) > 1:
            file = self._store.file
            raise ValueError(f"{self.name} gave vectors of {lengths[0]} and {lengths[-1]} numbers; delete {file}")
        return np.stack([known[key] for key in keys]).astype(np.float64) if keys else np.zeros((0, 1))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _lookup(store: sqlite3.Connection, model: bytes, texts: Iterable[bytes]) -> Kept:
    query = "SELECT vector FROM vectors WHERE model = ? AND text = ?"
    found = {text: store.execute(query, (model, text)).fetchone() for text in texts}
    return {text: np.frombuffer(row[0], dtype="<f4") for text, row in found.items() if row}


def _keep(store: sqlite3.Connection, model: bytes, fresh: Mapping[bytes, NDArray[np.float32]]) -> None:
    rows = [(model, text, vector.tobytes()) for text, vector in fresh.items()]
    store.executemany("INSERT OR IGNORE INTO vectors VALUES (?, ?, ?)", rows)
