"""The streams of the texts in flight: which rows compute them, and what is read before a text begins."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import groupby

import torch
from torch import Tensor

from steer.engine.cache import Slots
from steer.engine.contexts import Contexts
from steer.engine.models import Pair
from steer.engine.network import REMEMBERED, Network
from steer.guidance import Guidance, Stream

Features = dict[Stream, Tensor]  # stream -> (B, F)

# A prefix is shared where that saves copies of so many bytes in each layer: smaller copies are read more quickly than
# attention in two places takes (benchmarks/levers.py).
SHARED = 3 * 2**19


class Flight:
    """All streams of the texts in flight, by the forwards that compute them."""

    def __init__(self, pair: Pair, guidance: Guidance, shown: Sequence[Contexts], lanes: int, room: int) -> None:
        """shown: what the texts to come are shown. room: the longest text in tokens."""
        self.device = pair.base.device
        cached: dict[int, tuple[Network, dict[Stream, float]]] = {}
        self._streams: list[CachedStreams | WindowStream] = []
        self._twins: dict[Stream, Stream] = {}  # streams that see what another one sees, and need no rows
        first: dict[tuple[object, ...], Stream] = {}
        for stream in guidance.streams:
            network, strength = pair.locate(stream)
            seen = stream.context if stream.context.kind == "tail" else tuple(c.of(stream.context) for c in shown)
            twin = first.setdefault((id(network), strength, seen), stream)
            if twin is not stream:
                self._twins[stream] = twin
            elif stream.context.kind == "tail":
                self._streams.append(WindowStream(network, stream, strength, lanes))
            else:
                cached.setdefault(id(network), (network, {}))[1][stream] = strength
        self._streams += [CachedStreams(*one, shown, lanes, room) for one in cached.values()]

    @property
    def nbytes(self) -> int:
        """What the lanes need in memory beside the weights, allocated with the first text."""
        merged = sum(network.merging(strength) for network, strength in self._single())
        return merged + sum(streams.nbytes for streams in self._streams)

    @contextmanager
    def engaged(self, *, merge: bool) -> Iterator[None]:
        """merge: where a network's streams have one strength only, its adapter is part of the weights meanwhile."""
        with ExitStack() as stack:
            for network, strength in self._single() if merge else ():
                stack.enter_context(network.merged(strength))
            yield

    def _single(self) -> list[tuple[Network, float]]:
        """The networks whose streams are all of one strength."""
        strengths: dict[int, tuple[Network, set[float]]] = {}
        for streams in self._streams:
            strengths.setdefault(id(streams.network), (streams.network, set()))[1].update(streams.streams.values())
        return [(network, next(iter(wanted))) for network, wanted in strengths.values() if len(wanted) == 1]

    def start(self, lanes: Sequence[int], shown: Sequence[Contexts]) -> Features:
        """Begin a text in each of these lanes -> the features (n, F) from which their first tokens are drawn."""
        return self._all({stream: rows for s in self._streams for stream, rows in s.start(lanes, shown).items()})

    def advance(self, tokens: Tensor) -> Features:
        """tokens: the newest of every lane, (B,) -> the features after them."""
        tokens = tokens.to(self.device)
        return self._all({stream: rows for s in self._streams for stream, rows in s.advance(tokens).items()})

    def _all(self, features: Features) -> Features:
        return features | {stream: features[twin] for stream, twin in self._twins.items()}

    def vacate(self, lane: int) -> None:
        """The lane's text has ended."""
        for streams in self._streams:
            streams.vacate(lane)

    def keep(self, lanes: Sequence[int]) -> None:
        """Drop all lanes but these."""
        for streams in self._streams:
            streams.keep(lanes)


