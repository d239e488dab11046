"""The protocol: every score of every set, measured in the same way against the same real texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from math import nan
from typing import TYPE_CHECKING, Any

from steer.evaluate import catalogue, copies
from steer.evaluate.adversary import PERMUTATIONS, Classifier
from steer.evaluate.catalogue import Family
from steer.evaluate.corpus import Corpus
from steer.evaluate.details import Details, Suspect, details, suspects
from steer.evaluate.intervals import Difference, Estimate, difference, holm
from steer.evaluate.score import Score, signature
from steer.evaluate.sides import MOST, Sides
from steer.evaluate.spaces import Space
from steer.evaluate.tokens import Tokeniser
from steer.evaluate.usefulness import INTERVAL, Usefulness
from steer.evaluate.views import Copies, Leak, Vectors, Words, log_odds
from steer.progress import Progress
from steer.similarity import CopyFinder, Match, normalise

if TYPE_CHECKING:
    from steer.evaluate.choices import Answerer


@dataclass(frozen=True)
class Settings:
    """What decides the scores beside the texts.

    asked: whether the names were asked for, and are not the default. words: of n-grams, at most.
    """

    names: Sequence[str]
    tokeniser: Tokeniser
    classifier: Classifier
    threshold: float
    seed: int
    answerer: "Answerer | None" = None
    asked: bool = False
    words: int | None = None


@dataclass(frozen=True)
class Row:
    """One score of every set: estimates by the set's name, "synthetic" and "ceiling" among them."""

    name: str
    higher_is_better: bool
    signature: str
    estimates: dict[str, Estimate]

    def score(self, of: str, nucleus: str | None) -> Score:
        mine = self.estimates[of]
        return Score(
            name=self.name,
            value=mine.value,
            low=mine.low,
            high=mine.high,
            higher_is_better=self.higher_is_better,
            ceiling=self.estimates["ceiling"].value,
            baseline=self.estimates[nucleus].value if nucleus else nan,
            signature=self.signature,
            reason=mine.reason,
            p=mine.p,
        )


