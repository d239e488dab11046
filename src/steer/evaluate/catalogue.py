"""Every score there is: the question it answers, its direction, what it looks at, and what is written of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any, Literal

from steer.evaluate import authenticity, coverage, fidelity, views
from steer.evaluate.adversary import FOLDS
from steer.evaluate.intervals import RESAMPLES, SUBSAMPLES, Estimate
from steer.evaluate.views import BLEU_TEXTS, COMPRESSION_DRAWS, VENDI_DRAWS

Question = Literal["diverse", "faithful", "covered", "authentic", "useful"]
QUESTIONS: tuple[Question, ...] = ("diverse", "faithful", "covered", "authentic", "useful")


@dataclass(frozen=True)
class Family:
    """Scores that are measured together.

    scores: name -> whether higher is better, and the definition for its signature, which may name {settings}.
    measure: takes a `Words`, `Vectors`, `Leak` or `Copies`, as `sees` says, and gives an estimate by name.
    optional: the names that are measured only when they are asked for. package, extra: what it takes to be installed.
    """

    question: Question
    sees: Literal["words", "vectors", "leak", "copies"]
    measure: Callable[[Any], Mapping[str, Estimate]]
    interval: str
    scores: Mapping[str, tuple[bool, str]]
    optional: frozenset[str] = frozenset()
    package: str | None = None
    extra: str = "eval"

    @property
    def installed(self) -> bool:
        return self.package is None or find_spec(self.package) is not None


NGRAMS = Family(
    "diverse",
    "words",
    views.estimate_ngrams,
    f"{SUBSAMPLES} half samples",
    {
        "unique_ngram_ratio": (True, "distinct/total 3-grams of the corpus"),
        "unique_ngram_ratio_1": (True, "distinct/total 1-grams of the corpus"),
        "unique_ngram_ratio_2": (True, "distinct/total 2-grams of the corpus"),
        "unique_ngram_ratio_4": (True, "distinct/total 4-grams of the corpus"),
        "ngram_diversity": (True, "product of distinct/total n-grams of the corpus, n=2,3,4"),
        "repeated_ngram_ratio": (False, "1 - distinct/total 3-grams of the corpus"),
        "text_ngram_ratio": (True, "distinct/total 3-grams of a text, mean over texts"),
        "simctg_diversity": (True, "SimCTG: n-grams distinct within a text, summed over texts, product of n=2,3,4"),
        "self_repetition": (False, "log of 1 + 4-grams shared with other texts, mean over texts (Salkar et al. 2022)"),
    },
    optional=frozenset({"repeated_ngram_ratio", "text_ngram_ratio", "simctg_diversity"}),
)

FAMILIES: tuple[Family, ...] = (
    NGRAMS,
    Family(
        "diverse",
        "words",
        views.estimate_compression,
        f"{COMPRESSION_DRAWS} half samples",
        {"compression_ratio": (False, "bytes over bytes gzipped, tokens joined by spaces, texts by line feeds")},
    ),
    Family(
        "diverse",
        "words",
        views.estimate_bleu,
        f"bootstrap of {RESAMPLES} over texts",
        {"self_bleu": (False, f"BLEU-4 of a text against all others, mean over at most {BLEU_TEXTS} texts")},
        optional=frozenset({"self_bleu"}),
    ),
    Family(
        "diverse",
        "vectors",
        views.estimate_vendi,
        f"{VENDI_DRAWS} half samples",
        {"vendi": (True, "effective number of different texts, cosine kernel")},
    ),
    Family(
        "faithful",
        "vectors",
        lambda seen: fidelity.estimate_cosines(seen.real, seen.mine, seen.seed),
        f"bootstrap of {RESAMPLES} over texts",
        {
            "cosine_similarity": (True, "cosine of mean embeddings"),
            "mean_pairwise_cosine": (True, "mean cosine of all pairs of a real and a synthetic text"),
        },
        optional=frozenset({"mean_pairwise_cosine"}),
    ),
    Family(
        "faithful",
        "vectors",
        views.estimate_adversary,
        f"bootstrap of {RESAMPLES} over clusters, classifier not refitted, no narrower than wilson",
        {
            "adversarial_auroc": (
                False,
                f"{{classifier}}, {FOLDS} folds grouped by near copy at {{threshold}} ({{grouped}}), pooled; 0.5 is "
                f"best; p of {{permutations}} permutations of clusters",
            )
        },
    ),
    Family(
        "faithful",
        "vectors",
        lambda seen: fidelity.estimate_mmd(seen.real, seen.mine, seen.seed),
        f"{fidelity.MMD_DRAWS} half samples",
        {
            "mmd": (
                False,
                "unbiased squared MMD, Gaussian kernel as wide as the median distance of real texts; p of "
                f"{fidelity.MMD_PERMUTATIONS} permutations",
            )
        },
    ),
    Family(
        "faithful",
        "vectors",
        lambda seen: fidelity.estimate_mauve(seen.real, seen.mine, seen.seed),
        f"{fidelity.MAUVE_DRAWS} half samples, each with a seed of its own",
        {"mauve": (True, f"mauve-text {{mauve}}, defaults, mean of {fidelity.MAUVE_SEEDS} seeds")},
        package="mauve",
        extra="mauve",
    ),
    Family(
        "covered",
        "vectors",
        lambda seen: coverage.estimate_neighbours(seen.real, seen.mine, seen.seed),
        f"{coverage.NEIGHBOUR_DRAWS} half samples, of shares no narrower than wilson",
        {
            "precision": (True, f"share of texts within a real neighbourhood, k={coverage.K}, euclidean"),
            "recall": (True, f"share of real texts within a synthetic neighbourhood, k={coverage.K}, euclidean"),
            "density": (True, f"real neighbourhoods that hold a text, mean over k, k={coverage.K}, euclidean"),
            "coverage": (True, f"share of real neighbourhoods that hold a text, k={coverage.K}, euclidean"),
        },
    ),
    Family(
        "covered",
        "vectors",
        lambda seen: coverage.estimate_hulls(seen.real, seen.mine, seen.seed, "umap"),
        f"{coverage.HULL_DRAWS} half samples within the projection",
        {
            name: (True, f"{words} in {coverage.DIMENSIONS} UMAP dimensions fitted on both; outliers deceive it")
            for name, words in {
                "hull_precision": "share of texts inside the convex hull of the real ones",
                "hull_recall": "share of real texts inside the convex hull of the others",
                "hull_f": "harmonic mean of hull precision and recall",
            }.items()
        },
        package="umap",
    ),
    Family(
        "covered",
        "vectors",
        lambda seen: coverage.estimate_hulls(seen.real, seen.mine, seen.seed, "pca"),
        f"{coverage.HULL_DRAWS} half samples within the projection",
        {
            name: (True, f"{words} in {coverage.DIMENSIONS} principal components of both; outliers deceive it")
            for name, words in {
                "hull_precision_pca": "share of texts inside the convex hull of the real ones",
                "hull_recall_pca": "share of real texts inside the convex hull of the others",
                "hull_f_pca": "harmonic mean of hull precision and recall",
            }.items()
        },
    ),
    Family(
        "authentic",
        "copies",
        lambda seen: {"copied_share": authenticity.estimate_copied(seen.matches, seen.sources, seen.different)},
        "wilson over different texts",
        {
            "copied_share": (
                False,
                "share of near copies, by indel similarity of {threshold} or a verbatim run of 8+ words over half the "
                "text ({copies})",
            )
        },
    ),
    Family(
        "authentic",
        "leak",
        lambda seen: authenticity.estimate_authenticity(seen.vectors, seen.sources, seen.seed),
        f"wilson over different texts; calibrated: bootstrap of {RESAMPLES}, no narrower",
        {
            "authenticity": (True, "share of texts further from the nearest training text than that is from the next"),
            "calibrated_authenticity": (
                True,
                f"share of texts further, in that ratio, than the closest {authenticity.CLOSEST:.0%} of held-out texts",
            ),
        },
    ),
    Family(
        "authentic",
        "leak",
        views.estimate_membership,
        f"bootstrap of {RESAMPLES} over texts, no narrower than wilson",
        {
            "membership_auroc": (
                False,
                "chance that a training text is nearer to the synthetic texts than a held-out one; 0.5 is best; p of "
                "Mann-Whitney",
            )
        },
    ),
)

USEFULNESS: Mapping[str, tuple[bool, str]] = {
    "downstream_accuracy": (True, "accuracy on real texts after training on synthetic ones; ceiling: on real ones"),
    "downstream_augmented": (
        True,
        "accuracy on real texts after training on both; ceiling: on real ones",
    ),
}
TOSSED = ("adversarial_auroc", "membership_auroc")  # of these a coin toss, 0.5, is the best
NAMES: tuple[str, ...] = (*(name for family in FAMILIES for name in family.scores), *USEFULNESS)

# Scores that depend on how many words there are, and so take as many of every set.
COUNTED: frozenset[str] = frozenset(name for family in FAMILIES if family.sees == "words" for name in family.scores)


def chosen(metrics: Sequence[str] | None) -> list[str]:
    """The names that are asked for, in the order of the catalogue: by name, by question, or "all"; None: the default.

    Raises ValueError on an unknown name, ImportError where one that was named takes a package that is not there.
    """
    if metrics is None:
        optional = {name for family in FAMILIES for name in family.scores if not family.installed} | {
            name for family in FAMILIES for name in family.optional
        }
        return [name for name in NAMES if name not in optional]
    wanted = set()
    for asked in [metrics] if isinstance(metrics, str) else metrics:
        inside = [name for family in FAMILIES if family.question == asked for name in family.scores]
        inside += USEFULNESS if asked == "useful" else []
        inside = list(NAMES) if asked == "all" else inside or [asked]
        wanted.update(inside)
        if unknown := [name for name in inside if name not in NAMES]:
            known = [*NAMES, *QUESTIONS, "all"]
            near = get_close_matches(unknown[0], known, n=1)
            raise ValueError(
                f"unknown metric {unknown[0]!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {known}")
            )
    for family in FAMILIES:
        if wanted & set(family.scores) and not family.installed:
            name = next(name for name in family.scores if name in wanted)
            raise ImportError(f"the metric {name!r} needs: pip install 'steer-text[{family.extra}]'")
    return [name for name in NAMES if name in wanted]


def missing() -> dict[str, str]:
    """The default scores that are left out for want of a package: name -> extra."""
    return {name: family.extra for family in FAMILIES if not family.installed for name in family.scores}
