"""The settings of a run: one YAML file, dotted overrides on top, unknown keys refused with the nearest known one."""

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from steer.closed_loop import Target
from steer.guidance import Guidance, Mask, domain, parse
from steer.task import Task

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(allow_inf_nan=False)]
Form = Literal["texts", "pairs", "list"]


class UsageError(ValueError):
    """What was asked for cannot be meant: a misspelt setting, a formula that does not read. Exit code 2."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Finetuning(_Section):
    """From base to domain model: a LoRA adapter on every linear layer, loss on the text alone.

    learning_rate None is 0.5 over the model's width, about 2e-3 for steer-nano and 1.2e-4 at width 4,096.
    Training ends after `epochs` or `max_steps` batches, or when `patience` evaluations in a row (one an epoch, and ten
    at least) have not lowered the validation loss.
    companions: the share of sequences that have other real examples before their prompt, so that the negatives'
    context is something the model has seen. companions_by: drawn at random, the nearest by their words, or "echo": as
    many as may be drawn, and every other time the text itself is among them, so that the model learns to recognise
    what it is shown.
    """

    epochs: int = Field(20, ge=1)
    max_steps: int = Field(1000, ge=1)
    patience: int = Field(2, ge=1)
    learning_rate: float | None = Field(None, gt=0, allow_inf_nan=False)
    batch_size: int = Field(8, ge=1)
    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: Share = 0.05
    companions: Share = 0.0
    companions_by: Literal["random", "nearest", "echo"] = "random"


class Steering(_Section):
    """The formula, in the language of `steer.guidance.parse`, and the two dials it may name.

    eta: a number, or "auto(duplicates=0.02)", which sets it anew for each round so that this share of the texts drawn
    comes too near to an earlier one; "auto(refused=0.05, start=1)" for the share that any gate refuses.
    alpha: a plausibility mask on the domain stream, on top of a formula that has none; 0 is off.
    strength: of the adapter, wherever the formula says domain.
    """

    formula: str = "steer(gamma, eta)"
    gamma: Weight = 0.2
    eta: float | str = 0.4
    alpha: Share = 0.0
    strength: Weight = 1.0

    @field_validator("eta", mode="before")
    @classmethod
    def _held(cls, value: Any) -> Any:
        if isinstance(value, str):
            return str(Target.parse(value))
        if isinstance(value, int | float) and not math.isfinite(value):
            raise ValueError("input should be a finite number")
        return value

    @model_validator(mode="after")
    def _reads(self) -> "Steering":
        if self.target and "eta" not in self.formula:
            raise ValueError(f"eta is {self.eta}, and the formula {self.formula!r} has no eta that could be set")
        self.resolve()
        return self

    @property
    def target(self) -> Target | None:
        """What η is to hold, where it is not a number."""
        return Target.parse(self.eta) if isinstance(self.eta, str) else None

    @property
    def start(self) -> float:
        """η of the first round."""
        return self.target.start if self.target else float(self.eta)

    def resolve(self, eta: float | None = None) -> Guidance:
        """The formula with this η, that of the first round if none is given."""
        dials = {"gamma": self.gamma, "eta": self.start if eta is None else eta}
        guidance = parse(self.formula, dials).scaled(self.strength)
        if self.alpha and guidance.mask:
            raise ValueError(f"alpha is {self.alpha:g}, and the formula {self.formula!r} has a mask of its own")
        return guidance | Mask(domain.at(self.strength), alpha=self.alpha) if self.alpha else guidance


class Sampling(_Section):
    """How a token is drawn from the guided distribution; names and meanings as in `transformers`.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off. max_new_tokens None is as long as 99 of 100 real
    texts and a quarter more, at most half of the model's context.
    num_beams above 1 is beam search, penalty_alpha above 0 contrastive search over top_k candidates (Su et al. 2022):
    both look for one text, in one stream, without temperature.
    prefix: so many first tokens are drawn by nucleus sampling (top_p, temperature 1) before a decoder that draws
    nothing goes on, which would write one and the same text for a prompt otherwise.
    """

    temperature: float = Field(1.0, ge=0, allow_inf_nan=False)
    top_k: int = Field(0, ge=0)
    top_p: Threshold = 0.9
    min_p: Share = 0.0
    max_new_tokens: int | None = Field(None, ge=1)
    num_beams: int = Field(1, ge=1)
    penalty_alpha: float = Field(0.0, ge=0, le=1, allow_inf_nan=False)
    prefix: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_way(self) -> "Sampling":
        if self.num_beams > 1 and self.penalty_alpha:
            raise ValueError("num_beams and penalty_alpha are two ways to search: set one of them")
        if self.penalty_alpha and self.top_k < 2:
            raise ValueError("penalty_alpha is contrastive search: top_k says among how many candidates, 2 or more")
        if self.prefix and not self.deterministic:
            raise ValueError("prefix is for a decoder that draws nothing: temperature 0, num_beams or penalty_alpha")
        return self

    @property
    def searches(self) -> bool:
        return self.num_beams > 1 or self.penalty_alpha > 0

    @property
    def deterministic(self) -> bool:
        """Whether one prompt has one text, but for a drawn prefix."""
        return self.temperature == 0 or self.searches

    @property
    def opening(self) -> "Sampling":
        """How the tokens of a prefix are drawn."""
        return Sampling(top_p=self.top_p, max_new_tokens=self.max_new_tokens)


class Negatives(_Section):
    """What each group is pushed away from: `count` texts, `real_share` of them real, the rest accepted samples.

    texts: concepts or examples given by hand, all of them shown instead of drawn ones.
    form: how they stand before the prompt: one after the other, each as the answer to a prompt of its own, or as a
    numbered list.
    """

    count: int = Field(3, ge=0)
    real_share: Share = 0.5
    texts: tuple[str, ...] = ()
    form: Form = "texts"


class Generation(_Section):
    """How many samples, in rounds of groups; the samples of a group share one draw of negatives.

    until: "count", or "converged" to stop earlier, when novelty and coverage have stopped moving.
    attempts: the budget, in drawn texts for each one wanted. lanes: texts in flight at once, which changes no text
    in float32, and in bfloat16 only near ties; None is as many as memory allows, up to 32.
    """

    count: int = Field(200, ge=1)
    until: Literal["count", "converged"] = "count"
    round_size: int = Field(64, ge=1)
    group_size: int = Field(8, ge=1)
    attempts: int = Field(10, ge=1)
    lanes: int | None = Field(None, ge=1)


class Gates(_Section):
    """From which similarity (0 to 1) a text counts as a copy of a real one, or as a duplicate of an accepted one.

    keep: what is found and noted, but not refused, so that a decoder is measured as it is.
    """

    copy_threshold: Threshold = 0.85
    duplicate_threshold: Threshold = 0.85
    keep: tuple[Literal["copy", "duplicate"], ...] = ()


class Ranking(_Section):
    """Draw `factor` texts for each one that is kept, and keep those of the highest reward.

    by: "none" switches it off; "likelihood_ratio" is that of domain over base model per token; "column:NAME" a column
    of numbers that the samples have; "FILE.py:FUNCTION" a function of yours from a list of texts to as many numbers.
    """

    by: str = "none"
    factor: int = Field(4, ge=2)

    @field_validator("by")
    @classmethod
    def _known(cls, value: str) -> str:
        named = value.startswith("column:") and len(value) > len("column:")
        if value not in ("none", "likelihood_ratio") and not named and not re.fullmatch(r".+\.py:\w+", value):
            raise ValueError("expected none, likelihood_ratio, column:NAME or FILE.py:FUNCTION")
        return value

    @property
    def column(self) -> str | None:
        return self.by.removeprefix("column:") if self.by.startswith("column:") else None


class Choices(_Section):
    """The columns of a multiple-choice question. answer: the position (from 0), letter or text of the right choice."""

    question: str = "question"
    choices: tuple[str, ...] = Field(("a", "b", "c", "d", "e"), min_length=2)
    answer: str = "answer"


class Evaluation(_Section):
    """embedders: "tfidf" (lexical, no download), "domain" (the domain model's hidden states), or any that
    `steer.evaluate.embedders` knows by name.

    metrics: names of scores or questions; None is all but a few doubles. tokenisation: of n-grams.
    baseline: whether to draw as many texts by plain nucleus sampling from the same checkpoint, as the rival.
    label: the column of classes, for scores by label and a classifier's use of the texts; None is the first of the
    task's `balance`. choices: where texts are multiple-choice questions, their columns; choice_model: the encoder that
    learns to answer them, None a linear head on TF-IDF. classifier: of the adversary and of usefulness.
    """

    embedders: tuple[str, ...] = ("tfidf", "domain")
    metrics: tuple[str, ...] | None = None
    tokenisation: str = "auto"
    classifier: Literal["logistic", "xgboost"] = "logistic"
    baseline: bool = True
    label: str | None = None
    choices: Choices | None = None
    choice_model: str | None = None

    @field_validator("embedders")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("expected at least one embedder")
        return value


class Settings(_Section):
    """Everything that decides a run. `domain` names a LoRA adapter or a full fine-tuned model to use as it is."""

    task: Task
    model: str = "steer-nano"
    revision: str | None = None
    trust_remote_code: bool = False
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    domain: str | None = None
    finetune: Finetuning = Finetuning()
    guidance: Steering = Steering()
    sampling: Sampling = Sampling()
    negatives: Negatives = Negatives()
    generate: Generation = Generation()
    gates: Gates = Gates()
    ranking: Ranking = Ranking()
    evaluate: Evaluation = Evaluation()
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _ranks_among_enough(self) -> "Settings":
        if self.ranking.by != "none" and self.generate.group_size % self.ranking.factor:
            size, factor = self.generate.group_size, self.ranking.factor
            raise ValueError(
                f"ranking.factor is {factor} and generate.group_size {size}: the best of {factor} are chosen within a "
                f"group, so its size has to be a multiple, such as {max(1, size // factor) * factor}"
            )
        return self

    @field_validator("guidance", mode="before")
    @classmethod
    def _formula_alone(cls, value: Any) -> Any:
        return {"formula": value} if isinstance(value, str) else value

    def to_yaml(self) -> str:
        tree = self.model_dump(mode="json")
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
        # Some separators, such as U+0085, would come back as line feeds; as ASCII everything is escaped.
        return text if yaml.safe_load(text) == tree else yaml.safe_dump(tree, sort_keys=False, width=100)


# Plain nucleus sampling from the domain model, the rival of every other decoder.
PLAIN: Mapping[str, Any] = {
    "guidance": {"formula": "domain"},
    "negatives": {"count": 0},
    "ranking": {"by": "none"},
    **{f"sampling.{key}": value for key, value in Sampling().model_dump(exclude={"max_new_tokens"}).items()},
}

# These change how fast a run goes and when it gives up, and no text that has been drawn.
FREE_SETTINGS = ("device", "generate.lanes", "generate.attempts")


def load_settings(file: Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a run file (.yaml, .yml), or take the file as the data itself, and apply `key=value` overrides.

    Data, model and domain are looked for beside the run file first, then (and in overrides) in the working folder; what
    is there becomes an absolute path, so that the run can be resumed from anywhere.
    Raises FileNotFoundError and UsageError.
    """
    if file.suffix.lower() in (".yaml", ".yml"):
        tree = _read_yaml(file)
    else:
        tree = {"task": {"data": str(file)}}
    for override in overrides:
        _override(tree, override)
    _locate(tree, Path())
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_explain(error, file)) from None


