"""Guidance: a weighted sum of the log-probabilities of several streams, as an immutable value with `+ - *`.

    domain + 0.2 * (domain - base) + 0.4 * (domain - domain[negatives])

A stream is (model, strength, context): which model looks, how much of the adapter is on, and what it is shown before
the text. The formula is the value's own text: `parse(str(guidance)) == guidance`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal, TypeAlias


@dataclass(frozen=True)
class Context:
    """What a stream is shown before the text.

    "prompt": the prompt. "negatives": the negative examples, then the prompt. "bare": no prompt, only the token that
    begins a document. "tail": only the last `size` tokens of prompt and text (Malkin et al. 2022).
    """

    kind: Literal["prompt", "negatives", "bare", "tail"] = "prompt"
    size: int | None = None

    def __str__(self) -> str:
        return f"tail({self.size})" if self.kind == "tail" else self.kind


prompt = Context()
negatives = Context("negatives")
bare = Context("bare")


def tail(size: int) -> Context:
    """The context of the last `size` tokens, at least 1."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"tail({size!r}): expected a whole number of tokens, at least 1")
    return Context("tail", size)


class _Linear:
    """`+ - *` for whatever can be seen as a mapping from streams to weights."""

    def _weights(self) -> Mapping["Stream", float]:
        raise NotImplementedError

    def _mask(self) -> "Mask | None":
        return None

    def __add__(self, other: "Term") -> "Guidance":
        if not isinstance(other, _Linear):
            return NotImplemented
        mine, theirs = self._weights(), other._weights()
        masks = {mask for mask in (self._mask(), other._mask()) if mask}
        if len(masks) > 1:
            raise ValueError(f"two different masks cannot be joined: {' and '.join(sorted(map(str, masks)))}")
        summed = {stream: mine.get(stream, 0.0) + theirs.get(stream, 0.0) for stream in {**mine, **theirs}}
        return Guidance(summed, masks.pop() if masks else None)

    def __mul__(self, factor: float) -> "Guidance":
        if isinstance(factor, bool) or not isinstance(factor, int | float):
            return NotImplemented
        return Guidance({stream: weight * factor for stream, weight in self._weights().items()}, self._mask())

    __rmul__ = __mul__

    def __sub__(self, other: "Term") -> "Guidance":
        return self + other * -1.0 if isinstance(other, _Linear) else NotImplemented

    def __neg__(self) -> "Guidance":
        return self * -1.0

    def __truediv__(self, divisor: float) -> "Guidance":
        return self * (1.0 / divisor)

    def __or__(self, mask: "Mask") -> "Guidance":
        """The same sum, only over tokens that the mask holds plausible."""
        return Guidance(self._weights(), mask) if isinstance(mask, Mask) else NotImplemented


def number(value: float) -> str:
    """The shortest decimal that reads back as the same number to 12 digits: 1.2, not 1.2000000000000002."""
    return f"{value:.12g}"


def _as_shown(value: float) -> float:
    """The value to the digits that its text shows, so that the text reads back as the same value."""
    return float(number(value))


@dataclass(frozen=True)
class Stream(_Linear):
    """One view of the text: `strength` of the adapter (0 is the base model, 1 the domain model), or another model.

    `path` names a model of its own weights (`expert("path")`), for which the strength has no meaning.
    """

    strength: float = 1.0
    context: Context = prompt
    path: str | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength):
            raise ValueError(f"the strength of a stream is {self.strength}; expected a finite number")
        object.__setattr__(self, "strength", _as_shown(self.strength))

    def at(self, strength: float) -> "Stream":
        """The same stream at another adapter strength; -1 is the negated task vector (Ilharco et al. 2022)."""
        if self.path is not None:
            raise ValueError(f"{self}: only domain has a strength to set, an expert is a model of its own")
        return replace(self, strength=float(strength))

    def scaled(self, by: float) -> "Stream":
        """An adapter's strength multiplied; an expert is a model of its own, and stays as it is."""
        return self if self.path is not None else self.at(self.strength * by)

    def __getitem__(self, context: Context) -> "Stream":
        if not isinstance(context, Context):
            raise ValueError(f"{self}[{context!r}]: expected negatives, bare, prompt or tail(k) in the brackets")
        return replace(self, context=context)

    def _weights(self) -> Mapping["Stream", float]:
        return {self: 1.0}

    def __str__(self) -> str:
        if self.path is not None:
            name = f"expert({json.dumps(self.path, ensure_ascii=False)})"
        else:
            name = {0.0: "base", 1.0: "domain"}.get(self.strength, f"domain.at({number(self.strength)})")
        return name if self.context == prompt else f"{name}[{self.context}]"


