"""What the sets of one evaluation are worth to train on: `downstream` and `choices`, asked of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING

from steer.evaluate import copies
from steer.evaluate.adversary import Classifier
from steer.evaluate.corpus import Corpus, Question
from steer.evaluate.intervals import Estimate
from steer.evaluate.sides import Sides
from steer.evaluate.spaces import Space

if TYPE_CHECKING:
    from steer.evaluate.choices import Answerer
    from steer.evaluate.downstream import Result

INTERVAL = "corrected resampled t over splits, or binomial of the tested texts, whichever is wider"
ESTIMATES = {"downstream_accuracy": "synthetic", "downstream_augmented": "both"}


@dataclass(frozen=True, eq=False)
class Usefulness:
    """Results by set; questions go before labels where a corpus has both. answerer: None is the offline default."""

    sides: Sides
    space: Space
    classifier: Classifier
    answerer: "Answerer | None"
    threshold: float
    seed: int

    @property
    def known(self) -> bool:
        """Whether there is anything to learn from the texts."""
        return bool(self.sides.real.questions or self.sides.real.labels)

    @cached_property
    def results(self) -> dict[str, "Result"]:
        sets = {of: one for of, one in self.sides.sets.items() if of != "ceiling"}
        count = min(filter(None, map(len, sets.values())), default=0)
        return {of: self._result(one.first(count)) for of, one in sets.items()}

    def estimates(self, name: str) -> dict[str, Estimate]:
        """By set; the ceiling is training on real texts, as the first set was measured beside it."""
        made = {of: _estimate(result, ESTIMATES[name]) for of, result in self.results.items()}
        return made | {"ceiling": _estimate(self.results["synthetic"], "real")}

    @property
    def signature(self) -> str:
        return self.results["synthetic"].signature

    def _result(self, mine: Corpus) -> "Result":
        if not self.known:
            return unknown("the real texts have no labels: name their column (--label)")
        train = self.sides.training if len(self.sides.training) else None
        sets = [one for one in (train, self.sides.real, mine) if one is not None]
        if any(one.questions is None if self.sides.real.questions else one.labels is None for one in sets):
            return unknown("not all of the sets have labels")
        if self.sides.real.questions:
            return self._answered(train, mine, sets)
        return self._classified(train, mine, sets)

    def _classified(self, train: Corpus | None, mine: Corpus, sets: Sequence[Corpus]) -> "Result":
        from steer.evaluate.downstream import Labelled, classify

        vectors = self.space.together(sets)
        labelled = [Labelled(of, one.labels or ()) for of, one in zip(vectors, sets, strict=True)]
        return classify(
            labelled[0] if train is not None else None,
            labelled[-2],
            labelled[-1],
            classifier=self.classifier,
            groups=copies.near_clusters([text for one in sets for text in one.texts], self.threshold),
            seed=self.seed,
        )

    def _answered(self, train: Corpus | None, mine: Corpus, sets: Sequence[Corpus]) -> "Result":
        from steer.evaluate.choices import ChoiceHead, answer_accuracy

        kept = [[row for row, question in enumerate(one.questions or ()) if question] for one in sets]
        texts = [one.texts[row] for one, rows in zip(sets, kept, strict=True) for row in rows]
        asked = [_questions(one.take(rows)) for one, rows in zip(sets, kept, strict=True)]
        return answer_accuracy(
            asked[0] if train is not None else None,
            asked[-2],
            asked[-1],
            answerer=self.answerer or ChoiceHead(self.space.embedder),
            groups=copies.near_clusters(texts, self.threshold),
            seed=self.seed,
        )


def _questions(corpus: Corpus) -> list[Question]:
    return [question for question in corpus.questions or () if question]


def unknown(reason: str) -> "Result":
    from steer.evaluate.downstream import SETS, Result
    from steer.evaluate.downstream import Usefulness as OfSet

    return Result(dict.fromkeys(SETS, OfSet()), (), nan, "", reason)


def _estimate(result: "Result", of: str) -> Estimate:
    if result.reason is not None:
        return Estimate(nan, reason=result.reason)
    made = result.sets[of]  # type: ignore[index]
    return Estimate(made.mean, made.low, made.high)
