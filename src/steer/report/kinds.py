"""What each score asks, in plain words, under which question it stands, and what can deceive it."""

from dataclasses import dataclass
from typing import Literal

# "half": 0.5 is best, and less than that is no better. "varied": the real texts are best, on either side is worse.
Best = Literal["high", "low", "half", "varied"]

LIKENESS, REACH, VARIETY = "Like the real ones?", "All of the real ones?", "Unlike each other?"
COPIES, USE, OTHER = "Not copied?", "Of any use?", "Further scores"
GROUPS = {
    LIKENESS: "Copied texts do best of all here: read this beside “Not copied?”.",
    REACH: "Whether the synthetic texts reach everything that the real ones are about, or leave some of it out.",
    VARIETY: "The real texts are the measure. Less varied than they are is worse, and more varied can be gibberish.",
    COPIES: "The only scores that catch copying and memorising; every other one rewards them.",
    USE: "A model learns from the texts and is then tested on real ones.",
    OTHER: "",
}
# The scores that a reader should see before all others.
FIRST = (
    "adversarial_auroc",
    "mauve",
    "precision",
    "coverage",
    "ngram_diversity",
    "vendi",
    "copied_share",
    "calibrated_authenticity",
    "membership_auroc",
    "downstream_accuracy",
)


@dataclass(frozen=True)
class Kind:
    """question: may speak of a {training} text; `asks` says what that is."""

    question: str
    group: str
    best: Best
    caution: str = ""

    def asks(self, source: str) -> str:
        """The question. source: "training", or "given real" where no training texts are known."""
        return self.question.replace("{training}", source)


_FAR = "a few far-out texts can make this look good: do not read it alone"
_SAFE = "one safe text over and over can make this look good: read it beside coverage"
_NOISE = "gibberish looks most varied of all"


def _hulls(suffix: str, where: str) -> dict[str, Kind]:
    inside = {
        "hull_precision": "Share of synthetic texts inside the outline of the real ones",
        "hull_recall": "Share of real texts inside the outline of the synthetic ones",
        "hull_f": "Both shares in one number, near the smaller of the two",
    }
    return {name + suffix: Kind(f"{words}, {where}", REACH, "high", _FAR) for name, words in inside.items()}


KINDS = {
    "adversarial_auroc": Kind("How often a classifier picks the synthetic text out of a pair", LIKENESS, "half"),
    "mauve": Kind("How far the two sets, each as a whole, overlap", LIKENESS, "high"),
    "precision": Kind("Share of synthetic texts that lie among real ones", LIKENESS, "high", _SAFE),
    "density": Kind("How many real texts lie around a synthetic one, 1 being usual", LIKENESS, "high", _SAFE),
    "mmd": Kind("How far apart the two sets, each as a whole, lie", LIKENESS, "low"),
    "cosine_similarity": Kind(
        "How near the average text is to the average real text",
        LIKENESS,
        "high",
        "an average hides much: sets that differ can have the same one",
    ),
    "mean_pairwise_cosine": Kind(
        "How near a synthetic text is to a real one, on average over all pairs", LIKENESS, "high", _SAFE
    ),
    "coverage": Kind("Share of real texts that have a synthetic one nearby", REACH, "high"),
    "recall": Kind("Share of real texts that lie among synthetic ones", REACH, "high", _FAR),
    **_hulls("", "on a map of five dimensions (UMAP)"),
    **_hulls("_pca", "in the five directions in which texts differ most (PCA)"),
    "ngram_diversity": Kind(
        "Share of word sequences that do not repeat, 2 to 4 words taken together", VARIETY, "varied", _NOISE
    ),
    "vendi": Kind("How many wholly different texts the set amounts to", VARIETY, "varied", _NOISE),
    "unique_ngram_ratio": Kind("Share of different three-word sequences among all", VARIETY, "varied", _NOISE),
    "unique_ngram_ratio_1": Kind("Share of different words among all", VARIETY, "varied", _NOISE),
    "unique_ngram_ratio_2": Kind("Share of different two-word sequences among all", VARIETY, "varied", _NOISE),
    "unique_ngram_ratio_4": Kind("Share of different four-word sequences among all", VARIETY, "varied", _NOISE),
    "repeated_ngram_ratio": Kind("Share of three-word sequences that are repeats", VARIETY, "varied", _NOISE),
    "text_ngram_ratio": Kind(
        "Share of different three-word sequences within a text",
        VARIETY,
        "varied",
        "sees one text at a time: a set of one text, a thousand times, looks as good",
    ),
    "simctg_diversity": Kind(
        "Share of word sequences that do not repeat within their text, 2 to 4 words taken together",
        VARIETY,
        "varied",
        "sees one text at a time: a set of one text, a thousand times, looks as good",
    ),
    "self_repetition": Kind("How much of a text's four-word sequences others have too", VARIETY, "varied", _NOISE),
    "compression_ratio": Kind("How many times smaller the set gets when it is zipped", VARIETY, "varied", _NOISE),
    "self_bleu": Kind("How much a text reads like the others of its set", VARIETY, "varied", _NOISE),
    "copied_share": Kind(
        "Share of texts that are near copies of a {training} text",
        COPIES,
        "low",
        "sees the wording: a paraphrase is no copy to it",
    ),
    "calibrated_authenticity": Kind(
        "Share of texts that keep the distance from {training} texts which 95% of other real texts keep",
        COPIES,
        "high",
    ),
    "membership_auroc": Kind(
        "How often a training text lies closer to the synthetic texts than a held-out one does",
        COPIES,
        "half",
        "sees the whole: a few copies among many texts do not move it",
    ),
    "authenticity": Kind(
        "Share of texts further from the nearest {training} text than that one is from its own neighbour",
        COPIES,
        "high",
        "real texts are far from 1 as well: hold it against theirs",
    ),
    "downstream_accuracy": Kind(
        "How often a model that learnt from the synthetic texts alone is right about real ones", USE, "high"
    ),
    "downstream_augmented": Kind(
        "How often a model that learnt from real and synthetic texts is right about real ones", USE, "high"
    ),
}
DIRECTIONS = {
    "high": "higher is better",
    "low": "lower is better",
    "half": "0.5 is best: a coin toss",
    "varied": "best near the real texts",
}


def kind(name: str, higher_is_better: bool = True) -> Kind:
    """By the name without the embedder in brackets; a score not known here speaks by its name."""
    plain = name.partition("[")[0]
    return KINDS.get(plain) or Kind(plain.replace("_", " "), OTHER, "high" if higher_is_better else "low")


def direction(name: str, higher_is_better: bool) -> str:
    best = kind(name, higher_is_better).best
    more = f"{'higher' if higher_is_better else 'lower'} is more varied; " if best == "varied" else ""
    return more + DIRECTIONS[best]


def rank(name: str) -> tuple[str, int]:
    """First what the first embedder sees, each score in the order of KINDS."""
    plain, _, embedder = name.partition("[")
    return embedder, list(KINDS).index(plain) if plain in KINDS else len(KINDS)
