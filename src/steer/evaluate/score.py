"""A score, and everything a reader needs to doubt it: interval, direction, yardsticks, signature."""

import math
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any


@dataclass(frozen=True)
class Score:
    """One number about one set of synthetic texts. Undefined is NaN with a reason, never 0.

    low, high: the 95% interval; NaN, with the reason, where the value has none.
    ceiling: the same measure of real texts against real texts.
    baseline: the same measure of plain nucleus sampling; NaN where no such texts were given.
    signature: one line of `key:value` pairs, separated by `|`, that decide the number.
    p: of a permutation test, where there is one: chance of such a value if both sides came from one source.
    """

    name: str
    value: float
    low: float
    high: float
    higher_is_better: bool
    ceiling: float
    baseline: float
    signature: str
    reason: str | None = None
    p: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """The row of metrics.json that stands under this score's name: strict JSON, so null for what is not finite."""
        row = {key: value for key, value in asdict(self).items() if key != "name"}
        absent = [key for key in ("reason", "p") if row[key] is None or row[key] != row[key]]
        return {key: strict(value) for key, value in row.items() if key not in absent}


def signature(**pairs: object) -> str:
    """Everything that decides a score, on one line: `key:value|key:value|steer:VERSION`."""
    try:
        version = metadata.version("steer-text")
    except metadata.PackageNotFoundError:
        version = "unknown"
    line = (f"{key}:{value}".replace("|", ",").split() for key, value in {**pairs, "steer": version}.items())
    return "|".join(" ".join(pair) for pair in line)


def strict(value: Any) -> Any:
    """The value as strict JSON has it: null for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
