"""How good are synthetic texts? Every score beside two yardsticks, measured the same way: real texts and the rivals.

    evaluate(real, synthetic, train=train, baseline=nucleus).scores["adversarial_auroc"]

One file per question: `fidelity` (like the real ones?), `diversity` (unlike each other?), `authenticity` (nobody's
already?). The order of the rows changes no score.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, Literal

from steer.evaluate import authenticity, diversity, fidelity
from steer.evaluate.embed import Embedder, HiddenStates, TfidfSvd, vectors
from steer.evaluate.intervals import RESAMPLES, SUBSAMPLES, Estimate
from steer.evaluate.score import Score, signature
from steer.evaluate.sides import Sides
from steer.similarity import RUN, THRESHOLD, CopyFinder, clusters

__all__ = ["Embedder", "Estimate", "Evaluation", "HiddenStates", "Score", "TfidfSvd", "evaluate"]

NUCLEUS = "nucleus"
# A score's name, and the n whose unique n-gram ratios it multiplies; the paper's n, 3, has the plain name.
NGRAM_SCORES = {
    "unique_ngram_ratio": (3,),
    "unique_ngram_ratio_1": (1,),
    "unique_ngram_ratio_2": (2,),
    "unique_ngram_ratio_4": (4,),
    "ngram_diversity": diversity.ORDERS,
}

EmbedderChoice = Literal["tfidf"] | Embedder


@dataclass(frozen=True)
class Evaluation:
    """The scores of the synthetic texts, the same scores of each rival, and what was done to make them comparable."""

    scores: dict[str, Score]
    rivals: dict[str, dict[str, Score]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object of metrics.json and of `steer evaluate --json`: strict JSON."""
        return {
            "scores": {name: score.to_json() for name, score in self.scores.items()},
            "rivals": {
                rival: {"scores": {name: score.to_json() for name, score in scores.items()}}
                for rival, scores in self.rivals.items()
            },
            "notes": list(self.notes),
        }


