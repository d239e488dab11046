"""Can a classifier tell the synthetic texts from real ones?

    adversarial_auroc   of a classifier that tells synthetic from real, on texts it was not trained on; range [0, 1],
                        0.5 is best, lower is better: indistinguishable

Folds are grouped by near-duplicate cluster over both sets together. Ungrouped, the copies of a text straddle folds:
exact copies of the real texts then score far below 0.5 (each is recognised by its twin of the other label), and a set
of a few repeated texts close to 1 (each is recognised by itself).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.embed import Embeddings, TfidfSvd
from steer.evaluate.intervals import Estimate, at_least_wilson, bootstrap

FOLDS = 5
PERMUTATIONS = 99
Classifier = Literal["logistic", "xgboost"]
Labels = NDArray[np.bool_]


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
    reason: why there are no scores, if there are none. p: of the permutation test; NaN where it was not made.
    """

    synthetic: Labels
    scores: NDArray[np.float64]
    clusters: NDArray[np.int64]
    reason: str | None = None
    p: float = nan

    def auroc(self, counts: ArrayLike | None = None) -> float:
        """Of all folds' scores together; counts (C,) say how often each cluster is counted."""
        if self.reason is not None:
            return nan
        return auroc(self.synthetic, self.scores, None if counts is None else np.asarray(counts)[self.clusters])

    def estimate(self, seed: int = 0) -> Estimate:
        """AUROC with the bootstrap interval over clusters of the scores, no narrower than that of a share of as many.

        Nothing is trained again, so the bootstrap alone leaves out what another training set would change.
        """
        if self.reason is not None:
            return Estimate(nan, reason=self.reason)
        # Clusters that hold real texts come first, in their order: so they are drawn alike whatever they are held
        # against, and the same real texts are in the resamples of two rivals.
        appearance = np.unique(self.clusters, return_index=True)[1]
        rank = np.argsort(np.argsort(appearance))
        real = int(np.sum(~self.synthetic[appearance]))
        sizes = (real, len(rank) - real) if min(real, len(rank) - real) > 1 else (len(rank),)
        made = bootstrap(
            lambda *counts: {"auroc": self.auroc(np.concatenate(counts)[rank])}, sizes, {"auroc": (0.0, 1.0)}, seed=seed
        )["auroc"]
        # Resampled without training again, the scores vary less than those of fresh texts would.
        return at_least_wilson(replace(made, p=self.p), min(real, len(rank) - real) or len(rank))


@dataclass(frozen=True)
class _Fold:
    """Positions of the training and test texts, and their features (n, D)."""

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    seen: Embeddings
    unseen: Embeddings


def discriminate(
    real_texts: Sequence[str],
    synthetic_texts: Sequence[str],
    clusters: NDArray[np.int64],
    *,
    embeddings: Embeddings | None = None,
    classifier: Classifier = "logistic",
    permutations: int = 0,
    seed: int = 0,
) -> Discrimination:
    """Score every text by a classifier trained on the other folds.

    clusters: (N + M,) near-duplicate clusters of the N real texts, then the M synthetic ones; none is divided. Numbered
        from 0 on, without gaps.
    embeddings: (N + M, D) of an outside embedder; TF-IDF and SVD, fitted inside the fold, if not given.
    permutations: of a test of "both are from one source", which exchanges whole clusters and trains anew each time.
    """
    from threadpoolctl import threadpool_limits

    texts = np.array([*real_texts, *synthetic_texts], dtype=object)
    synthetic = np.arange(len(texts)) >= len(real_texts)
    nothing = np.zeros(len(texts))
    # Every fold needs both classes on both sides, so a class of few clusters (a collapsed set) allows as few folds.
    # A cluster that holds both classes counts for both.
    count = min(FOLDS, *(len(np.unique(clusters[synthetic == side])) for side in (False, True)))
    if count < 2:
        which = "synthetic" if len(np.unique(clusters[synthetic])) < 2 else "real"
        reason = f"fewer than two distinct {which} texts (near copies are one)"
        return Discrimination(synthetic, nothing, clusters, reason)
    folds = _folds(texts, synthetic, clusters, embeddings, count, seed)
    fit = _CLASSIFIERS[classifier](seed)
    scores = _scores(folds, synthetic, fit)
    if scores is None:
        reason = "the near-duplicate clusters cannot be divided into folds with both classes"
        return Discrimination(synthetic, nothing, clusters, reason)
    said = Discrimination(synthetic, scores, clusters)
    rng, observed, as_high = np.random.default_rng(seed), said.auroc(), 0
    # Threads cost so small a fit more than they save, most of all where the cores are shared.
    with threadpool_limits(1):
        for _ in range(permutations):
            exchanged = _exchanged(synthetic, clusters, rng)
            chance = _scores(folds, exchanged, fit)
            as_high += chance is None or auroc(exchanged, chance) >= observed
    return replace(said, p=(1 + as_high) / (1 + permutations)) if permutations else said