domain = Stream()
base = domain.at(0)


def expert(path: str) -> Stream:
    """A causal language model of its own weights and the same vocabulary (DExperts, contrastive decoding)."""
    if not isinstance(path, str) or not path or '"' in path:
        raise ValueError(f"expert({path!r}): expected the folder or Hub id of a model in quotes")
    return Stream(path=path)


@dataclass(frozen=True)
class Mask:
    """Which tokens are plausible under a reference stream; applied before temperature and every other filter.

    alpha: only tokens at least `alpha` times as probable as the stream's likeliest (Li et al. 2022).
    top_p: only the smallest set of tokens that holds `top_p` of the stream's probability (Liu et al. 2021).
    """

    stream: Stream = domain
    alpha: float | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if (self.alpha is None) == (self.top_p is None):
            raise ValueError("a mask takes either alpha or top_p")
        value = self.alpha if self.alpha is not None else self.top_p
        if value is None or not 0 < value <= 1:
            raise ValueError(f"the mask's {'alpha' if self.top_p is None else 'top_p'} is {value}; expected (0, 1]")
        object.__setattr__(self, "alpha" if self.top_p is None else "top_p", _as_shown(value))

    def __str__(self) -> str:
        dial = f"alpha={number(self.alpha)}" if self.alpha is not None else f"top_p={number(self.top_p or 0)}"
        return f"mask({self.stream}, {dial})"


@dataclass(frozen=True, eq=False)
class Guidance(_Linear):
    """An immutable mapping from streams to weights, and optionally a plausibility mask.

    A stream whose weight is zero is absent, exactly. Raises ValueError on a weight that is not finite and on a sum of
    nothing. Two guidances are equal when they have the same weights and the same mask.
    """

    weights: Mapping[Stream, float]
    mask: Mask | None = None
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for stream, weight in self.weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {stream} is {weight}; expected a finite number")
        # Sums such as 1 + .2 - 1.2 leave dust that would cost a whole stream: what rounds away is absent.
        present = {stream: _as_shown(weight) for stream, weight in self.weights.items() if abs(weight) > 1e-12}
        object.__setattr__(self, "weights", MappingProxyType(present))
        object.__setattr__(self, "_hash", hash((frozenset(present.items()), self.mask)))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams to evaluate: those with a weight, then the mask's own if it has none."""
        named = tuple(self.weights)
        return named if self.mask is None or self.mask.stream in named else (*named, self.mask.stream)

    @property
    def total(self) -> float:
        """The sum of the weights: an inverse temperature. 1 leaves the temperature its meaning."""
        return math.fsum(self.weights.values())

    @property
    def warning(self) -> str | None:
        """Why this sum cannot be meant, if it cannot: weights that add up to zero or less."""
        if self.total > 1e-9:
            return None
        return (
            f"the weights of {self} add up to {number(self.total)}: the sum of the weights is an inverse temperature, "
            "and at zero or less likely tokens are no longer preferred to unlikely ones"
        )

    def scaled(self, strength: float) -> "Guidance":
        """The same sum with every adapter's strength multiplied: what is `domain` becomes `domain.at(strength)`."""
        mask = self.mask and replace(self.mask, stream=self.mask.stream.scaled(strength))
        weights: dict[Stream, float] = {}
        for stream, weight in self.weights.items():
            # At 0 domain and base are one.
            weights[stream.scaled(strength)] = weights.get(stream.scaled(strength), 0.0) + weight
        return Guidance(weights, mask)

    def _weights(self) -> Mapping[Stream, float]:
        return self.weights

    def _mask(self) -> Mask | None:
        return self.mask

    def __reduce__(self) -> tuple[type["Guidance"], tuple[dict[Stream, float], Mask | None]]:
        # A read-only mapping cannot be pickled, and a hash is good in its own process only.
        return Guidance, (dict(self.weights), self.mask)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Linear):
            return NotImplemented
        return dict(self._weights()) == dict(other._weights()) and self._mask() == other._mask()

    def __hash__(self) -> int:
        return self._hash

    def __str__(self) -> str:
        text = ""
        for stream, weight in self.weights.items():
            size = "" if abs(weight) == 1 else f"{number(abs(weight))}*"
            sign = ("-" if weight < 0 else "") if not text else (" - " if weight < 0 else " + ")
            text += f"{sign}{size}{stream}"
        return (text or "0*domain") + (f" | {self.mask}" if self.mask else "")


Term: TypeAlias = Stream | Guidance
