"""Are the synthetic texts like the real ones?

    cosine_similarity   of the mean embeddings, arXiv 2308.07645 p. 5; range [-1, 1], higher is better
    adversarial_auroc   of a classifier that tells synthetic from real, on texts it was not trained on; range [0, 1],
                        0.5 is best, lower is better: indistinguishable

Folds are grouped by near-duplicate cluster over both sets together. Ungrouped, the copies of a text straddle folds:
exact copies of the real texts then score far below 0.5 (each is recognised by its twin of the other label), and a set
of a few repeated texts close to 1 (each is recognised by itself).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.embed import Embedder, Embeddings, TfidfSvd, vectors
from steer.evaluate.intervals import Estimate, bootstrap
from steer.similarity import THRESHOLD, clusters

FOLDS = 5


def cosine_similarity(
    real: Embeddings,
    synthetic: Embeddings,
    real_counts: ArrayLike | None = None,
    synthetic_counts: ArrayLike | None = None,
) -> float:
    """Cosine of the angle between the means of two sets of embeddings, (N, D) and (M, D), in [-1, 1].

    Counts (N,) and (M,) say how often each text is counted, once if not given. NaN where a set is empty or a mean is
    zero, since it has no direction then.
    """
    a, b = _total(real, real_counts), _total(synthetic, synthetic_counts)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.clip(a @ b / length, -1, 1)) if length > 0 else nan


def _total(embeddings: Embeddings, counts: ArrayLike | None) -> Embeddings:
    # A mean and a sum point the same way.
    return np.asarray(np.sum(embeddings, axis=0) if counts is None else np.asarray(counts) @ embeddings)


def auroc(synthetic: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Chance that a synthetic text scores above a real one, ties counting half (Mann and Whitney 1947).

    synthetic: (N,) which texts are synthetic; weights: (N,) how often each counts. NaN where a class is empty.
    """
    label = np.asarray(synthetic, dtype=np.float64)
    weight = np.ones(len(label)) if weights is None else np.asarray(weights, dtype=np.float64)
    step = np.unique(np.asarray(scores), return_inverse=True)[1]
    ours, theirs = np.bincount(step, weight * label), np.bincount(step, weight * (1 - label))
    pairs = ours.sum() * theirs.sum()
    return float(ours @ (np.cumsum(theirs) - theirs / 2) / pairs) if pairs > 0 else nan


@dataclass(frozen=True)
class Discrimination:
    """What the classifier said of N texts, each by a fold that did not see it or anything like it.

    synthetic: (N,) which texts are synthetic. scores: (N,) log-odds of being so. clusters: (N,) near-duplicate labels.
    reason: why there are no scores, if there are none.
    """

    synthetic: NDArray[np.bool_]
    scores: NDArray[np.float64]
    clusters: NDArray[np.int64]
    reason: str | None = None

    def auroc(self, counts: ArrayLike | None = None) -> float:
        """Of all folds' scores together; counts (C,) say how often each cluster is counted."""
        if self.reason is not None:
            return nan
        return auroc(self.synthetic, self.scores, None if counts is None else np.asarray(counts)[self.clusters])


def adversarial_auroc(
    real_texts: Sequence[str],
    synthetic_texts: Sequence[str],
    *,
    embedder: Embedder | None = None,
    seed: int = 0,
    threshold: float = THRESHOLD,
) -> float:
    """Cross-validated AUROC of a logistic regression; 0.5 is best. NaN where the texts cannot be divided into folds.

    embedder: whose vectors the classifier sees; TF-IDF and SVD, fitted inside the fold, if not given.
    """
    # Sorted, so that neither folds nor rounding depend on the rows' order.
    real, synthetic = sorted(real_texts), sorted(synthetic_texts)
    embeddings = (vectors(embedder, real), vectors(embedder, synthetic)) if embedder else None
    return estimate_auroc(real, synthetic, clusters(real + synthetic, threshold), embeddings, seed).value


