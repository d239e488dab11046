"""Decoders that look for one text rather than draw one: beam search and contrastive search.

Beam search is that of `transformers`. Contrastive search runs on the engine's own cache, many texts at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize
from transformers import DynamicCache, GenerationConfig

from steer.config import Sampling
from steer.engine.cache import Prefix, Slots
from steer.engine.memory import LANES, SPARE
from steer.engine.models import Pair
from steer.engine.network import Network
from steer.engine.requests import Completion, Request
from steer.engine.sampling import largest
from steer.engine.streams import Flight
from steer.engine.trace import SPAN, logprob
from steer.guidance import Guidance, Stream


@dataclass(frozen=True)
class _Start:
    """Where a search sets out: what its stream is shown, a drawn prefix included, and at most how many tokens follow.

    One start has one text, so that equal ones are looked for once.
    """

    ids: tuple[int, ...]
    room: int


@dataclass(frozen=True)
class _Task:
    """What all starts have in common."""

    network: Network
    strength: float
    sampling: Sampling
    stop_ids: frozenset[int]
    suppressed: tuple[int, ...]
    logprobs: bool

    @property
    def rows(self) -> int:
        """Of one text in flight: its beams, or its candidates."""
        return self.sampling.num_beams if self.sampling.num_beams > 1 else self.sampling.top_k


@dataclass
class _Found:
    """The text of a start: the ids that follow, the closing one included, and their log-probabilities if asked for."""

    start: _Start
    ids: list[int]
    logprobs: list[float]


def search(
    pair: Pair,
    guidance: Guidance,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    suppress_tokens: Sequence[int] = (),
    lanes: int | None = None,
    logprobs: bool = False,
) -> Iterator[Completion]:
    """Look for a text for every request, at most `lanes` of them at once, and yield them in the requests' order.

    The first `sampling.prefix` tokens are drawn, and count with their entropy; what is searched has none.
    lanes: None is as many as memory allows, up to 32; each of them has a row for every beam or candidate.
    suppress_tokens: ids that no text contains; log-probabilities are those before any is suppressed.
    Where a GPU's memory does not suffice, what is not found yet is looked for again with half the lanes.
    Raises ValueError on a guidance that is not one stream as it is.
    """
    stream = _only_stream(guidance)
    assert all(request.forced is None for request in requests), "a text that is given is not looked for"
    openings = _openings(pair, guidance, requests, sampling, suppress_tokens, lanes, logprobs)
    starts = [_start(request, stream, opening) for request, opening in zip(requests, openings, strict=True)]
    task = _Task(*pair.locate(stream), sampling, pair.stop_ids, tuple(suppress_tokens), logprobs)
    unfinished = [start for start in starts if start.room]
    results = _persistently(task, unfinished, lanes or _fitting(pair, guidance, requests, task.rows))
    known: dict[_Start, _Found] = {}
    for opening, start in zip(openings, starts, strict=True):
        while start.room and start not in known:
            found = next(results)
            known[found.start] = found
        yield _completion(task, stream, opening, known[start]) if start.room else opening


def _only_stream(guidance: Guidance) -> Stream:
    """The one stream of a guidance that is nothing but this stream."""
    stream, *others = guidance.streams
    if others or guidance.mask or guidance.weights[stream] != 1 or stream.context.kind == "tail":
        raise ValueError(
            f"{guidance}: a search looks at one stream that sees the whole text, without a weight or a mask; "
            "set guidance.formula to one such as domain, or draw instead (num_beams 1 and penalty_alpha 0)"
        )
    return stream


def _openings(
    pair: Pair,
    guidance: Guidance,
    requests: Sequence[Request],
    sampling: Sampling,
    suppress_tokens: Sequence[int],
    lanes: int | None,
    logprobs: bool,
) -> list[Completion]:
    """The drawn beginning of each request's text, empty where none is to be drawn."""
    from steer.engine.decode import decode

    if not sampling.prefix:
        return [Completion() for _ in requests]
    short = [replace(request, max_new_tokens=min(sampling.prefix, request.max_new_tokens)) for request in requests]
    options: dict[str, Any] = {"suppress_tokens": suppress_tokens, "lanes": lanes, "logprobs": logprobs}
    return list(decode(pair, guidance, short, sampling.opening, **options))


def _start(request: Request, stream: Stream, opening: Completion) -> _Start:
    room = 0 if opening.finish == "stop" else request.max_new_tokens - len(opening.token_ids)
    return _Start((*request.contexts.of(stream.context), *opening.token_ids), room)


def _completion(task: _Task, stream: Stream, opening: Completion, found: _Found) -> Completion:
    ids, combined = opening.token_ids + found.ids, opening.combined + found.logprobs
    return Completion(
        token_ids=ids,
        finish="stop" if ids[-1] in task.stop_ids else "length",
        entropy=opening.entropy * len(opening.token_ids) / len(ids),
        logprobs={str(stream): list(combined)} if task.logprobs else {},
        combined=combined,
        plausible=[True] * len(combined),
    )


