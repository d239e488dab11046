"""A set as the scores see it, brought to size: its words, its vectors, what it may have been copied from.

And what each view is measured by, where the score itself knows nothing of sets.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from steer.evaluate import authenticity, diversity
from steer.evaluate.adversary import PERMUTATIONS, Classifier, Discrimination, discriminate
from steer.evaluate.authenticity import Sources
from steer.evaluate.bleu import self_bleu
from steer.evaluate.embed import Embeddings
from steer.evaluate.fidelity import unusable
from steer.evaluate.intervals import Estimate, Mask, bootstrap, subsample, undefined
from steer.similarity import Match

UNIT = (0.0, 1.0)
VENDI_DRAWS = 100
COMPRESSION_DRAWS = 50
BLEU_TEXTS = 1000  # each against all others: of more texts, a sample


@dataclass(frozen=True, eq=False)
class Words:
    """A set as word counts see it, cut to as many tokens as every set has.

    passages: the texts as their tokens joined by spaces. ngrams: of n = 1 to 4.
    """

    passages: list[str]
    ngrams: list[diversity.Ngrams]
    seed: int

    @classmethod
    def of(cls, texts: Sequence[str], tokenise: Callable[[str], list[str]], count: int, seed: int) -> "Words":
        passages: list[str] = []

        def kept() -> Iterator[list[str]]:
            left = count
            for text in texts:
                if left <= 0:
                    return
                tokens = tokenise(text)[:left]
                left -= len(tokens)
                passages.append(" ".join(tokens))
                yield tokens

        tokens = diversity.Tokens.of(kept())
        return cls(passages, list(islice(diversity.orders(tokens), 4)), seed)


@dataclass(frozen=True, eq=False)
class Vectors:
    """A set (M, D) beside the held-out real texts (N, D); texts and their clusters (N + M,) are for the classifier.

    lexical: the vectors are TF-IDF, which a classifier has to fit inside its folds.
    """

    real: Embeddings
    mine: Embeddings
    real_texts: Sequence[str]
    texts: Sequence[str]
    clusters: Callable[[], NDArray[np.int64]]
    lexical: bool
    classifier: Classifier
    seed: int


@dataclass(frozen=True, eq=False)
class Leak:
    """A set beside the training texts. trained: whether these are known to be what the generator was trained on."""

    vectors: Embeddings
    sources: Sources
    trained: bool
    seed: int


@dataclass(frozen=True, eq=False)
class Copies:
    """Per text of a set the training text that it copies, if any, of so many; and how many texts are no repeats."""

    matches: Sequence[Match | None]
    sources: int
    different: int


def estimate_ngrams(words: Words) -> dict[str, Estimate]:
    parts, (one, two, three, four) = words.ngrams[1:], words.ngrams

    def measured(chosen: Mask) -> dict[str, float]:
        return {
            "unique_ngram_ratio": three.ratio(chosen),
            "unique_ngram_ratio_1": one.ratio(chosen),
            "unique_ngram_ratio_2": two.ratio(chosen),
            "unique_ngram_ratio_4": four.ratio(chosen),
            "ngram_diversity": diversity.corpus_diversity(parts, chosen),
            "repeated_ngram_ratio": three.repeated_ratio(chosen),
            "text_ngram_ratio": three.text_ratio(chosen),
            "simctg_diversity": diversity.simctg_diversity(parts, chosen),
            "self_repetition": diversity.self_repetition(four, chosen),
        }

    bounds = defaultdict(lambda: UNIT, self_repetition=(0.0, np.inf))
    made = subsample(measured, (len(words.passages),), bounds, seed=words.seed)
    return {name: _or(one, "no text of enough words") for name, one in made.items()}


def estimate_compression(words: Words) -> dict[str, Estimate]:
    texts = np.array(words.passages, dtype=object)

    def measured(chosen: Mask) -> dict[str, float]:
        return {"compression_ratio": diversity.compression_ratio(texts[chosen].tolist())}

    made = subsample(
        measured, (len(texts),), {"compression_ratio": (0.0, np.inf)}, seed=words.seed, draws=COMPRESSION_DRAWS
    )
    return {name: _or(one, "no text to compress") for name, one in made.items()}


def estimate_bleu(words: Words) -> dict[str, Estimate]:
    tokens = [passage.split() for passage in words.passages[:BLEU_TEXTS]]
    if sum(map(bool, tokens)) < 2:
        return undefined(["self_bleu"], "fewer than two texts with words")
    values = self_bleu(tokens)
    values = values[np.isfinite(values)]
    return bootstrap(
        lambda counts: {"self_bleu": float(counts @ values / counts.sum())},
        (len(values),),
        {"self_bleu": UNIT},
        seed=words.seed,
    )


def estimate_vendi(seen: Vectors) -> dict[str, Estimate]:
    if not len(seen.mine):
        return undefined(["vendi"], "no texts to measure")
    if reason := unusable(seen.mine, seen.mine):
        return undefined(["vendi"], reason)
    return subsample(
        lambda chosen: {"vendi": diversity.vendi(seen.mine[chosen])},
        (len(seen.mine),),
        {"vendi": (1.0, float(len(seen.mine)))},
        seed=seen.seed,
        draws=VENDI_DRAWS,
        relative=True,
    )


def estimate_adversary(seen: Vectors) -> dict[str, Estimate]:
    if reason := unusable(seen.real, seen.mine):
        return undefined(["adversarial_auroc"], reason)
    # A boosted tree takes a hundred times as long to train.
    permutations = PERMUTATIONS if seen.classifier == "logistic" else 0
    return {"adversarial_auroc": _discriminated(seen, permutations).estimate(seen.seed)}


def _discriminated(seen: Vectors, permutations: int) -> Discrimination:
    return discriminate(
        seen.real_texts,
        seen.texts,
        seen.clusters(),
        embeddings=None if seen.lexical else np.concatenate([seen.real, seen.mine]),
        classifier=seen.classifier,
        permutations=permutations,
        seed=seen.seed,
    )


def log_odds(seen: Vectors) -> list[float]:
    """Of each text of the set (M,) being told from the real ones; none where a classifier cannot be trained."""
    if unusable(seen.real, seen.mine):
        return []
    said = _discriminated(seen, 0)
    odds: list[float] = [] if said.reason else said.scores[said.synthetic].tolist()
    return odds


def _or(estimate: Estimate, reason: str) -> Estimate:
    return Estimate(estimate.value, reason=reason) if np.isnan(estimate.value) else estimate


def estimate_membership(seen: Leak) -> dict[str, Estimate]:
    if not seen.trained:
        return undefined(["membership_auroc"], "it takes the training texts (--train)")
    return authenticity.estimate_membership(seen.vectors, seen.sources, seen.seed)
