"""How good are synthetic texts? Every score beside two yardsticks, measured the same way: real texts and the rivals.

    evaluate(real, synthetic, train=train, baseline=nucleus).scores["adversarial_auroc"]

One file per question: `diversity` (unlike each other?), `fidelity` and `adversary` (like the real ones?), `coverage`
(all of the real ones?), `authenticity` (nobody's already?), `downstream` (of use?). `catalogue` lists the scores,
`protocol` measures them. The order of the rows changes no score.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from steer.evaluate import catalogue
from steer.evaluate.adversary import Classifier
from steer.evaluate.authenticity import CLOSEST
from steer.evaluate.corpus import Corpus, Question, Texts, corpus
from steer.evaluate.details import Details, Suspect
from steer.evaluate.embed import Embedder, HiddenStates, TfidfSvd
from steer.evaluate.intervals import Difference, Estimate
from steer.evaluate.protocol import Measurement, Settings, differences
from steer.evaluate.score import Score, strict
from steer.evaluate.sides import Sides
from steer.evaluate.spaces import Lexical, Outside, Space
from steer.evaluate.tokens import tokeniser
from steer.similarity import THRESHOLD

if TYPE_CHECKING:
    from steer.evaluate.choices import Answerer
    from steer.evaluate.downstream import Result

__all__ = [
    "Corpus",
    "Difference",
    "Embedder",
    "Estimate",
    "Evaluation",
    "HiddenStates",
    "Question",
    "Score",
    "TfidfSvd",
    "evaluate",
]

NUCLEUS = "nucleus"
FEWEST_LABELLED = 10  # texts of a label, real and synthetic, for scores of its own
MOST_LABELS = 20

EmbedderChoice = Literal["tfidf"] | Embedder


@dataclass(frozen=True)
class Evaluation:
    """The scores of the synthetic texts, the same scores of each rival, and what was done to make them comparable.

    differences: by rival and score, the synthetic texts' value minus the rival's. labels: by label, the scores of the
    texts with that label. usefulness: what a model learns from a set, by set and by training size.
    suspects: the synthetic texts that lie too near to a training text, with that text; `rows` count from 0 in what was
    given. details: for pictures, where they were asked for.
    estimates: by set ("synthetic", "ceiling", the rivals) and score, the values with their resamples; those of two
    evaluations against the same real texts are paired, too.
    """

    scores: dict[str, Score]
    rivals: dict[str, dict[str, Score]]
    notes: list[str]
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)
    labels: dict[str, dict[str, Score]] = field(default_factory=dict)
    usefulness: "dict[str, Result]" = field(default_factory=dict)
    suspects: list[Suspect] = field(default_factory=list)
    details: Details | None = None
    estimates: dict[str, dict[str, Estimate]] = field(default_factory=dict, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """The object of metrics.json and of `steer evaluate --json`: strict JSON."""
        made: dict[str, Any] = {
            "scores": _rows(self.scores),
            "rivals": {
                rival: {
                    "scores": _rows(scores),
                    "differences": {name: strict(asdict(one)) for name, one in self.differences.get(rival, {}).items()},
                }
                for rival, scores in self.rivals.items()
            },
            "notes": list(self.notes),
        }
        if self.suspects:
            made["suspects"] = [strict(asdict(suspect)) for suspect in self.suspects]
        if self.usefulness:
            made["usefulness"] = {of: strict(asdict(result)) for of, result in self.usefulness.items()}
        if self.labels:
            made["labels"] = {label: {"scores": _rows(scores)} for label, scores in self.labels.items()}
        return made


def _rows(scores: Mapping[str, Score]) -> dict[str, Any]:
    return {name: score.to_json() for name, score in scores.items()}


def evaluate(
    real: Texts,
    synthetic: Texts,
    *,
    train: Texts | None = None,
    baseline: Texts | None = None,
    rivals: Mapping[str, Texts] | None = None,
    metrics: Sequence[str] | None = None,
    embedder: EmbedderChoice | Sequence[EmbedderChoice] = "tfidf",
    tokenisation: str = "auto",
    classifier: Classifier = "logistic",
    answerer: "Answerer | None" = None,
    seed: int = 0,
    threshold: float = THRESHOLD,
    words: int | None = None,
    details: bool = False,
    progress: bool = False,
) -> Evaluation:
    """Measure synthetic texts against held-out real texts; either as a list, or as a `Corpus` with labels or vectors.

    real: held-out texts; synthetic: the texts to judge.
    train: the texts that the generator was trained on. The ceiling is then a sample of them against `real`, and copies
        are looked for in them. Without, `real` is divided into a reference and a ceiling by hash, and copies are looked
        for in `real`.
    baseline: texts of plain nucleus sampling, which also stand among the rivals as "nucleus"; rivals: other sets.
    metrics: names of scores or of questions ("diverse", "faithful", "covered", "authentic", "useful"), or
        "all"; None: every score but a few doubles, as far as the packages that they take are installed.
    embedder: "tfidf" or an object with `name`, `signature` and `embed`, or several: the first one's scores have the
        plain names, the others' the suffix "[NAME]". The vectors of a `Corpus` stand in the place of the first.
    tokenisation: what n-grams are made of, see `steer.evaluate.tokens.tokeniser`.
    classifier: "logistic" or "xgboost", of the adversary and of usefulness. answerer: what learns from multiple-choice
        questions, `steer.evaluate.choices.ChoiceHead()` if None.
    seed: of samples, folds and intervals. threshold: edit similarity of a near copy, in (0, 1].
    words: n-grams are counted over no more of them, so that several evaluations count over as many.
    details: also what pictures are made of. progress: on standard error.

    Odd input (no texts, one text, empty texts) gives NaN with a reason. Raises ValueError on settings that have no
    meaning, TypeError on a text where texts are expected, ImportError where a score takes a package that is not there.
    """
    if baseline is not None and NUCLEUS in (rivals or {}):
        raise ValueError('a rival is called "nucleus", as the baseline is: rename the rival, or leave out one of them')
    others = {**({} if baseline is None else {NUCLEUS: baseline}), **(rivals or {})}
    if taken := sorted({"real", "synthetic", "train", "baseline", "ceiling"} & set(others)):
        raise ValueError(f"a rival is called {taken[0]!r}, which names something else: rename it")
    given = {"real": real, "synthetic": synthetic, "train": () if train is None else train, **others}
    sets = {name: _corpus(name, texts) for name, texts in given.items()}
    _check_vectors(sets)
    settings = Settings(
        catalogue.chosen(metrics),
        tokeniser(tokenisation, (text for one in sets.values() for text in one.texts)),
        classifier,
        threshold,
        seed,
        answerer,
        asked=metrics is not None,
        words=words,
    )
    embedders = _embedders(embedder)
    made = _measure(sets, settings, embedders, progress, details)
    own = {name: one for name, one in sets.items() if name in ("real", "synthetic", "train")}
    by_label = {label: {name: one.labelled(label) for name, one in own.items()} for label in _labels(sets)}
    labels = {label: _measure(some, settings, embedders, False).scores for label, some in by_label.items()}
    notes = [*made.notes, *_packages(metrics), f"words are counted as: {settings.tokeniser.name}"]
    return replace(made, notes=notes, labels=labels)


def _measure(
    sets: Mapping[str, Corpus],
    settings: Settings,
    embedders: Mapping[str, Embedder | None],
    progress: bool,
    details: bool = False,
) -> Evaluation:
    rivals = {name: one for name, one in sets.items() if name not in ("real", "synthetic", "train")}
    sides = Sides.of(
        sets["real"], sets["synthetic"], sets["train"], rivals, settings.tokeniser.split, settings.seed, settings.words
    )
    measurement = Measurement(sides, settings, _spaces(sides, embedders, settings.seed), progress)
    rows = measurement.rows()
    nucleus = NUCLEUS if NUCLEUS in rivals else None
    scores = {of: {row.name: row.score(of, nucleus) for row in rows} for of in ("synthetic", *rivals)}
    useful = measurement.usefulness.results if any(row.name in catalogue.USEFULNESS for row in rows) else {}
    # The closest 5% of innocent texts lie as near: what lies there is suspect only where there is more of it.
    kept = scores["synthetic"].get("calibrated_authenticity")
    beyond = kept is not None and kept.high < 1 - CLOSEST
    suspects = [one for one in measurement.suspects() if beyond or one.reason != "distance"]
    return Evaluation(
        scores.pop("synthetic"),
        scores,
        sides.notes(),
        differences(rows, list(rivals)),
        usefulness=useful,
        suspects=suspects,
        details=measurement.details(sets) if details else None,
        estimates={of: {row.name: row.estimates[of] for row in rows} for of in sides.sets},
    )


def _spaces(sides: Sides, embedders: Mapping[str, Embedder | None], seed: int) -> list[Space]:
    made: list[Space] = [
        Lexical(sides, seed, suffix) if embedder is None else Outside(sides, embedder, suffix)
        for suffix, embedder in embedders.items()
    ]
    return [Outside(sides, None), *made[1:]] if sides.real.vectors is not None else made


def _corpus(name: str, texts: Texts) -> Corpus:
    try:
        return corpus(texts)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _check_vectors(sets: Mapping[str, Corpus]) -> None:
    having = [name for name, one in sets.items() if one.vectors is not None]
    lacking = [name for name, one in sets.items() if one.vectors is None and len(one)]
    if having and lacking:
        raise ValueError(f"{having[0]} came with embeddings and {lacking[0]} without: give those of all sets, or none")
    widths = {one.vectors.shape[1] for one in sets.values() if one.vectors is not None and len(one)}
    if len(widths) > 1:
        raise ValueError(f"embeddings of {' and '.join(map(str, sorted(widths)))} dimensions came: take one embedder")


def _labels(sets: Mapping[str, Corpus]) -> list[str]:
    """The labels that have scores of their own: the most frequent, of enough real and synthetic texts."""
    real, synthetic = (Counter(sets[name].labels or ()) for name in ("real", "synthetic"))
    counts = real & synthetic
    enough = [label for label, count in counts.most_common(MOST_LABELS) if count >= FEWEST_LABELLED]
    return sorted(enough) if len(real) > 1 else []


def _packages(metrics: Sequence[str] | None) -> list[str]:
    absent = catalogue.missing() if metrics is None else {}
    by_extra = {extra: [name for name in absent if absent[name] == extra] for extra in absent.values()}
    return [
        f"not measured: {', '.join(names)} (pip install 'steer-text[{extra}]')" for extra, names in by_extra.items()
    ]


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