def _fitting(pair: Pair, guidance: Guidance, requests: Sequence[Request], rows: int) -> int:
    """So many texts of `rows` rows each fit in memory together: up to LANES, at least one."""
    shown, room = [request.contexts for request in requests], max(request.max_new_tokens for request in requests)
    lanes, free = min(LANES, len(requests)), (1 - SPARE) * pair.base.free_memory()
    while lanes > 1 and rows * Flight(pair, guidance, shown, lanes, room).nbytes > free:
        lanes //= 2
    return lanes


def _persistently(task: _Task, starts: Sequence[_Start], lanes: int) -> Iterator[_Found]:
    """The text of every start, once for equal ones; when memory runs out, what is left with half the lanes."""
    left = dict.fromkeys(starts)
    while left:
        find = _beams if task.sampling.num_beams > 1 else _contrastive
        try:
            for found in find(task, list(left), lanes):
                del left[found.start]
                yield found
        except torch.OutOfMemoryError:
            if min(lanes, len(left)) == 1:
                raise
            lanes = min(lanes, len(left)) // 2


def _beams(task: _Task, starts: Sequence[_Start], lanes: int) -> Iterator[_Found]:
    """The best beam of each, as `transformers` finds it; starts of one length go together, without padding."""
    network = task.network
    alike: dict[tuple[int, int], list[_Start]] = {}
    for start in starts:
        alike.setdefault((len(start.ids), start.room), []).append(start)
    with network.merged(task.strength):
        for (_, room), group in alike.items():
            for first in range(0, len(group), lanes):
                some = group[first : first + lanes]
                texts = _generated(task, torch.tensor([start.ids for start in some], device=network.device), room)
                for start, text in zip(some, texts, strict=True):
                    yield _Found(start, text, _scored(task, start, text) if task.logprobs else [])


def _generated(task: _Task, ids: Tensor, room: int) -> list[list[int]]:
    """What the model's own `generate` writes after (B, P) ids.

    Settings that are not given it takes from the model's own, so these are put aside meanwhile.
    """
    model, dial, stop_ids = task.network.model, task.network.dial, sorted(task.stop_ids)
    settings = GenerationConfig(
        num_beams=task.rows,
        do_sample=False,
        max_new_tokens=room,
        eos_token_id=stop_ids,
        pad_token_id=stop_ids[0],
        suppress_tokens=list(task.suppressed) or None,
    )
    strengths = torch.full((len(ids) * task.rows,), task.strength, dtype=task.network.dtype)
    own, model.generation_config = model.generation_config, settings
    try:
        with dial.at(strengths) if dial else nullcontext():
            found = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    finally:
        model.generation_config = own
    texts: list[list[int]] = found[:, ids.shape[1] :].tolist()
    ends = [next((t for t, token in enumerate(text) if token in task.stop_ids), room - 1) for text in texts]
    return [text[: end + 1] for text, end in zip(texts, ends, strict=True)]


@torch.inference_mode()
def _scored(task: _Task, start: _Start, text: Sequence[int]) -> list[float]:
    """The log-probability in nats of each of a text's T tokens."""
    network, ids = task.network, torch.tensor([[*start.ids, *text[:-1]]], device=task.network.device)
    features = network.features(ids, task.strength)[0, len(start.ids) - 1 :]  # (T, F)
    parts = zip(features.split(SPAN), torch.tensor(text).split(SPAN), strict=True)
    return [value for rows, tokens in parts for value in logprob(network.head(rows), tokens)]


def _contrastive(task: _Task, starts: Sequence[_Start], lanes: int) -> Iterator[_Found]:
    """Contrastive search, in lanes that are taken by the next start as texts end."""
    waiting = iter(starts)
    flying: list[_Found | None] = [None] * min(lanes, len(starts))
    candidates = _Candidates(task, len(flying), max(len(start.ids) + start.room for start in starts))
    with candidates.engaged():
        while True:
            for lane, text in enumerate(flying):
                if text is None and (start := next(waiting, None)):
                    flying[lane] = _Found(start, [], [])
                    candidates.start(lane, start.ids)
            # As in drawing: moving the others costs as much as a few steps of the empty ones.
            if 4 * flying.count(None) >= len(flying):
                kept = [lane for lane, text in enumerate(flying) if text]
                if not kept:
                    return
                candidates.keep(kept)
                flying = [flying[lane] for lane in kept]
            for lane, (token, value) in enumerate(candidates.step()):
                if text := flying[lane]:
                    text.ids.append(token)
                    text.logprobs += [value] * task.logprobs
                    if token in task.stop_ids or len(text.ids) == text.start.room:
                        flying[lane] = None
                        candidates.vacate(lane)
                        yield text


