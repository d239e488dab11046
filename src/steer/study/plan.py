"""A study: which texts are held against each other, and what is asked of them; study.json of its folder."""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from math import ceil
from pathlib import Path
from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from steer.records import write_text

Side = Literal["a", "b"]
FILE = "study.json"
SECONDS = 15  # that a question takes


class _Noun(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Question(_Noun):
    """name: in files and tables. asks: what annotators read, as in "Which is more creative?"."""

    name: str = Field(pattern=r"^[\w-]+$")
    asks: str = Field(min_length=1)


# Those of the paper (section "Human preference").
CREATIVE = Question(name="creative", asks="Which is more creative?")
PLAUSIBLE = Question(name="plausible", asks="Which is more plausible?")


class Entry(_Noun):
    """A text, the set it is from, and its id there."""

    set: str
    id: str
    text: str


class Pair(_Noun):
    """Two texts; which of them stands first on the page is decided for each annotator (`Study.showing`).

    match: the columns in which both are the same. better: of a gold pair, which of its texts any attentive annotator
    prefers; None for a pair that is asked about in earnest.
    """

    id: str
    a: Entry
    b: Entry
    match: dict[str, str] = {}
    better: Side | None = None

    @property
    def gold(self) -> bool:
        return self.better is not None

    def text(self, side: Side) -> str:
        return self.a.text if side == "a" else self.b.text


class TextSet(_Noun):
    """Where a set of texts is from. gamma, eta: the dials it was drawn with, where these are known."""

    name: str
    source: str
    texts: int
    gamma: float | None = None
    eta: float | None = None


class Showing(_Noun):
    """A pair as one annotator meets it. first: the side on the left, or on top. repeat: whether it came before."""

    pair: str
    first: Side
    repeat: bool = False


class Study(_Noun):
    """What is asked of whom.

    prompt: what the texts are, for annotators. ties: whether "no difference" is an answer. annotators: how many of each
    group see a pair. per_annotator: of how many pairs, at most, one annotator is asked, beside gold and repeated ones.
    repeats: how many pairs an annotator meets twice, the second time with sides exchanged.
    """

    title: str
    prompt: str = ""
    questions: tuple[Question, ...] = Field(default=(CREATIVE, PLAUSIBLE), min_length=1)
    ties: bool = True
    annotators: int = Field(default=3, ge=1)
    per_annotator: int = Field(default=50, ge=1)
    repeats: int = Field(default=3, ge=0)
    seed: int = 0
    sets: tuple[TextSet, ...] = Field(min_length=2)
    pairs: tuple[Pair, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Study":
        for what, names in (
            ("question", [one.name for one in self.questions]),
            ("set", [one.name for one in self.sets]),
            ("pair", [one.id for one in self.pairs]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"the {what} {twice[0]!r} is there twice")
        return self

    @cached_property
    def by_id(self) -> dict[str, Pair]:
        return {pair.id: pair for pair in self.pairs}

    @property
    def asked(self) -> list[Pair]:
        """The pairs that are asked about in earnest."""
        return [pair for pair in self.pairs if not pair.gold]

    @property
    def gold(self) -> list[Pair]:
        return [pair for pair in self.pairs if pair.gold]

    @property
    def shown(self) -> int:
        """How many pairs one annotator meets at most, gold and repeated ones among them."""
        most = min(self.per_annotator, len(self.asked))
        return most + len(self.gold) + min(self.repeats, (most + 1) // 2)

    @property
    def minutes(self) -> int:
        """About how long that takes."""
        return max(1, round(self.shown * len(self.questions) * SECONDS / 60))

    @property
    def people(self) -> int:
        """How many of a group it takes for all votes that are wanted."""
        return ceil(len(self.asked) * self.annotators / min(self.per_annotator, len(self.asked)))

    @cached_property
    def digest(self) -> str:
        """Of everything in it but where the texts lay: votes are kept for this study and no other."""
        told = self.model_dump_json(exclude={"sets": {"__all__": {"source"}}})
        return hashlib.sha256(told.encode()).hexdigest()

    def showing(self, annotator: int, pairs: Sequence[Pair]) -> list[Showing]:
        """The order and the sides in which an annotator meets these pairs, with the gold and the repeated ones.

        Drawn by the study's digest, so who does not have all its texts cannot work it out. Half of an annotator's
        pairs, or one more, have `a` first; a repeated pair comes in the second half, with its sides exchanged, and not
        at once again.
        """
        random = Random(f"{self.digest} {annotator}")
        sides: list[Side] = ["a", "b"]
        random.shuffle(sides)
        earnest = random.sample(list(pairs), len(pairs))
        shown = [Showing(pair=pair.id, first=sides[i % 2]) for i, pair in enumerate(earnest)]
        random.shuffle(shown)
        # Repeats are of the first half, so that some pairs lie between a pair and its repetition.
        early = shown[: (len(shown) + 1) // 2]
        again = random.sample(early, min(self.repeats, len(early)))
        extra = [Showing(pair=pair.id, first=random.choice(sides)) for pair in self.gold]
        for one in extra:
            shown.insert(random.randint(0, len(shown)), one)
        for one in again:
            least = min(max(shown.index(one) + 2, (len(shown) + 1) // 2), len(shown))
            other: Side = "b" if one.first == "a" else "a"
            shown.insert(random.randint(least, len(shown)), Showing(pair=one.pair, first=other, repeat=True))
        return shown

    def write(self, folder: Path) -> Path:
        path = folder / FILE
        write_text(path, json.dumps(self.model_dump(mode="json"), ensure_ascii=False, indent=2) + "\n")
        return path

    @classmethod
    def read(cls, folder: Path) -> "Study":
        """Raises FileNotFoundError where the folder holds none, ValueError where it cannot be read."""
        path = folder / FILE
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: there is no such folder; steer study create makes a study")
        if not path.is_file():
            raise FileNotFoundError(f"{folder} is no study: it holds no {FILE}; steer study create makes one")
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the file"
            raise ValueError(f"{path} cannot be read: {where}: {first['msg']}") from None
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}") from None


def study_folder(folder: Path) -> Path:
    """The folder itself, or the study in a run's folder; that of study.json where the file came."""
    if folder.name == FILE:
        return folder.parent
    return folder if (folder / FILE).is_file() or not (folder / "study" / FILE).is_file() else folder / "study"
