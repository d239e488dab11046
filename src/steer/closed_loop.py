"""η that holds a share: after each round, the η at which the target share of texts should be caught at a gate.

A round of 64 texts at 2% holds one hit or two, so one round says little. What all rounds say is put together as in
QUEST (Watson & Pelli 1983, "a Bayesian adaptive psychometric method"): a grid of curves, caught share over η, each
weighed by how well it explains the rounds; the next η is where the expected share meets the target.

With x = log(1 + η), more repulsion leaves fewer copies, and too much of it leaves no language, which is refused too:

    falls(x) = a σ(logit(target / a) − b(x − z))        a: its height; b: how steep; z: where it meets the target
    rises(x) = σ(6(x − g))                              g: where half of the texts are lost, or never
    caught(x) = 1 − (1 − falls(x))(1 − rises(x))        what is lost is no near duplicate: there rises(x) = 0

What is caught at one η grows with the pool: its odds, by a power of how many texts there are, which is learnt as well.
Texts that can be told apart in a few thousand ways only repeat in proportion to the pool (1), others hardly more (0).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from math import exp, expm1, isfinite, lgamma, log, log1p
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from steer.guidance import Guidance
    from steer.records import Sample

CEILING = 8.0  # the guided logits are then 9D − 8N, which is already twelve times the noise of either
STEP = log(2)  # 1 + η at most doubles or halves from one round to the next: 0 to the ceiling takes four rounds
NEVER = 0.9  # prior chance that a large η loses no texts; at 0.5 a flat response is taken for a lost one
TOLERANCE, LEVEL = 0.01, 0.05  # the verdict: missed by more than so much, at this level
FADE = 0.8  # the smoothed share: each earlier round counts so much less

Of = Literal["duplicates", "refused"]
Grid = NDArray[np.float64]

# The grid, (B, Z, S, D): from flat (η from 0 to 8 divides the odds by 9) to a cliff; z from below η = 0 to beyond the
# ceiling, as a target may be met already without repulsion, or never, but most likely near η = 1.
_STEEPNESS: Grid = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])[:, None, None, None]
_MEETS: Grid = np.linspace(-0.2, 3.5, 149)[None, :, None, None]
_LOST: dict[Of, Grid] = {
    "duplicates": np.full(4, np.inf)[:, None],
    "refused": np.append(np.linspace(0.25, 2.5, 8), np.inf)[:, None],
}
# Of what a is above the target: a little repulsion may do nothing, as the samples of a model that knows a few hundred
# sentences by heart stay what they are until η is 3 or 4.
_ABOVE: dict[Of, Grid] = {"duplicates": np.array([1, 0.5, 0.25, 0.125])[:, None], "refused": np.ones(9)[:, None]}
_DRIFTS: Grid = np.array([0.0, 0.25, 0.5, 1.0])
_LOG_DRIFTING: Grid = np.log([0.4, 0.3, 0.2, 0.1])  # prior: more often little
_LOG_SHAPE: dict[Of, Grid] = {  # prior of each pair of _LOST and _ABOVE: more often neither
    "duplicates": np.log([0.85, 0.05, 0.05, 0.05])[:, None],
    "refused": np.log([*[(1 - NEVER) / 8] * 8, NEVER])[:, None],
}
_PLACES: Grid = np.linspace(0, log1p(CEILING), 177)


@dataclass(frozen=True)
class Target:
    """What share of the texts is to be caught, as near duplicates or at any gate, and the η of the first round.

    Raises ValueError for a share outside of (0, 1) and a start outside of [0, CEILING].
    """

    of: Of
    share: float
    start: float = 0.4

    def __post_init__(self) -> None:
        if self.of not in get_args(Of):
            raise ValueError(f"{self.of!r} came: expected {' or '.join(map(repr, get_args(Of)))}")
        if not 0 < self.share < 1:
            hint = f" (for {self.share:g}% write {self.share / 100:g})" if 1 <= self.share < 100 else ""
            raise ValueError(f"{self.of}={self.share:g} came: expected a share between 0 and 1, as in 0.02{hint}")
        if not 0 <= self.start <= CEILING:
            raise ValueError(f"start={self.start:g} came: expected the first round's η, from 0 to {CEILING:g}")

    def __str__(self) -> str:
        start = "" if self.start == Target.start else f", start={_plain(self.start)}"
        return f"auto({self.of}={_plain(self.share)}{start})"

    @classmethod
    def parse(cls, text: str) -> "Target":
        """`auto(duplicates=0.02)` or `auto(refused=0.05, start=1.5)`; raises ValueError, saying what is amiss."""
        form = re.fullmatch(r"\s*auto\s*\((.*)\)\s*", text)
        if form is None:
            raise ValueError(f"{text!r} came: expected a number, or auto(duplicates=0.02) to hold that share")
        given: dict[str, float] = {}
        for part in filter(None, map(str.strip, form[1].split(","))):
            name, _, value = map(str.strip, part.partition("="))
            if name not in (known := (*get_args(Of), "start")):
                near = get_close_matches(name, known, n=1)
                help_ = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
                raise ValueError(f"{text}: unknown name {name!r}; {help_}")
            if name in given:
                raise ValueError(f"{text}: {name} came twice: leave one out")
            given[name] = _number(text, name, value)
        of = [name for name in get_args(Of) if name in given]
        if len(of) != 1:
            came = "both duplicates and refused" if of else "no share"
            raise ValueError(f"{text}: {came} came: expected one of them, as in auto(duplicates=0.02)")
        return cls(of[0], given[of[0]], given.get("start", cls.start))


@dataclass(frozen=True)
class Seen:
    """A finished round: its η, how many texts came to the gate, and how many of them it caught."""

    eta: float
    drawn: int
    hits: int

    def __post_init__(self) -> None:
        assert self.eta >= 0, self
        assert 0 <= self.hits <= self.drawn, self


@dataclass(frozen=True)
class Loop:
    """η set anew for each round, from what was seen in the rounds before. resolve: from an η to the formula with it."""

    target: Target
    resolve: "Callable[[float], Guidance]"

    def guidance(self, before: "Sequence[Sample]") -> "Guidance":
        """Of the round that follows these samples."""
        return self.resolve(next_eta(self.target, self.seen(before)))

    def seen(self, samples: "Sequence[Sample]") -> list[Seen]:
        """The finished rounds, each with the η that it must have had."""
        history: list[Seen] = []
        rounds: dict[int, list[Sample]] = {}
        for sample in samples:
            rounds.setdefault(sample.round, []).append(sample)
        for number, drawn in sorted(rounds.items()):
            # With staleness it was begun before the last of them were known.
            known = history[: number if drawn[0].snapshot is None else drawn[0].snapshot]
            history.append(seen(self.target.of, next_eta(self.target, known), drawn))
        return history


def seen(of: Of, eta: float, drawn: "Sequence[Sample]") -> Seen:
    """A round that was drawn with this η."""
    if of == "refused":
        return Seen(eta, len(drawn), sum(sample.refused for sample in drawn))
    # Of those that could be a duplicate: what is malformed never came to that gate.
    came = [sample for sample in drawn if sample.verdict not in ("malformed", "unreadable")]
    return Seen(eta, len(came), sum(sample.near == "duplicate" for sample in came))


def next_eta(target: Target, history: Sequence[Seen]) -> float:
    """The η of the next round, from 0 to CEILING, to four digits; a pure function of the finished rounds.

    Where no η is expected to meet the target, the one that comes nearest; never more than STEP from the last.
    """
    if not history:
        return round(target.start, 4)
    last = log1p(history[-1].eta)
    # Where nothing reached the gate, all texts fell at the gates before it: a sign of an η that is too large.
    best = _nearest(target.share, _expected(target, history)) if history[-1].drawn else 0.0
    return round(expm1(min(max(best, last - STEP), last + STEP, log1p(CEILING))), 4)


def course(target: Target, history: Sequence[Seen]) -> list[dict[str, Any]]:
    """Each round for a figure, numbered from 0: its η, the share caught in it, and the share smoothed over the rounds.

    A share is None where nothing has come to the gate.
    """
    rows, drawn, hits = [], 0.0, 0.0
    for number, seen in enumerate(history):
        drawn, hits = FADE * drawn + seen.drawn, FADE * hits + seen.hits
        share = round(seen.hits / seen.drawn, 4) if seen.drawn else None
        smoothed = round(hits / drawn, 4) if drawn else None
        rows.append({"round": number, "eta": seen.eta, "share": share, "smoothed": smoothed, "target": target.share})
    return rows


def verdict(target: Target, history: Sequence[Seen]) -> str | None:
    """A sentence where the last rounds missed the target, with the reason; None where they are compatible with it.

    Missed: a binomial test refuses, at the 5% level, every share within a hundredth of the target.
    """
    late = history[-min(6, max(3, len(history) // 2)) :]  # what came before was the search
    drawn, hits = sum(seen.drawn for seen in late), sum(seen.hits for seen in late)
    what = "near duplicates" if target.of == "duplicates" else "refused"
    rounds = "the last round" if len(late) == 1 else f"the last {len(late)} rounds"
    if late and not drawn:
        return f"{target} was not reached: no text of {rounds} came to the gate, so there was nothing to hold"
    high, low = min(target.share + TOLERANCE, 1.0), max(target.share - TOLERANCE, 0.0)
    too_many = _at_least(hits, drawn, high) < LEVEL
    if not too_many and _at_least(drawn - hits, drawn, 1 - low) >= LEVEL:
        return None
    etas = [seen.eta for seen in late]
    missed = f"{target} was not reached: {hits / drawn:.1%} of the {drawn} texts of {rounds} were {what}"
    if too_many and etas[-1] == CEILING:
        return f"{missed}, with η at its bound of {CEILING:g}: repulsion alone does not do it, ask for a larger share"
    if not too_many and etas[-1] == 0:
        return f"{missed}, already without repulsion (η = 0), so there was nothing to hold"
    expected = _expected(target, history)
    if too_many and expected.min() > high:
        best = expm1(float(_PLACES[expected.argmin()]))
        return f"{missed}, and no η is expected to reach it (nearest comes η = {best:.2f}): ask for a larger share"
    return f"{missed}, with η still on its way (from {min(etas):.2f} to {max(etas):.2f}): draw more rounds"


def _expected(target: Target, history: Sequence[Seen]) -> Grid:
    """(177,) the share that the next round is expected to have at each of _PLACES, over all curves of the grid."""
    total = sum(seen.drawn for seen in history)
    belief, before = -0.5 * (_MEETS - log(2)) ** 2 + _LOG_DRIFTING + _LOG_SHAPE[target.of], 0
    for seen in [seen for seen in history if seen.drawn]:
        # The response drifts as the pool grows, by its logarithm: so a round counts by how large the pool was then.
        pool, now = before + seen.drawn / 2, total + history[-1].drawn / 2
        caught = np.clip(_caught(target.of, target.share, log1p(seen.eta), _DRIFTS * log(pool / now)), 1e-12, 1 - 1e-12)
        before += seen.drawn
        likelihood = seen.hits * np.log(caught) + (seen.drawn - seen.hits) * np.log1p(-caught)
        belief = belief + before / total * likelihood
    weights = np.exp(belief - belief.max()).sum(-1)
    # Rounded, so that the last digits of a sum never decide between places that are equally good.
    return np.tensordot(weights / weights.sum(), _curves(target.of, target.share), 3).round(9)


def _nearest(share: float, expected: Grid) -> float:
    """The least x at which the expected share falls to the target, or else where it is lowest."""
    if expected.min() > share:
        return float(_PLACES[expected.argmin()])
    first = int(np.argmax(expected <= share))
    if first == 0:
        return 0.0
    above, below = expected[first - 1], expected[first]
    return float(_PLACES[first - 1] + (above - share) / (above - below) * (_PLACES[1] - _PLACES[0]))


def _caught(of: Of, share: float, x: float, drift: Grid) -> Grid:
    """(B, Z, S, D) the share that each curve of the grid has at x; drift: (D,) added to the log-odds of what falls."""
    level = share + (1 - share) * _ABOVE[of]
    met = np.log(share) - np.log(np.maximum(level - share, 1e-300))
    falls = level * _sigmoid(met - _STEEPNESS * (x - _MEETS))
    odds = falls / np.maximum(1 - falls, 1e-12) * np.exp(drift)
    return 1 - _sigmoid(6 * (_LOST[of] - x)) / (1 + odds)


@lru_cache(maxsize=4)
def _curves(of: Of, share: float) -> Grid:
    """(B, Z, S, 177) every curve of the grid at each of _PLACES."""
    return np.stack([_caught(of, share, float(x), np.zeros(1))[..., 0] for x in _PLACES], axis=-1)


def _sigmoid(x: Grid) -> Grid:
    result: Grid = 0.5 * (1 + np.tanh(x / 2))
    return result


def _at_least(hits: int, drawn: int, share: float) -> float:
    """The chance of so many hits or more, each text being one with this chance."""
    if hits == 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    whole = lgamma(drawn + 1)
    return sum(
        exp(whole - lgamma(n + 1) - lgamma(drawn - n + 1) + n * log(share) + (drawn - n) * log1p(-share))
        for n in range(hits, drawn + 1)
    )


def _number(text: str, name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{text}: {name}={value} came: expected a number")
    return number


def _plain(number: float) -> str:
    return str(number).removesuffix(".0")
