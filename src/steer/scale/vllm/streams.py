"""Which requests the streams of a text are: streams that see the same are one request."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.config import Sampling
from steer.engine.contexts import Contexts
from steer.guidance import Guidance, Stream
from steer.scale.vllm import recipe


@dataclass(frozen=True)
class Shares:
    """roles: which role computes each stream. seen: for each role its adapter's strength and the ids it is shown."""

    roles: dict[Stream, int]
    seen: tuple[tuple[float, tuple[int, ...]], ...]


def strength(stream: Stream, adapted: bool) -> float:
    """The adapter's strength that a stream needs. Raises ValueError on one that vLLM cannot compute."""
    if stream.path is not None:
        raise ValueError(f"{stream}: vLLM holds one model and its adapter; for other models set engine: local")
    if stream.context.kind == "tail":
        raise ValueError(f"{stream}: vLLM does not forget what came before the tail; for this set engine: local")
    if adapted:
        return stream.strength
    if stream.strength not in (0.0, 1.0):
        raise ValueError(f"{stream}: a strength between models needs a LoRA adapter, and there is none")
    return 0.0


def share(guidance: Guidance, shown: Contexts, adapted: bool) -> Shares:
    """How the streams of one text are divided among requests."""
    sights = {s: (strength(s, adapted), shown.of(s.context)) for s in guidance.streams}
    seen = tuple(dict.fromkeys(sights.values()))
    return Shares({stream: seen.index(sight) for stream, sight in sights.items()}, seen)


def written(
    guidance: Guidance, shares: Shares, sampling: Sampling, suppress_tokens: Sequence[int], logprobs: bool
) -> str:
    """The recipe of a text whose streams are divided in this way."""
    weights = [0.0] * len(shares.seen)
    for stream, weight in guidance.weights.items():
        weights[shares.roles[stream]] += weight
    mask = guidance.mask
    return recipe.write(
        weights,
        sampling,
        mask=None if mask is None else {"role": shares.roles[mask.stream], "alpha": mask.alpha, "top_p": mask.top_p},
        suppress_tokens=suppress_tokens,
        keep="logprobs" if logprobs else "entropy",
    )