class _Candidates:
    """Texts in flight by contrastive search (Su et al. 2022, equation 5), k candidates for the next token of each:

        x_t = argmax over v among the k likeliest of (1 - alpha) p(v | x_<t) - alpha max over j < t of cos(h_v, h_j)

    h are final hidden states, as the head reads them; j runs over the prompt, too. Candidate c of lane b is row
    c * B + b of one forward. All rows of a lane hold the same past: the newest column is copied from the chosen one.
    """

    def __init__(self, task: _Task, lanes: int, columns: int) -> None:
        """columns: the longest text in tokens, the prompt included."""
        self.task, self.network, self.lanes = task, task.network, lanes
        self.k, self.alpha = min(task.rows, self.network.vocabulary), task.sampling.penalty_alpha
        device, width = self.network.device, self.network.model.get_output_embeddings().weight.shape[1]
        self.suppressed = torch.tensor(task.suppressed, dtype=torch.long, device=device)
        self.slots = Slots([(self.k * lanes, False)], columns, device)
        self.past = torch.zeros(lanes, columns, width, device=device)  # hidden states, of length 1
        self.logits = torch.zeros(lanes, self.network.vocabulary, device=device)  # of the next token
        self.hidden = torch.empty(0)  # what the latest forward left, (R, T, H)

    @contextmanager
    def engaged(self) -> Iterator[None]:
        """The adapter is part of the weights meanwhile, and hidden states are noted: features may be logits."""
        model = self.network.model

        def note(module: object, inputs: object, output: Any) -> None:
            self.hidden = output.last_hidden_state

        hook = getattr(model, model.base_model_prefix).register_forward_hook(note)
        try:
            with self.network.merged(self.task.strength):
                yield
        finally:
            hook.remove()

    @torch.inference_mode()
    def start(self, lane: int, ids: Sequence[int]) -> None:
        """Begin a text in this lane after P ids."""
        cache, read = DynamicCache(), torch.tensor([ids], device=self.network.device)
        features = self.network.features(read, self.task.strength, past_key_values=cache, use_cache=True)[0, -1]
        keys, values = ([getattr(layer, name)[0] for layer in cache.layers] for name in ("keys", "values"))
        for row in range(lane, self.k * self.lanes, self.lanes):
            self.slots.place(self.slots.parts[0], row, Prefix(tuple(keys), tuple(values), features))
        self.slots.regroup()
        self.past[lane, : len(ids)] = self._directions()[0]
        self.logits[lane] = self.network.head(features)

    @torch.inference_mode()
    def step(self) -> list[tuple[int, float]]:
        """The next token of every lane and its log-probability; those of vacated lanes mean nothing."""
        allowed = self.logits.index_fill(1, self.suppressed, -torch.inf)
        top, tokens = largest(allowed, self.k)  # (B, k)
        shares = (top - allowed.logsumexp(-1, keepdim=True)).exp()
        strengths = torch.full((self.k * self.lanes,), self.task.strength)
        features = self.network.advance(tokens.T.flatten(), self.slots, strengths).unflatten(0, (self.k, -1))
        newest = self._directions().view(self.k, self.lanes, -1)  # (k, B, H)
        columns = self.slots.last[: self.lanes].to(tokens.device)
        scores = (1 - self.alpha) * shares - self.alpha * self._similarity(newest, columns)
        chosen = scores.masked_fill(top == -torch.inf, -torch.inf).argmax(-1)  # (B,)
        lanes = torch.arange(self.lanes, device=chosen.device)
        values = top[lanes, chosen] - self.logits.logsumexp(-1)
        self.past[lanes, columns] = newest[chosen, lanes]
        self._share(chosen * self.lanes + lanes, columns)
        self.logits = self.network.head(features[chosen, lanes])
        return list(zip(tokens[lanes, chosen].tolist(), values.tolist(), strict=True))

    def _directions(self) -> Tensor:
        return normalize(self.hidden.float(), dim=-1)

    def _similarity(self, newest: Tensor, columns: Tensor) -> Tensor:
        """(k, B, H) directions, (B,) the columns where they stand -> the largest cosine with any before, (B, k)."""
        past = self.past[:, : int(self.slots.last.max())]
        cosines = torch.bmm(past, newest.permute(1, 2, 0))  # (B, C, k)
        ahead = torch.arange(past.shape[1], device=past.device) >= columns[:, None]
        return cosines.masked_fill_(ahead[:, :, None], -torch.inf).amax(1)

    def _share(self, rows: Tensor, columns: Tensor) -> None:
        """Copy the newest column of these rows, one of each lane, to all rows of their lanes."""
        everywhere, all_columns = torch.arange(self.k * self.lanes, device=rows.device), columns.repeat(self.k)
        for tensor in (*self.slots.keys, *self.slots.values):  # (k * B, heads, capacity, D)
            tensor[everywhere, :, all_columns] = tensor[rows, :, columns].repeat(self.k, 1, 1)

    def vacate(self, lane: int) -> None:
        for row in range(lane, self.k * self.lanes, self.lanes):
            self.slots.vacate(self.slots.parts[0], row)

    def keep(self, lanes: Sequence[int]) -> None:
        """Drop all lanes but these."""
        self.slots.keep(lanes, self.lanes)
        self.past, self.logits, self.lanes = self.past[lanes], self.logits[lanes], len(lanes)
