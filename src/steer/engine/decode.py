"""The decoding loop: combine the streams, draw a token, advance, until every text has ended.

One loop serves generation and scoring: a request with `forced` ids is led along a given text. All cached streams of
all samples in flight are rows of one forward for each set of weights, stream by stream, so the rows of a stream are a
contiguous slice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from steer.config import Sampling
from steer.engine.cache import SlotCache
from steer.engine.contexts import Contexts
from steer.engine.models import Pair
from steer.engine.network import Network
from steer.engine.sampling import draw, plausible
from steer.guidance import Guidance, Stream

Features = dict[Stream, Tensor]  # stream -> (B, F)


@dataclass(frozen=True)
class Request:
    """One text to draw: what its streams are shown, its seed, and at most how many tokens.

    forced: the text's own ids, for scoring; nothing is drawn then.
    """

    contexts: Contexts
    seed: int
    max_new_tokens: int
    forced: tuple[int, ...] | None = None


@dataclass
class Completion:
    """A drawn text: its ids (the closing token included), and where asked for, log-probabilities of each token.

    `logprobs`: stream -> T numbers; `combined`: T numbers under the normalised sum of the weights, before mask and
    temperature; `plausible`: whether the mask let the token pass.
    """

    token_ids: list[int] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"
    logprobs: dict[str, list[float]] = field(default_factory=dict)
    combined: list[float] = field(default_factory=list)
    plausible: list[bool] = field(default_factory=list)


def decode(
    pair: Pair,
    guidance: Guidance,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    suppress_tokens: Sequence[int] = (),
    lanes: int = 16,
    logprobs: bool = False,
) -> Iterator[Completion]:
    """Draw a text for every request, `lanes` of them in flight, and yield them in the requests' order.

    suppress_tokens: ids that are never drawn, whatever their probability, as in `transformers`.
    Raises ValueError on a guidance without streams and on a request that does not fit the context.
    """
    if not guidance.weights:
        raise ValueError("the guidance has no stream with a weight, so there is nothing to draw from")
    for request in requests:
        _check_fits(pair, guidance, request)
    for i in range(0, len(requests), lanes):
        yield from _decode_batch(pair, guidance, requests[i : i + lanes], sampling, suppress_tokens, logprobs)


@torch.inference_mode()
def _decode_batch(
    pair: Pair,
    guidance: Guidance,
    requests: Sequence[Request],
    sampling: Sampling,
    suppress_tokens: Sequence[int],
    logprobs: bool,
) -> list[Completion]:
    completions = [Completion() for _ in requests]
    flying = list(range(len(requests)))
    rows = _all_rows(pair, guidance)
    features: Features = {}
    for part in rows:
        features |= part.start(requests)
    seeds = torch.tensor([request.seed for request in requests], device=pair.base.device)
    step = torch.zeros_like(seeds)
    suppressed = torch.tensor(suppress_tokens, dtype=torch.long, device=seeds.device)
    while flying:
        combined = _combined(pair, guidance, features)  # (B, V)
        passed = _passed(pair, guidance, features)  # (B, V) bool, or None
        if requests[0].forced is None:
            allowed = combined if passed is None else combined.masked_fill(~passed, -torch.inf)
            if suppress_tokens:
                allowed = allowed.index_fill(1, suppressed, -torch.inf)
            tokens = draw(allowed, seeds, step, sampling)
        else:
            tokens = torch.tensor([_forced(requests[i], len(completions[i].token_ids)) for i in flying]).to(seeds)
        if logprobs:
            _record(pair, features, combined, passed, tokens, [completions[i] for i in flying])
        kept = []
        for lane, (i, token) in enumerate(zip(flying, tokens.tolist(), strict=True)):
            completions[i].token_ids.append(token)
            if not _ended(pair, requests[i], completions[i]):
                kept.append(lane)
        if not kept:
            break
        if len(kept) < len(flying):
            flying = [flying[lane] for lane in kept]
            lanes = torch.tensor(kept, device=seeds.device)
            tokens, seeds, step = tokens[lanes], seeds[lanes], step[lanes]
            for part in rows:
                part.keep(kept)
        step = step + 1
        features = {}
        for part in rows:
            features |= part.advance(tokens)
    return completions


def _forced(request: Request, step: int) -> int:
    assert request.forced is not None
    return request.forced[step]


def _ended(pair: Pair, request: Request, completion: Completion) -> bool:
    if request.forced is not None:
        return len(completion.token_ids) == len(request.forced)
    if completion.token_ids[-1] in pair.stop_ids:
        completion.finish = "stop"
        return True
    return len(completion.token_ids) >= request.max_new_tokens


def _combined(pair: Pair, guidance: Guidance, features: Features) -> Tensor:
    """The weighted sum of the streams' logits: within one network summed before its head, which is linear."""
    mixed: dict[int, tuple[Network, Tensor]] = {}
    for stream, weight in guidance.weights.items():
        network, _ = pair.locate(stream)
        term = weight * features[stream].float()
        mixed[id(network)] = (network, mixed[id(network)][1] + term if id(network) in mixed else term)
    logits = [network.head(total.to(network.dtype)) for network, total in mixed.values()]
    return logits[0] if len(logits) == 1 else torch.stack(logits).sum(0)


def _passed(pair: Pair, guidance: Guidance, features: Features) -> Tensor | None:
    if guidance.mask is None:
        return None
    network, _ = pair.locate(guidance.mask.stream)
    return plausible(network.head(features[guidance.mask.stream]), guidance.mask.alpha, guidance.mask.top_p)