def discriminate(
    real_texts: Sequence[str],
    synthetic_texts: Sequence[str],
    labels: NDArray[np.int64],
    *,
    embeddings: Embeddings | None = None,
    seed: int = 0,
) -> Discrimination:
    """Score every text by a classifier trained on the other folds.

    labels: (N + M,) near-duplicate clusters of the N real texts, then the M synthetic ones; none is divided.
    embeddings: (N + M, D) of an outside embedder; TF-IDF and SVD, fitted inside the fold, if not given.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    texts = np.array([*real_texts, *synthetic_texts], dtype=object)
    synthetic = np.arange(len(texts)) >= len(real_texts)
    scores = np.zeros(len(texts))
    # Every fold needs both classes on both sides, so a class of few clusters (a collapsed set) allows as few folds.
    # A cluster that holds both classes counts for both.
    folds = min(FOLDS, *(len(np.unique(labels[synthetic == side])) for side in (False, True)))
    if folds < 2:
        which = "synthetic" if len(np.unique(labels[synthetic])) < 2 else "real"
        return Discrimination(synthetic, scores, labels, f"fewer than two distinct {which} texts (near copies are one)")
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(texts, synthetic, labels):
        if len(np.unique(synthetic[train])) < 2:
            reason = "the near-duplicate clusters cannot be divided into folds with both classes"
            return Discrimination(synthetic, scores, labels, reason)
        if embeddings is None:
            # Fitted on the training folds alone.
            lexical = TfidfSvd(texts[train].tolist(), seed=seed)
            seen, unseen = lexical.embed(texts[train].tolist()), lexical.embed(texts[test].tolist())
        else:
            seen, unseen = embeddings[train], embeddings[test]
        scores[test] = _log_odds(seen, synthetic[train], unseen, scale=embeddings is not None)
    # What differs by less than the solver's tolerance is a tie, not evidence.
    return Discrimination(synthetic, np.round(scores, 6), labels)


def _log_odds(seen: Embeddings, labels: NDArray[np.bool_], unseen: Embeddings, *, scale: bool) -> NDArray[np.float64]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # Balanced, as the intercept would otherwise tell the class sizes of the fold, and folds are pooled.
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000)
    model = make_pipeline(StandardScaler(), classifier) if scale else classifier
    return np.asarray(model.fit(seen, labels).decision_function(unseen), dtype=np.float64)


def estimate_cosine(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> Estimate:
    """Cosine of the mean embeddings, with the bootstrap interval over texts of both sides."""
    if reason := _unusable(real, synthetic):
        return Estimate(nan, reason=reason)
    value = cosine_similarity(real, synthetic)
    if np.isnan(value):
        return Estimate(nan, reason="a mean embedding is zero, so it has no direction")
    return bootstrap(
        value,
        lambda *counts: cosine_similarity(real, synthetic, *counts),
        (len(real), len(synthetic)),
        (-1.0, 1.0),
        seed=seed,
    )


def estimate_auroc(
    real_texts: Sequence[str],
    synthetic_texts: Sequence[str],
    labels: NDArray[np.int64],
    embeddings: tuple[Embeddings, Embeddings] | None = None,
    seed: int = 0,
) -> Estimate:
    """AUROC of `discriminate`, with the bootstrap interval over clusters of the scores.

    Nothing is trained again, so the interval leaves out what another training set would change. Of indistinguishable
    sets it held 0.5 in 35 of 40 trials at 100 texts a side, and in 30 of 40 at 20.
    """
    if reason := _unusable(*(embeddings or (real_texts, synthetic_texts))):
        return Estimate(nan, reason=reason)
    both = None if embeddings is None else np.concatenate(embeddings)
    said = discriminate(real_texts, synthetic_texts, labels, embeddings=both, seed=seed)
    if said.reason is not None:
        return Estimate(nan, reason=said.reason)
    return bootstrap(said.auroc(), said.auroc, (int(labels.max()) + 1,), (0.0, 1.0), seed=seed)


def _unusable(real: Sequence[str] | Embeddings, synthetic: Sequence[str] | Embeddings) -> str | None:
    if not len(real):
        return "no real texts to compare with"
    if not len(synthetic):
        return "no texts to measure"
    numbers = [side for side in (real, synthetic) if isinstance(side, np.ndarray)]
    return None if all(np.isfinite(side).all() for side in numbers) else "the embedder gave values that are not finite"