class CachedStreams:
    """Streams of one network that grow by one token a step: stream s of lane b is row s * B + b of one forward.

    Streams with the adapter stand first, those that are shown the same kind of context side by side.
    """

    def __init__(
        self, network: Network, streams: dict[Stream, float], shown: Sequence[Contexts], lanes: int, room: int
    ):
        self.network, self.lanes = network, lanes
        self.streams = dict(sorted(streams.items(), key=lambda item: (item[1] == 0, item[0].context.kind)))
        self._kinds = [list(alike) for _, alike in groupby(self.streams, key=lambda stream: stream.context)]
        self._prefixes = 0  # tokens that stand in shared prefixes
        parts, capacity = [], 0
        for members in self._kinds:
            texts = [contexts.of(members[0].context) for contexts in shown]
            longest = max(map(len, texts))
            # Of so many lanes at once, how many different ones are to be expected.
            distinct = -(-lanes * len(set(texts)) // len(texts))
            window = network.window is not None and network.window < longest + room
            saved = (lanes - distinct) * longest * network.bytes_per_token // network.layers
            shared = saved >= SHARED and not window
            parts.append((len(members) * lanes, shared))
            capacity = max(capacity, room + (0 if shared else longest))
            self._prefixes += len(members) * distinct * longest if shared else 0
        self.slots = Slots(parts, capacity, network.device)
        self._spread()

    def _spread(self) -> None:
        self.strengths = torch.tensor(list(self.streams.values())).repeat_interleave(self.lanes)

    @property
    def nbytes(self) -> int:
        """The slots, the contexts that are remembered, and each lane's logits, three times in float32."""
        tokens = len(self.strengths) * self.slots.capacity + max(REMEMBERED, self._prefixes)
        return tokens * self.network.bytes_per_token + 3 * 4 * self.lanes * self.network.vocabulary

    def start(self, lanes: Sequence[int], shown: Sequence[Contexts]) -> Features:
        features: Features = {}
        for part, streams in zip(self.slots.parts, self._kinds, strict=True):
            for s, stream in enumerate(streams):
                prefixes = [self.network.read(c.of(stream.context), self.streams[stream]) for c in shown]
                for lane, prefix in zip(lanes, prefixes, strict=True):
                    self.slots.place(part, s * self.lanes + lane, prefix)
                features[stream] = torch.stack([prefix.features for prefix in prefixes])
        self.slots.regroup()
        return features

    def advance(self, tokens: Tensor) -> Features:
        features = self.network.advance(tokens.repeat(len(self.streams)), self.slots, self.strengths)
        return dict(zip(self.streams, features.chunk(len(self.streams)), strict=True))

    def vacate(self, lane: int) -> None:
        for part, streams in zip(self.slots.parts, self._kinds, strict=True):
            for s in range(len(streams)):
                self.slots.vacate(part, s * self.lanes + lane)

    def keep(self, lanes: Sequence[int]) -> None:
        self.slots.keep(lanes, self.lanes)
        self.lanes = len(lanes)
        self._spread()


class WindowStream:
    """One stream that sees only the last tokens: the window is read anew each step, since every layer forgets."""

    def __init__(self, network: Network, stream: Stream, strength: float, lanes: int) -> None:
        self.network, self.stream, self.streams = network, stream, {stream: strength}
        self.size = stream.context.size or 0
        self.windows: list[tuple[int, ...]] = [(0,)] * lanes

    @property
    def nbytes(self) -> int:
        return len(self.windows) * (self.size * self.network.bytes_per_token + 4 * self.network.vocabulary)

    def start(self, lanes: Sequence[int], shown: Sequence[Contexts]) -> Features:
        for lane, contexts in zip(lanes, shown, strict=True):
            self.windows[lane] = contexts.of(self.stream.context)
        return self._read([self.windows[lane] for lane in lanes])

    def advance(self, tokens: Tensor) -> Features:
        pairs = zip(self.windows, tokens.tolist(), strict=True)
        self.windows = [(*window, token)[-self.size :] for window, token in pairs]
        return self._read(self.windows)

    def vacate(self, lane: int) -> None:
        self.windows[lane] = (0,)

    def keep(self, lanes: Sequence[int]) -> None:
        self.windows = [self.windows[lane] for lane in lanes]

    def _read(self, windows: Sequence[tuple[int, ...]]) -> Features:
        longest = max(map(len, windows))
        # Shorter windows are filled up behind their last token, which does not see what follows.
        ids = torch.tensor([(*window, *[0] * (longest - len(window))) for window in windows])
        features = self.network.features(ids.to(self.network.device), self.streams[self.stream])
        last = torch.tensor([len(window) - 1 for window in windows], device=features.device)
        return {self.stream: features[torch.arange(len(windows), device=features.device), last]}