@dataclass(frozen=True, eq=False)
class Measurement:
    """The sets of one evaluation, and whatever several scores need of them, made once."""

    sides: Sides
    settings: Settings
    spaces: Sequence[Space]
    progress: bool = False

    def rows(self) -> list[Row]:
        """Every score that is asked for, in the order of the catalogue, the first embedder's before the others'."""
        wanted, rows = set(self.settings.names), []
        families = [family for family in catalogue.FAMILIES if wanted & set(family.scores)]
        plain = [family for family in families if family.sees in ("words", "copies")]
        embedding = [family for family in families if family not in plain]
        with Progress("evaluate", len(plain) + len(embedding) * len(self.spaces), shown=self.progress) as progress:
            for space, some in [(None, plain), *((one, embedding) for one in self.spaces)]:
                for family in some:
                    rows += self._measured(family, space)
                    progress.advance(1, next(iter(family.scores)))
        rows += self._useful()
        place = {name: i for i, name in enumerate(catalogue.NAMES)}
        suffixes = ["", *(space.suffix for space in self.spaces if space.suffix)]
        return sorted(rows, key=lambda row: (suffixes.index(_suffix(row.name)), place[row.name.partition("[")[0]]))

    def _measured(self, family: Family, space: Space | None) -> list[Row]:
        names = [name for name in family.scores if name in self.settings.names]
        views = {of: self._view(family, of, space) for of in self.sides.sets}
        estimates = {of: family.measure(view) for of, view in views.items()}
        suffix = space.suffix if space else ""
        return [
            Row(
                name + suffix,
                family.scores[name][0],
                self._signature(family, name, space),
                {of: made[name] for of, made in estimates.items()},
            )
            for name in names
        ]

    def suspects(self) -> list[Suspect]:
        """The synthetic texts that may be copies, where it is asked whether there are any."""
        if not {"copied_share", "calibrated_authenticity"} & set(self.settings.names):
            return []
        return suspects(self.sides, self.spaces[0], self.matches["synthetic"])

    def details(self, given: Mapping[str, Corpus]) -> Details:
        """given: the sets by name, in the order in which they came."""
        space, rows = self.spaces[0], self.sides.sets["synthetic"].rows
        odds = log_odds(self._vectors("synthetic", space))
        judged = list(zip(rows, odds, strict=False))
        return details(self.sides, space, self.settings.tokeniser.split, given, judged, self.settings.seed)

    @cached_property
    def usefulness(self) -> Usefulness:
        settings = self.settings
        return Usefulness(
            self.sides, self.spaces[0], settings.classifier, settings.answerer, settings.threshold, settings.seed
        )

    def _useful(self) -> list[Row]:
        if not (self.usefulness.known or self.settings.asked):
            return []
        says = {
            "learner": self.usefulness.signature,
            "embedder": self.spaces[0].signature,
            "threshold": f"near copies at {self.settings.threshold} left out",
            "interval": INTERVAL,
        }
        return [
            Row(name, higher, signature(definition=definition, **says), self.usefulness.estimates(name))
            for name, (higher, definition) in catalogue.USEFULNESS.items()
            if name in self.settings.names
        ]

    def _view(self, family: Family, of: str, space: Space | None) -> Any:
        sides, seed = self.sides, self.settings.seed
        if family.sees == "words":
            return Words.of(sides.sets[of].texts, self.settings.tokeniser.split, sides.words, seed)
        if family.sees == "copies":
            texts, found = self.copy_sources[of]
            return Copies(self.matches[of], len(found), len(set(map(normalise, texts))))
        assert space is not None
        if family.sees == "leak":
            sources, mine = space.sources(of)
            return Leak(mine, sources, bool(len(sides.training)), seed)
        return self._vectors(of, space)

    def _vectors(self, of: str, space: Space) -> Vectors:
        sides = self.sides
        real, mine = space.beside(of)
        return Vectors(
            real,
            mine,
            sides.reference.texts[:MOST],
            sides.sets[of].texts[: sides.texts],
            lambda: self.clusters[of],
            space.lexical,
            self.settings.classifier,
            self.settings.seed,
        )

    @cached_property
    def clusters(self) -> dict[str, Any]:
        """Near-duplicate labels of the real texts and then of each set, brought to size."""
        return {of: copies.near_clusters(texts, self.settings.threshold) for of, texts in self._grouped.items()}

    @property
    def _grouped(self) -> dict[str, list[str]]:
        real = list(self.sides.reference.texts[:MOST])
        return {of: real + list(one.texts[: self.sides.texts]) for of, one in self.sides.sets.items()}

    @cached_property
    def copy_sources(self) -> dict[str, tuple[Sequence[str], Sequence[str]]]:
        """Per set the texts that may be copies, and those that they may be copies of.

        The ceiling is held-out texts against the training texts, or one half of the real ones against the other.
        """
        sides = self.sides
        sources = sides.training.texts or sides.real.texts
        pairs: dict[str, tuple[Sequence[str], Sequence[str]]]
        pairs = {of: (one.texts, sources) for of, one in sides.sets.items()}
        if len(sides.training):
            return pairs | {"ceiling": (sides.real.texts, sources)}
        return pairs | {"ceiling": (sides.sets["ceiling"].texts, sides.reference.texts)}

    @cached_property
    def matches(self) -> dict[str, list[Match | None]]:
        """Per set, for each of its texts the training text that it copies."""
        finders: dict[int, CopyFinder] = {}
        found = {}
        for of, (texts, sources) in self.copy_sources.items():
            if id(sources) not in finders:
                finders[id(sources)] = CopyFinder(sources, self.settings.threshold)
            found[of] = copies.find(texts, finders[id(sources)], sources)
        return found

    def _signature(self, family: Family, name: str, space: Space | None) -> str:
        settings, sides = self.settings, self.sides
        pairs: dict[str, object] = {"definition": self._definition(family.scores[name][1])}
        if family.sees == "words":
            pairs |= {"tokenisation": settings.tokeniser.name, "sizes": f"{sides.words} tokens a set, sampled by seed"}
        elif family.sees == "copies":
            texts, sources = self.copy_sources["ceiling"]
            kind = "training" if len(sides.training) else "real"
            pairs |= {
                "threshold": settings.threshold,
                "sources": f"{len(self.copy_sources['synthetic'][1])} {kind} texts",
                "ceiling": f"{len(texts)} held-out texts against {len(sources)}",
            }
        elif space is not None:
            seen = space.signature
            if name == "adversarial_auroc":
                inside = "tfidf+svd (lexical) n=1,2, fitted inside the fold"
                seen = inside if space.lexical else f"standardised {seen}"
            pairs["embedder"] = seen
            pairs["sizes"] = sides.sizes()
            if family.sees == "leak":
                kind = "training" if len(sides.training) else "real"
                pairs["sizes"] = f"all texts against {len(sides.sources)} {kind}, {len(sides.held_out)} held-out ones"
                pairs["ceiling"] = "half of the held-out texts, calibrated by the other"
        return signature(**pairs, interval=family.interval, seed=settings.seed)

    def _definition(self, template: str) -> str:
        boosted = self.settings.classifier == "xgboost"
        fields: dict[str, Callable[[], object]] = {
            "classifier": lambda: "xgboost" if boosted else "logistic regression",
            "threshold": lambda: self.settings.threshold,
            "permutations": lambda: 0 if boosted else PERMUTATIONS,
            "copies": lambda: copies.said(*self.copy_sources.values()),
            "grouped": lambda: copies.said(*((texts, texts) for texts in self._grouped.values())),
            "mauve": lambda: metadata.version("mauve-text"),
        }
        return template.format(**{key: get() for key, get in fields.items() if f"{{{key}}}" in template})


def differences(rows: Sequence[Row], rivals: Sequence[str]) -> dict[str, dict[str, Difference]]:
    """Rival -> score -> synthetic minus rival, p adjusted over all of them together."""
    made = {
        (rival, row.name): difference(row.estimates["synthetic"], row.estimates[rival])
        for rival in rivals
        for row in rows
    }
    adjusted = holm({key: one.p for key, one in made.items()})
    return {
        rival: {row.name: replace(made[rival, row.name], adjusted=adjusted[rival, row.name]) for row in rows}
        for rival in rivals
    }


def _suffix(name: str) -> str:
    return name[name.index("[") :] if "[" in name else ""