def evaluation_settings(settings: Evaluation | None, changes: Mapping[str, Any]) -> Evaluation:
    """The settings of an evaluation on its own, changed in what is not None; by default without a domain model.

    Raises UsageError.
    """
    base = (settings or Evaluation()).model_dump()
    base["embedders"] = tuple(name for name in base["embedders"] if name != "domain") or ("tfidf",)
    try:
        return Evaluation.model_validate({**base, **{key: one for key, one in changes.items() if one is not None}})
    except ValidationError as error:
        raise UsageError(_explain(error, Path("evaluate"))) from None


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with others in some places, named by dotted keys. Raises UsageError."""
    tree = settings.model_dump(mode="json")
    for key, value in changes.items():
        *path, last = key.split(".")
        node = tree
        for name in path:
            node = node[name]
        node[last] = value
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise UsageError(_explain(error, Path("settings"))) from None


def differences(old: Settings, new: Settings) -> list[str]:
    """The settings in which two runs differ, as `key: old -> new`, those that change no text left out."""
    before, after = dict(_flat(old.model_dump(mode="json"))), dict(_flat(new.model_dump(mode="json")))
    changed = [key for key in {**before, **after} if before.get(key) != after.get(key) and key not in FREE_SETTINGS]
    return [f"{key}: {before.get(key)!r} -> {after.get(key)!r}" for key in changed]


def _read_yaml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        near = difflib.get_close_matches(file.name, [p.name for p in file.parent.glob("*.y*ml")], n=1)
        raise FileNotFoundError(f"{file}: there is no such run file" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        tree = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where else ""
        raise UsageError(f"{file}{line}: not YAML ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(tree, dict):
        raise UsageError(f"{file}: expected settings (key: value), found {type(tree).__name__}")
    _locate(tree, file.parent)
    task = tree.get("task")
    if isinstance(task, dict) and isinstance(task.get("data"), str) and task["data"].lower().endswith(_DATA_FILES):
        # A file, though there is none: looked for beside the run file when it is missed, too.
        task["data"] = str(file.parent / Path(task["data"]).expanduser())
    return tree


_DATA_FILES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".txt", ".gz")


def _locate(tree: dict[str, Any], folder: Path) -> None:
    """Make the paths that exist, seen from `folder`, absolute; other names may be ids of models or datasets."""
    for section, key in ((tree.get("task"), "data"), (tree, "model"), (tree, "domain")):
        if isinstance(section, dict) and isinstance(name := section.get(key), str) and name != "steer-nano":
            path = folder / Path(name).expanduser()
            section[key] = str(path.resolve()) if name and path.exists() else name
    if isinstance(ranking := tree.get("ranking"), dict) and isinstance(by := ranking.get("by"), str):
        file, colon, function = by.rpartition(":")
        if file.endswith(".py") and (path := folder / Path(file).expanduser()).is_file():
            ranking["by"] = f"{path.resolve()}{colon}{function}"


def _override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UsageError(f"{override!r}: expected key=value, as in guidance.eta=0.6")
    known = dict(_keys(Settings))
    sections = {name.rpartition(".")[0] for name in known}
    column = key.startswith("task.columns.")
    if key not in known and key not in sections and not column:
        raise UsageError(_unknown(key, list(known)))
    *path, last = key.split(".")
    node = tree
    for name in path:
        below = node.setdefault(name, {})
        if not isinstance(below, dict):
            below = node[name] = {"formula": below} if name == "guidance" else {}
        node = below
    node[last] = _value(text, is_text=column or known.get(key) in (str, str | None))


def _value(text: str, *, is_text: bool) -> Any:
    """An override's value, read as YAML; what is to be a text is taken as it stands unless it is in quotes.

    As YAML '{text}' is an object, 'Write: a text' too, '2024' a number, and 'C # sharp' ends before its comment.
    """
    if is_text and text not in ("", "null", "~") and text[0] not in "\"'":
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if value is not None or text in ("", "null", "~") else text


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting by its dotted name, with its type."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.annotation


def _unknown(key: str, known: Sequence[str]) -> str:
    leaf = key.rpartition(".")[2]
    elsewhere = [name for name in known if name.rpartition(".")[2] == leaf]
    near = difflib.get_close_matches(key, elsewhere, n=1, cutoff=0) or difflib.get_close_matches(key, known, n=1)
    near = near or [name for name in known if difflib.get_close_matches(leaf, [name.rpartition(".")[2]], n=1)][:1]
    return f"unknown setting {key!r}; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def _explain(error: ValidationError, file: Path) -> str:
    """The first complaint of pydantic, in one line."""
    # A misspelt key goes first: what is missing may be what it was meant to be.
    first = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{file}: {_unknown(key, list(dict(_keys(Settings))))}"
    if first["type"] == "missing":
        return f"{file}: setting {key!r} is missing"
    message = first["msg"].removeprefix("Value error, ")
    given = "" if isinstance(first["input"], dict) else f" (given: {first['input']!r})"
    return f"{file}: {key}: {message[0].lower() + message[1:]}{given}"


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
