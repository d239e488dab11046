"""The dials that are turned, and the points of them: settings keys -> values, one point for one decoder."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

Point = Mapping[str, float]


@dataclass(frozen=True)
class Dial:
    """A setting's range in steps, so that points are readable and repeats are recognised.

    default: as in the settings. plain: the value at which it is switched off; None for those of plain sampling itself
    and of what another dial switches off.
    """

    low: float
    high: float
    step: float
    default: float
    plain: float | None = None

    @property
    def count(self) -> int:
        """Of its values."""
        return round((self.high - self.low) / self.step) + 1

    def value(self, index: int) -> float:
        return round(self.low + index * self.step, 9)

    def rounded(self, value: float) -> float:
        """The nearest of its values."""
        return self.value(min(self.count - 1, max(0, round((value - self.low) / self.step))))


GAMMA, ETA, COUNT, REAL_SHARE = "guidance.gamma", "guidance.eta", "negatives.count", "negatives.real_share"
TOP_P, TEMPERATURE = "sampling.top_p", "sampling.temperature"

DIALS: Mapping[str, Dial] = {
    GAMMA: Dial(0, 2, 0.1, 0.1, plain=0),
    ETA: Dial(0, 2, 0.1, 0.4, plain=0),
    "guidance.alpha": Dial(0, 0.1, 0.01, 0, plain=0),
    "guidance.strength": Dial(0.6, 1.4, 0.1, 1, plain=1),
    COUNT: Dial(0, 12, 1, 3),
    REAL_SHARE: Dial(0, 1, 0.25, 0.5),
    TOP_P: Dial(0.7, 1, 0.05, 0.9),
    TEMPERATURE: Dial(0.6, 1.6, 0.1, 1),
}
ALWAYS = (GAMMA, ETA, TOP_P, TEMPERATURE)  # stand in every point: without them plain sampling could not be named


def check(names: Iterable[str]) -> None:
    """Raise ValueError on the first name that is no dial."""
    for name in names:
        if name not in DIALS:
            near = difflib.get_close_matches(name, DIALS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DIALS)}"
            raise ValueError(f"there is no dial called {name!r}; {hint}")


def canonical(point: Point, base: Point) -> dict[str, float]:
    """The one point of all that are the same decoder, in the order of DIALS.

    Without η no negatives are shown, and without negatives there is nothing for η to push away from: then η is 0 and
    the dials of negatives are as in `base`.
    """
    # Rounded, since 3 * 0.1 is not 0.3; and + 0.0 turns -0.0 into 0.0.
    made = {name: round(float(point[name]), 9) + 0.0 for name in DIALS if name in point}
    if made.get(ETA) == 0 or made.get(COUNT) == 0:
        off = {ETA: 0.0, **{name: base.get(name, DIALS[name].default) for name in (COUNT, REAL_SHARE)}}
        made |= {name: value for name, value in off.items() if name in made}
    return made


def plain(base: Point, temperature: float, top_p: float) -> dict[str, float]:
    """Plain sampling from the domain model: everything else is switched off."""
    off = {name: float(dial.plain) for name in base if (dial := DIALS[name]).plain is not None}
    return canonical({**base, **off, TEMPERATURE: temperature, TOP_P: top_p}, base)


def is_plain(point: Point) -> bool:
    return all(DIALS[name].plain in (None, value) for name, value in point.items())


def spread(names: Iterable[str], count: int, seed: int) -> list[dict[str, float]]:
    """Points that fill the ranges evenly: a Sobol sequence, shifted by a random vector (Cranley and Patterson 1976)."""
    from scipy.stats import qmc

    dials = {name: DIALS[name] for name in names}
    if not dials or not count:
        return []
    shift = np.random.default_rng(seed).random(len(dials))
    rows = qmc.Sobol(len(dials), scramble=False).random_base2((count - 1).bit_length())[:count]
    return [
        {name: dial.value(int(u * dial.count)) for (name, dial), u in zip(dials.items(), row, strict=True)}
        for row in (rows + shift) % 1
    ]


def digest(value: object) -> str:
    """Of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def words(point: Point) -> str:
    return ", ".join(f"{name.rpartition('.')[2]} {value:g}" for name, value in point.items())