def evaluate(
    real: Sequence[str],
    synthetic: Sequence[str],
    *,
    train: Sequence[str] | None = None,
    baseline: Sequence[str] | None = None,
    rivals: Mapping[str, Sequence[str]] | None = None,
    embedder: EmbedderChoice | Sequence[EmbedderChoice] = "tfidf",
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> Evaluation:
    """Measure synthetic texts against held-out real texts.

    real: held-out texts; synthetic: the texts to judge.
    train: the texts that the generator was trained on. The ceiling is then a sample of them against `real`, and copies
        are looked for in them. Without, `real` is divided into a reference and a ceiling by hash, and copies are looked
        for in `real`.
    baseline: texts of plain nucleus sampling, which also stand among the rivals as "nucleus"; rivals: other sets.
    embedder: "tfidf" or an object with `name`, `signature` and `embed`, or several: the first one's scores have the
        plain names, the others' the suffix "[NAME]".
    seed: of samples, folds and intervals. threshold: edit similarity of a near copy, in (0, 1].

    Odd input (no texts, one text, empty texts) gives NaN with a reason. Raises ValueError on settings that have no
    meaning, TypeError on a text where texts are expected.
    """
    if baseline is not None and NUCLEUS in (rivals or {}):
        raise ValueError('a rival is called "nucleus", as the baseline is: rename the rival, or leave out one of them')
    others = {**({} if baseline is None else {NUCLEUS: baseline}), **(rivals or {})}
    sides = Sides.of(real, synthetic, () if train is None else train, others, seed)
    rows = [*_diversity(sides, seed), *_fidelity(sides, _embedders(embedder), seed, threshold)]
    rows.append(_authenticity(sides, threshold))
    nucleus = None if baseline is None else sides.names.index(NUCLEUS)
    first, _, *rest = ({row.name: row.score(i, nucleus) for row in rows} for i in range(len(sides.candidates)))
    return Evaluation(first, dict(zip(sides.names[2:], rest, strict=True)), sides.notes())


@dataclass(frozen=True)
class _Row:
    """One score of every candidate, in the order of `Sides.candidates`."""

    name: str
    higher_is_better: bool
    signature: str
    estimates: list[Estimate]

    def score(self, candidate: int, nucleus: int | None) -> Score:
        mine = self.estimates[candidate]
        return Score(
            name=self.name,
            value=mine.value,
            low=mine.low,
            high=mine.high,
            higher_is_better=self.higher_is_better,
            ceiling=self.estimates[1].value,
            baseline=nan if nucleus is None else self.estimates[nucleus].value,
            signature=self.signature,
            reason=mine.reason,
        )


def _diversity(sides: Sides, seed: int) -> list[_Row]:
    corpora = [diversity.truncate(texts, sides.words) for texts in sides.candidates]
    ngrams = [{n: diversity.Ngrams.of(corpus, n) for n in (1, 2, 3, 4)} for corpus in corpora]
    rows = []
    for name, orders in NGRAM_SCORES.items():
        says = signature(
            definition=f"{'product of ' if len(orders) > 1 else ''}distinct/total word n-grams of the corpus",
            n=",".join(map(str, orders)),
            tokenisation="lowercased, whitespace",
            sizes=f"{sides.words} words a set, sampled by seed",
            interval=f"{SUBSAMPLES} half samples",
            seed=seed,
        )
        rows.append(_Row(name, True, says, [diversity.estimate([t[n] for n in orders], seed) for t in ngrams]))
    return rows


def _fidelity(sides: Sides, embedders: dict[str, Embedder | None], seed: int, threshold: float) -> list[_Row]:
    real, candidates = sides.reference, [texts[: sides.texts] for texts in sides.candidates]
    labels = [clusters(real + texts, threshold) for texts in candidates]
    sizes = f"{sides.texts} texts against {len(real)} real, sampled by seed"
    rows = []
    for suffix, outside in embedders.items():
        embedder = outside or TfidfSvd(sides.reference + sides.training, seed=seed)
        real_vectors, *theirs = (vectors(embedder, texts) for texts in (real, *candidates))
        cosines = [fidelity.estimate_cosine(real_vectors, mine, seed) for mine in theirs]
        aurocs = [
            fidelity.estimate_auroc(real, mine, label, (real_vectors, vector) if outside else None, seed)
            for mine, label, vector in zip(candidates, labels, theirs, strict=True)
        ]
        cosine = signature(
            definition="cosine of mean embeddings",
            embedder=embedder.signature,
            sizes=sizes,
            interval=f"bootstrap of {RESAMPLES} over texts",
            seed=seed,
        )
        auroc = signature(
            definition=f"logistic regression, {fidelity.FOLDS} folds grouped by near copy, pooled; 0.5 is best",
            embedder=f"standardised {embedder.signature}" if outside else "tfidf+svd (lexical), fitted inside the fold",
            threshold=threshold,
            sizes=sizes,
            interval=f"bootstrap of {RESAMPLES} over clusters, classifier not refitted",
            seed=seed,
        )
        rows.append(_Row(f"cosine_similarity{suffix}", True, cosine, cosines))
        rows.append(_Row(f"adversarial_auroc{suffix}", False, auroc, aurocs))
    return rows


def _authenticity(sides: Sides, threshold: float) -> _Row:
    sources = CopyFinder(sides.training or sides.real, threshold)
    estimates = [authenticity.estimate(texts, sources) for texts in sides.candidates]
    if sides.training:
        held_out, ceiling_sources = sides.real, sources
    else:
        held_out, ceiling_sources = sides.candidates[1], CopyFinder(sides.reference, threshold)
    estimates[1] = authenticity.estimate(held_out, ceiling_sources)
    says = signature(
        definition=f"share of near copies, by indel similarity or a verbatim run of {RUN}+ words over half the text",
        threshold=threshold,
        sources=f"{len(sources)} {'training' if sides.training else 'real'} texts",
        ceiling=f"{len(held_out)} held-out texts against {len(ceiling_sources)}",
        interval="wilson",
    )
    return _Row("copied_share", False, says, estimates)


def _embedders(choice: EmbedderChoice | Sequence[EmbedderChoice]) -> dict[str, Embedder | None]:
    """Suffix of the scores' names -> embedder; None is TF-IDF, which is fitted anew wherever it is used."""
    choices: list[Any] = list(choice) if isinstance(choice, list | tuple) else [choice]
    for one in choices:
        if one != "tfidf" and not all(hasattr(one, member) for member in ("name", "signature", "embed")):
            raise ValueError(f'embedder {one!r}: expected "tfidf" or an object with name, signature and embed(texts)')
    named = {"tfidf" if one == "tfidf" else one.name: None if one == "tfidf" else one for one in choices}
    if not choices or len(named) < len(choices):
        raise ValueError(f"embedders {choices}: expected at least one, and no name twice")
    return {f"[{name}]" if i else "": one for i, (name, one) in enumerate(named.items())}
