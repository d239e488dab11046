"""Who is compared with whom, brought to one size. What is sampled is sampled by the hash of its text."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steer.evaluate.diversity import words


@dataclass(frozen=True)
class Sides:
    """Real texts to compare with, and the sets of texts to be compared: all that `evaluate` measures.

    reference: held-out real texts; the first half of them where no training texts are given.
    training: what the generator was trained on, or nothing.
    candidates: sets by name. The first is "synthetic", the second "ceiling": real texts that stand where the synthetic
        ones do (training texts, or the second half of the real ones); then the rivals. Each in an order from which any
        beginning is a sample.
    """

    reference: list[str]
    training: list[str]
    names: list[str]
    candidates: list[list[str]]

    @classmethod
    def of(
        cls,
        real: Sequence[str],
        synthetic: Sequence[str],
        training: Sequence[str],
        rivals: Mapping[str, Sequence[str]],
        seed: int,
    ) -> "Sides":
        for name, texts in {"real": real, "synthetic": synthetic, "train": training, **rivals}.items():
            if isinstance(texts, str):
                raise TypeError(f"{name} is one text; expected a list of texts")
        reference, ceiling = shuffled(real, seed, "real"), training
        if not len(training):
            middle = (len(reference) + 1) // 2
            reference, ceiling = reference[:middle], reference[middle:]
        sets = [shuffled(texts, seed, "candidate") for texts in (synthetic, ceiling, *rivals.values())]
        return cls(reference, sorted(training), ["synthetic", "ceiling", *rivals], sets)

    @property
    def real(self) -> list[str]:
        """The held-out real texts, all of them."""
        return self.reference if self.training else self.reference + self.candidates[1]

    @property
    def texts(self) -> int:
        """How many texts every candidate has; one without any is left out of the count, as it has no score either."""
        return min(filter(None, map(len, self.candidates)), default=0)

    @property
    def words(self) -> int:
        """How many words every candidate has; one without any is left out of the count."""
        return min(filter(None, map(_words, self.candidates)), default=0)

    def notes(self) -> list[str]:
        """What was done to the texts, for the reader of the scores."""
        given = ", ".join(
            f"{name} {len(texts)} texts, {_words(texts)} words"
            for name, texts in zip(self.names, self.candidates, strict=True)
        )
        notes = [
            f"brought to one size: {self.texts} texts a set for fidelity, {self.words} words a set for n-grams "
            f"(given: {given}; reference {len(self.reference)} texts)"
        ]
        if not self.training:
            notes.append(
                "no training texts: real is halved by hash into reference and ceiling, and copies are copies of real"
            )
        sets = {"real": self.real, "training": self.training}
        sets |= {name: texts for name, texts in zip(self.names, self.candidates, strict=True) if name != "ceiling"}
        for name, texts in sets.items():
            if empty := sum(not text.strip() for text in texts):
                notes.append(f"{empty} of {len(texts)} {name} texts are empty; they are counted, not dropped")
        return notes


def shuffled(texts: Sequence[str], seed: int, role: str) -> list[str]:
    """The texts in an order that is random, and the same whatever order they came in.

    Equal texts are told apart by their count: by the text alone, a sample would take all or none of them. The role
    keeps the samples of a text and of its copy apart.
    """
    count: Counter[str] = Counter()
    keyed = []
    for text in texts:
        count[text] += 1
        key = f"{seed}\0{role}\0{count[text]}\0{text}".encode("utf-8", "surrogatepass")
        keyed.append((hashlib.blake2b(key, digest_size=16).digest(), text))
    return [text for _, text in sorted(keyed)]


def _words(texts: list[str]) -> int:
    return sum(len(words(text)) for text in texts)
