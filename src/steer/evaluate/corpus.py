"""A set of texts, and what is known of each of them."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.embed import Embeddings


@dataclass(frozen=True)
class Question:
    """A multiple-choice question, its choices, and the position of the right one; ValueError where that is none."""

    question: str
    choices: tuple[str, ...]
    answer: int

    def __post_init__(self) -> None:
        if not (len(self.choices) > 1 and 0 <= self.answer < len(self.choices)):
            raise ValueError(f"answer {self.answer} of {len(self.choices)} choices; expected one of two or more")


@dataclass(frozen=True, eq=False)
class Corpus:
    """N texts.

    rows: (N) where each stood in what was given. labels: (N) the class of each. vectors: (N, D) the caller's own
    embeddings. questions: (N) the texts as multiple-choice questions, None where one cannot be read so. Each but rows
    None where unknown.
    """

    texts: tuple[str, ...]
    rows: tuple[int, ...]
    labels: tuple[str, ...] | None = None
    vectors: Embeddings | None = None
    questions: tuple[Question | None, ...] | None = None

    @classmethod
    def of(
        cls,
        texts: Sequence[str],
        *,
        labels: Sequence[str] | None = None,
        vectors: ArrayLike | None = None,
        questions: Sequence[Question | None] | None = None,
    ) -> "Corpus":
        """Raises TypeError on a single text, ValueError where there is not one label, vector or question a text."""
        if isinstance(texts, str):
            raise TypeError("one text came, expected a list of texts")
        given = None if vectors is None else np.asarray(vectors, dtype=np.float64)
        if given is not None and not len(texts) and not given.size:
            given = np.zeros((0, 1))
        if given is not None and given.ndim != 2:
            raise ValueError(f"embeddings of shape {given.shape} came, expected (number of texts, dimensions)")
        for what, column in (("labels", labels), ("embeddings", given), ("questions", questions)):
            if column is not None and len(column) != len(texts):
                raise ValueError(f"{len(column)} {what} came for {len(texts)} texts, expected one for each, in order")
        return cls(
            tuple(texts),
            tuple(range(len(texts))),
            None if labels is None else tuple(labels),
            given,
            None if questions is None else tuple(questions),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> "Corpus":
        """The texts at these positions, in this order."""
        rows = [int(row) for row in rows]
        return Corpus(
            tuple(self.texts[row] for row in rows),
            tuple(self.rows[row] for row in rows),
            None if self.labels is None else tuple(self.labels[row] for row in rows),
            None if self.vectors is None else self.vectors[rows],
            None if self.questions is None else tuple(self.questions[row] for row in rows),
        )

    def first(self, count: int) -> "Corpus":
        return self if count >= len(self) else self.take(range(count))

    def labelled(self, label: str) -> "Corpus":
        """The texts with this label, as texts without labels or questions."""
        mine = self.take([row for row, one in enumerate(self.labels or ()) if one == label])
        return replace(mine, labels=None, questions=None)

    def order(self, seed: int, role: str) -> list[int]:
        """Positions in an order that is random, and the same texts in it whatever order they came in.

        Equal texts are told apart by their count: by the text alone, a sample would take all or none of them. The role
        keeps the samples of a text and of its copy apart.
        """
        count: Counter[bytes] = Counter()
        keys = []
        for row, text in enumerate(self.texts):
            mine = text.encode("utf-8", "surrogatepass")
            mine += b"" if self.labels is None else b"\0" + self.labels[row].encode("utf-8", "surrogatepass")
            mine += b"" if self.vectors is None else self.vectors[row].tobytes()
            count[mine] += 1
            keys.append(hashlib.blake2b(f"{seed}\0{role}\0{count[mine]}\0".encode() + mine, digest_size=16).digest())
        return sorted(range(len(keys)), key=keys.__getitem__)

    def shuffled(self, seed: int, role: str) -> "Corpus":
        return self.take(self.order(seed, role))


Texts: TypeAlias = Sequence[str] | Corpus


def corpus(texts: Texts) -> Corpus:
    """What was given for a set of texts, as a corpus."""
    return texts if isinstance(texts, Corpus) else Corpus.of(texts)
