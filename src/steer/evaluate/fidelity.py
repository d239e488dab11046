"""Are the synthetic texts, taken together, where the real ones are?

    cosine_similarity     of the mean embeddings, arXiv 2308.07645 p. 5; range [-1, 1], higher is better
    mean_pairwise_cosine  of every synthetic text with every real one, averaged: what the paper's authors computed;
                          range [-1, 1], higher is better
    mmd                   squared maximum mean discrepancy, unbiased, Gaussian kernel (Gretton et al. 2012); 0 or less
                          for one source, lower is better
    mauve                 area under the divergence frontier of quantised embeddings (Pillutla et al. 2021), by the
                          library mauve-text; range (0, 1], higher is better

A classifier between the two sets is in `adversary`.
"""

from collections.abc import Mapping
from functools import partial
from math import nan
from unittest.mock import patch

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.embed import Embeddings
from steer.evaluate.intervals import Estimate, Mask, bootstrap, subsample, undefined

MMD_DRAWS = 100
MMD_PERMUTATIONS = 199
# One seed of k-means moves MAUVE by more than a hundredth: so the value is a mean over seeds, and every half sample of
# its interval has a seed of its own.
MAUVE_SEEDS = 5
MAUVE_DRAWS = 20


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


def mean_pairwise_cosine(
    real: Embeddings,
    synthetic: Embeddings,
    real_counts: ArrayLike | None = None,
    synthetic_counts: ArrayLike | None = None,
) -> float:
    """Mean cosine of all N·M pairs; a zero vector has the cosine 0 with all. Counts as in `cosine_similarity`."""
    a, b = _total(_unit(real), real_counts), _total(_unit(synthetic), synthetic_counts)
    pairs = (len(real) if real_counts is None else np.sum(real_counts)) * (
        len(synthetic) if synthetic_counts is None else np.sum(synthetic_counts)
    )
    return float(np.clip(a @ b / pairs, -1, 1)) if pairs > 0 else nan


def _unit(embeddings: Embeddings) -> Embeddings:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0))


