"""What judges have answered, kept by who was asked and what: nothing is asked twice."""

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from steer.evaluate.cache import Store
from steer.study.judge.ask import Answer, Ask


class Kept:
    """Answers in folder/judge.sqlite, by the signature of the judge and the hash of the prompt.

    Those that could not be read are not kept. Threads and processes may share it. Where it cannot be used, one warning
    says so, and the work goes on without.
    """

    def __init__(self, folder: Path, signature: str) -> None:
        table = "answers (judge BLOB, asked BLOB, answer TEXT, PRIMARY KEY (judge, asked))"
        self._store = Store(folder / "judge.sqlite", table, "answers")
        self._judge = hashlib.sha256(signature.encode("utf-8", "surrogatepass")).digest()

    def known(self, asks: Sequence[Ask]) -> dict[Ask, Answer]:
        return self._store.attempt(partial(_lookup, judge=self._judge, asks=asks), {})

    def keep(self, ask: Ask, answer: Answer) -> None:
        if answer.choice:
            row = (self._judge, ask.digest, json.dumps(asdict(answer), ensure_ascii=False))
            self._store.attempt(partial(_keep, row=row), None)


def _lookup(store: sqlite3.Connection, judge: bytes, asks: Sequence[Ask]) -> dict[Ask, Answer]:
    query = "SELECT answer FROM answers WHERE judge = ? AND asked = ?"
    found = {ask: store.execute(query, (judge, ask.digest)).fetchone() for ask in asks}
    return {ask: _answer(row[0]) for ask, row in found.items() if row}


def _answer(text: str) -> Answer:
    """Raises ValueError where the text is none."""
    try:
        answer = Answer(**json.loads(text))
    except TypeError as error:
        raise ValueError(f"it holds what is no answer: {error}") from None
    logprobs = answer.logprobs
    return answer if logprobs is None else Answer(**{**vars(answer), "logprobs": (logprobs[0], logprobs[1])})


def _keep(store: sqlite3.Connection, row: tuple[bytes, bytes, str]) -> None:
    store.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