def _record(
    pair: Pair,
    features: Features,
    combined: Tensor,
    passed: Tensor | None,
    tokens: Tensor,
    completions: Sequence[Completion],
) -> None:
    """Note each drawn token's log-probability under every stream and under the normalised sum."""
    column = tokens[:, None]
    for stream, feature in features.items():
        logits = pair.locate(stream)[0].head(feature)
        for completion, value in zip(completions, _logprob(logits, column), strict=True):
            completion.logprobs.setdefault(str(stream), []).append(value)
    let_through = [True] * len(completions) if passed is None else passed.gather(1, column)[:, 0].tolist()
    for completion, value, through in zip(completions, _logprob(combined, column), let_through, strict=True):
        completion.combined.append(value)
        completion.plausible.append(through)


def _logprob(logits: Tensor, column: Tensor) -> list[float]:
    values: list[float] = (logits.gather(1, column) - logits.logsumexp(-1, keepdim=True))[:, 0].tolist()
    return values


def _all_rows(pair: Pair, guidance: Guidance) -> "list[_CachedRows | _WindowRows]":
    """The streams of a guidance by the forward that computes them."""
    cached: dict[int, _CachedRows] = {}
    windows: list[_WindowRows] = []
    for stream in guidance.streams:
        network, strength = pair.locate(stream)
        if stream.context.kind == "tail":
            windows.append(_WindowRows(network, stream, strength))
        else:
            cached.setdefault(id(network), _CachedRows(network)).streams[stream] = strength
    return [*cached.values(), *windows]


class _CachedRows:
    """Streams that grow by one token a step: row s * B + b is stream s of sample b."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.streams: dict[Stream, float] = {}
        self.cache: SlotCache
        self.positions: Tensor  # (R,) where each row's next token goes
        self.strengths: Tensor  # (R,)

    def start(self, requests: Sequence[Request]) -> Features:
        """Read every distinct (strength, context) once, alone and unpadded, and copy it to the rows that share it."""
        keys = [(strength, r.contexts.of(s.context)) for s, strength in self.streams.items() for r in requests]
        read = {key: self._read(*key) for key in dict.fromkeys(keys)}
        device = self.network.device
        self.positions = torch.tensor([len(ids) for _, ids in keys], device=device)
        self.strengths = torch.tensor([strength for strength, _ in keys], device=device)
        room = max(request.max_new_tokens for request in requests)
        self.cache = self.network.new_cache(int(self.positions.max()) + room)
        self.cache.fill([read[key][0] for key in keys])
        return self._by_stream(torch.cat([read[key][1] for key in keys]))

    def advance(self, tokens: Tensor) -> Features:
        """tokens (B,) -> the features after them."""
        ids = tokens.repeat(len(self.streams))[:, None]
        features = self.network.forward(ids, self.positions[:, None], self.cache, self.strengths)
        self.positions = self.positions + 1
        return self._by_stream(features[:, -1])

    def keep(self, lanes: Sequence[int]) -> None:
        samples = len(self.positions) // len(self.streams)
        rows = torch.tensor([s * samples + lane for s in range(len(self.streams)) for lane in lanes])
        rows = rows.to(self.positions.device)
        self.cache.keep(rows)
        self.positions, self.strengths = self.positions[rows], self.strengths[rows]

    def _read(self, strength: float, ids: tuple[int, ...]) -> tuple[SlotCache, Tensor]:
        device = self.network.device
        cache = self.network.new_cache(len(ids))
        positions = torch.arange(len(ids), device=device)[None]
        strengths = torch.full((1,), strength, device=device)
        features = self.network.forward(torch.tensor([ids], device=device), positions, cache, strengths)
        return cache, features[:, -1]

    def _by_stream(self, features: Tensor) -> Features:
        return dict(zip(self.streams, features.chunk(len(self.streams)), strict=True))


class _WindowRows:
    """One stream that sees only the last tokens: the window is read anew each step, since every layer forgets."""

    def __init__(self, network: Network, stream: Stream, strength: float) -> None:
        self.network, self.stream, self.strength = network, stream, strength
        self.size = stream.context.size or 0
        self.windows: list[tuple[int, ...]] = []

    def start(self, requests: Sequence[Request]) -> Features:
        self.windows = [request.contexts.of(self.stream.context) for request in requests]
        return self._features()

    def advance(self, tokens: Tensor) -> Features:
        pairs = zip(self.windows, tokens.tolist(), strict=True)
        self.windows = [(*window, token)[-self.size :] for window, token in pairs]
        return self._features()

    def keep(self, lanes: Sequence[int]) -> None:
        self.windows = [self.windows[lane] for lane in lanes]

    def _features(self) -> Features:
        device = self.network.device
        longest = max(map(len, self.windows))
        # Shorter windows are filled up behind their last token, which does not see what follows.
        ids = torch.tensor([(*window, *[0] * (longest - len(window))) for window in self.windows], device=device)
        positions = torch.arange(longest, device=device).expand(len(ids), -1)
        strengths = torch.full((len(ids),), self.strength, device=device)
        features = self.network.forward(ids, positions, self.network.new_cache(longest), strengths)
        last = torch.tensor([len(window) - 1 for window in self.windows], device=device)
        return {self.stream: features[torch.arange(len(ids), device=device), last]}


def _check_fits(pair: Pair, guidance: Guidance, request: Request) -> None:
    for stream in guidance.streams:
        network, _ = pair.locate(stream)
        shown = len(request.contexts.of(stream.context))
        limit = network.context_limit
        if not shown:
            raise ValueError(f"{stream}: nothing stands before the text, not even a token that begins a document")
        if stream.context.kind != "tail" and limit is not None and shown + request.max_new_tokens > limit:
            raise ValueError(
                f"{stream} is shown {shown} tokens and {request.max_new_tokens} are to follow, but {network.name} "
                f"holds {limit}: shorten the prompt, show fewer negatives, or lower sampling.max_new_tokens"
            )
