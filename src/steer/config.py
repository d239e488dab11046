"""The settings of a run: one YAML file, dotted overrides on top, unknown keys refused with the nearest known one."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from steer.guidance import Guidance, parse
from steer.task import Task

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Weight = Annotated[float, Field(allow_inf_nan=False)]


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
    context is something the model has seen.
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


class Steering(_Section):
    """The formula, in the language of `steer.guidance.parse`, and the two dials it may name."""

    formula: str = "steer(gamma, eta)"
    gamma: Weight = 0.2
    eta: Weight = 0.4

    @model_validator(mode="after")
    def _reads(self) -> "Steering":
        self.resolve()
        return self

    def resolve(self) -> Guidance:
        return parse(self.formula, {"gamma": self.gamma, "eta": self.eta})


class Sampling(_Section):
    """How a token is drawn from the guided distribution; names and meanings as in `transformers`.

    temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 are off. max_new_tokens None is as long as 99 of 100 real
    texts and a quarter more, at most half of the model's context.
    """

    temperature: float = Field(1.0, ge=0, allow_inf_nan=False)
    top_k: int = Field(0, ge=0)
    top_p: Threshold = 0.9
    min_p: Share = 0.0
    max_new_tokens: int | None = Field(None, ge=1)


class Negatives(_Section):
    """What each group is pushed away from: `count` texts, `real_share` of them real, the rest accepted samples.

    texts: concepts or examples given by hand, all of them shown instead of drawn ones.
    """

    count: int = Field(10, ge=0)
    real_share: Share = 0.5
    texts: tuple[str, ...] = ()


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
    """From which similarity (0 to 1) a text counts as a copy of a real one, or as a duplicate of an accepted one."""

    copy_threshold: Threshold = 0.85
    duplicate_threshold: Threshold = 0.85


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
    evaluate: Evaluation = Evaluation()
    seed: int = Field(0, ge=0)

    @field_validator("guidance", mode="before")
    @classmethod
    def _formula_alone(cls, value: Any) -> Any:
        return {"formula": value} if isinstance(value, str) else value

    def to_yaml(self) -> str:
        tree = self.model_dump(mode="json")
        text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)
        # Some separators, such as U+0085, would come back as line feeds; as ASCII everything is escaped.
        return text if yaml.safe_load(text) == tree else yaml.safe_dump(tree, sort_keys=False, width=100)


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
