"""Who is compared with whom, brought to one size. What is sampled is sampled by the hash of its text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from steer.evaluate.corpus import Corpus
from steer.similarity import normalise

# Scores that compare every text with every other see at most so many of a set: a sample, which the signature tells.
MOST = 5000


@dataclass(frozen=True)
class Sides:
    """Real texts to compare with, and the sets of texts to be compared: all that `evaluate` measures.

    real: the held-out real texts; reference: those that every set is compared with, which are all of them, or, where
        no training texts are given, the first half.
    training: what the generator was trained on, or nothing.
    sets: by name. The first is "synthetic", the second "ceiling": real texts that stand where the synthetic ones do
        (training texts, or the second half of the real ones); then the rivals. Each in an order from which any
        beginning is a sample.
    repeated: training texts that were repeats of others, and are counted once. seen: real texts that are training
        texts, too, and are left out: nothing is held out about them.
    """

    real: Corpus
    reference: Corpus
    training: Corpus
    sets: dict[str, Corpus]
    tokenise: Callable[[str], list[str]]
    repeated: int
    seen: int
    most_words: int | None = None

    @classmethod
    def of(
        cls,
        real: Corpus,
        synthetic: Corpus,
        training: Corpus,
        rivals: Mapping[str, Corpus],
        tokenise: Callable[[str], list[str]],
        seed: int,
        most_words: int | None = None,
    ) -> "Sides":
        training, repeated = distinct(training)
        real, seen = without(real, training)
        held_out, ceiling = real.shuffled(seed, "real"), training
        reference = held_out
        if not len(training):
            middle = (len(held_out) + 1) // 2
            reference, ceiling = held_out.first(middle), held_out.take(range(middle, len(held_out)))
        sets = {"synthetic": synthetic, "ceiling": ceiling, **rivals}
        return cls(
            held_out,
            reference,
            training.shuffled(seed, "training"),
            {name: one.shuffled(seed, "candidate") for name, one in sets.items()},
            tokenise,
            repeated,
            seen,
            most_words,
        )

    @property
    def sources(self) -> Corpus:
        """What distances to the nearest source are measured to: the training texts, or the first half of the real."""
        return self.training if len(self.training) else self.reference

    @property
    def held_out(self) -> Corpus:
        """Real texts that none of the `sources` is: what distances by chance are."""
        return self.real if len(self.training) else self.sets["ceiling"]

    @property
    def texts(self) -> int:
        """How many texts of every set are compared; one without any is left out of the count: it has no score."""
        return min([MOST, *filter(None, map(len, self.sets.values()))])

    @property
    def words(self) -> int:
        """How many words every set has, and no more than asked for; one without any is left out of the count."""
        fewest = min(filter(None, self._words.values()), default=0)
        return fewest if self.most_words is None else min(fewest, self.most_words)

    @cached_property
    def _words(self) -> dict[str, int]:
        return {name: sum(len(self.tokenise(text)) for text in one.texts) for name, one in self.sets.items()}

    def sizes(self) -> str:
        """The sizes of a comparison, for signatures."""
        return f"{self.texts} texts against {min(MOST, len(self.reference))} real, sampled by seed"

    def notes(self) -> list[str]:
        """What was done to the texts, for the reader of the scores."""
        given = ", ".join(f"{name} {len(one)} texts, {self._words[name]} words" for name, one in self.sets.items())
        notes = [
            f"brought to one size: {self.texts} texts a set for scores of texts, {self.words} words a set for n-grams "
            f"(given: {given}; reference {len(self.reference)} texts)"
        ]
        if self.repeated:
            notes.append(f"{self.repeated} training texts repeat others, and are counted once")
        if self.seen:
            notes.append(f"{self.seen} real texts are training texts, too: they are not held out, and are left out")
        if not len(self.training):
            notes.append(
                "no training texts: real is halved by hash into reference and ceiling, and copies are copies of real"
            )
        sets = {"real": self.real, "training": self.training}
        sets |= {name: one for name, one in self.sets.items() if name != "ceiling"}
        for name, one in sets.items():
            if empty := sum(not text.strip() for text in one.texts):
                notes.append(f"{empty} of {len(one)} {name} texts are empty; they are counted, not dropped")
        return notes


def distinct(corpus: Corpus) -> tuple[Corpus, int]:
    """The corpus without texts that repeat an earlier one, as copies are compared, and how many these were."""
    first: dict[str, int] = {}
    for row, text in enumerate(corpus.texts):
        first.setdefault(normalise(text), row)
    return (corpus if len(first) == len(corpus) else corpus.take(list(first.values()))), len(corpus) - len(first)


def without(corpus: Corpus, others: Corpus) -> tuple[Corpus, int]:
    """The corpus without the texts that are also among the others, and how many these were."""
    known = set(map(normalise, others.texts))
    kept = [row for row, text in enumerate(corpus.texts) if normalise(text) not in known] if known else []
    if not known or len(kept) == len(corpus):
        return corpus, 0
    return corpus.take(kept), len(corpus) - len(kept)