def _folds(
    texts: NDArray[np.object_],
    synthetic: Labels,
    clusters: NDArray[np.int64],
    embeddings: Embeddings | None,
    count: int,
    seed: int,
) -> list[_Fold]:
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.preprocessing import StandardScaler

    folds = []
    for train, test in StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(texts, synthetic, clusters):
        # What prepares the features is fitted on the training texts alone.
        if embeddings is None:
            lexical = TfidfSvd(texts[train].tolist(), seed=seed)
            seen, unseen = lexical.embed(texts[train].tolist()), lexical.embed(texts[test].tolist())
        else:
            scaler = StandardScaler().fit(embeddings[train])
            seen, unseen = scaler.transform(embeddings[train]), scaler.transform(embeddings[test])
        folds.append(_Fold(train, test, seen, unseen))
    return folds


def _scores(folds: Sequence[_Fold], synthetic: Labels, classifier: Any) -> NDArray[np.float64] | None:
    """(N,) log-odds by the other folds; None where a fold leaves a single class to train on."""
    scores = np.zeros(len(synthetic))
    for fold in folds:
        labels = synthetic[fold.train]
        if labels.all() or not labels.any():
            return None
        scores[fold.test] = _log_odds(classifier.fit(fold.seen, labels), fold.unseen)
    # What differs by less than the solver's tolerance is a tie, not evidence.
    return np.round(scores, 6)


def _log_odds(classifier: Any, features: Embeddings) -> NDArray[np.float64]:
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(features), dtype=np.float64)
    from scipy.special import logit

    return np.asarray(logit(np.clip(classifier.predict_proba(features)[:, 1], 1e-6, 1 - 1e-6)), dtype=np.float64)


def _logistic(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression

    # Balanced, as the intercept would otherwise tell the class sizes of the fold, and folds are pooled.
    return LogisticRegression(class_weight="balanced", max_iter=1000)


def _xgboost(seed: int) -> Any:
    try:
        from xgboost import XGBClassifier
    except ImportError:
        raise ImportError("the classifier 'xgboost' needs: pip install 'steer-text[eval]'") from None
    return XGBClassifier(n_estimators=100, max_depth=4, learning_rate=0.1, n_jobs=2, random_state=seed)


_CLASSIFIERS: dict[Classifier, Callable[[int], Any]] = {"logistic": _logistic, "xgboost": _xgboost}


def _exchanged(synthetic: Labels, clusters: NDArray[np.int64], rng: np.random.Generator) -> Labels:
    """Which texts are synthetic, had whole clusters been exchanged; those that hold both classes exchange inside."""
    appearance, counts = np.unique(clusters, return_index=True, return_counts=True)[1:]
    theirs = np.bincount(clusters, synthetic)
    mixed = (theirs > 0) & (theirs < counts)
    of_cluster = synthetic[appearance].copy()
    of_cluster[~mixed] = rng.permutation(of_cluster[~mixed])
    exchanged = of_cluster[clusters]
    for cluster in np.flatnonzero(mixed):
        inside = clusters == cluster
        exchanged[inside] = rng.permutation(synthetic[inside])
    return exchanged