def estimate_cosines(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> dict[str, Estimate]:
    """Both cosines, with bootstrap intervals over the texts of both sides."""
    functions = {"cosine_similarity": cosine_similarity, "mean_pairwise_cosine": mean_pairwise_cosine}
    if reason := unusable(real, synthetic):
        return undefined(functions, reason)
    made = bootstrap(
        lambda *counts: {name: function(real, synthetic, *counts) for name, function in functions.items()},
        (len(real), len(synthetic)),
        dict.fromkeys(functions, (-1.0, 1.0)),
        seed=seed,
    )
    if np.isnan(made["cosine_similarity"].value):
        made["cosine_similarity"] = Estimate(nan, reason="a mean embedding is zero, so it has no direction")
    return made


def kernel(real: Embeddings, synthetic: Embeddings) -> NDArray[np.float64] | None:
    """Gaussian kernel (N + M, N + M) of both sets, real first, its width the median distance of two real texts.

    The width does not depend on the synthetic texts, so that rivals are measured by one yardstick. None where it is 0.
    """
    from scipy.spatial.distance import pdist
    from sklearn.metrics.pairwise import rbf_kernel

    width = float(np.median(pdist(real))) if len(real) > 1 else 0.0
    if not width > 0:
        return None
    return np.asarray(rbf_kernel(np.concatenate([real, synthetic]), gamma=0.5 / width**2))


def mmd(kernel: NDArray[np.float64], synthetic: Mask, chosen: Mask | None = None) -> float:
    """Unbiased squared MMD from a kernel (N, N), of which `synthetic` (N,) are one sample and the rest the other.

    chosen: (N,) the texts that count. NaN where a sample has fewer than two.
    """
    counted = np.ones(len(kernel), bool) if chosen is None else chosen
    x, y = (counted & ~synthetic).astype(float), (counted & synthetic).astype(float)
    n, m = x.sum(), y.sum()
    if min(n, m) < 2:
        return nan
    to_x, to_y, diagonal = kernel @ x, kernel @ y, np.diag(kernel)
    within = (x @ to_x - diagonal @ x) / (n * (n - 1)) + (y @ to_y - diagonal @ y) / (m * (m - 1))
    return float(within - 2 * (x @ to_y) / (n * m))


def estimate_mmd(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> dict[str, Estimate]:
    """With the interval of half samples, and p of a permutation test."""
    if reason := unusable(real, synthetic):
        return undefined(["mmd"], reason)
    gram = kernel(real, synthetic)
    if gram is None:
        return undefined(["mmd"], "the real texts are too few or too alike: the median of their distances is 0")
    if len(synthetic) < 2:
        return undefined(["mmd"], "fewer than two texts")
    label = np.arange(len(gram)) >= len(real)
    made = subsample(
        lambda *masks: {"mmd": mmd(gram, label, np.concatenate(masks))},
        (len(real), len(synthetic)),
        {"mmd": (-np.inf, np.inf)},
        seed=seed,
        draws=MMD_DRAWS,
    )["mmd"]
    rng = np.random.default_rng(seed)
    as_high = sum(mmd(gram, rng.permutation(label)) >= made.value for _ in range(MMD_PERMUTATIONS))
    p = (1 + as_high) / (1 + MMD_PERMUTATIONS)
    return {"mmd": Estimate(made.value, made.low, made.high, made.reason, p, made.draws)}


def mauve(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> float:
    """One run of mauve-text with its default settings. Raises ImportError where it is not installed."""
    from threadpoolctl import threadpool_limits

    try:
        import faiss
        from mauve import compute_mauve
    except ImportError:
        raise ImportError("mauve needs: pip install 'steer-text[mauve]'") from None
    # It warns in C, where nothing else can silence it, that there could be more points to a cluster.
    quiet = patch.object(faiss, "Kmeans", partial(faiss.Kmeans, min_points_per_centroid=1))
    # Threads cost such small clusterings more than they save, most of all where the cores are shared.
    with quiet, threadpool_limits(1), np.errstate(invalid="ignore"):
        made = compute_mauve(p_features=real, q_features=synthetic, device_id=-1, seed=seed, verbose=False)
    # Where the frontier is a single point, the library takes the area under it for 3/4.
    return 1.0 if np.array_equal(made.p_hist, made.q_hist) else min(1.0, float(made.mauve))


def estimate_mauve(real: Embeddings, synthetic: Embeddings, seed: int = 0) -> dict[str, Estimate]:
    """Mean over seeds of k-means; the interval is of half samples, each with another seed."""
    if reason := unusable(real, synthetic):
        return undefined(["mauve"], reason)
    if min(len(real), len(synthetic)) < 40:
        return undefined(["mauve"], "fewer than 40 texts a side, too few for quantising into clusters")
    whole = float(np.mean([mauve(real, synthetic, seed + i) for i in range(MAUVE_SEEDS)]))
    seeds = iter(range(seed, seed + MAUVE_DRAWS))

    def measured(mine: Mask, theirs: Mask) -> Mapping[str, float]:
        if mine.all() and theirs.all():
            return {"mauve": whole}
        return {"mauve": mauve(real[mine], synthetic[theirs], next(seeds))}

    return subsample(measured, (len(real), len(synthetic)), {"mauve": (0.0, 1.0)}, seed=seed, draws=MAUVE_DRAWS)


def unusable(real: Embeddings, synthetic: Embeddings) -> str | None:
    """Why nothing can be measured, if so."""
    if not len(real):
        return "no real texts to compare with"
    if not len(synthetic):
        return "no texts to measure"
    finite = np.isfinite(real).all() and np.isfinite(synthetic).all()
    return None if finite else "the embeddings hold values that are not finite"
