"""Keys and values of rows that stand at different positions.

In the caches of `transformers` every row has the same length, and shorter ones are padded on the left. Here a row's
token at position p lies in column p, whatever the other rows hold, so a row's own position says where to write and how
far to look, and nothing is ever padded.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, (R, H, capacity, D)."""

    def __init__(self, slots: "SlotCache") -> None:
        super().__init__()
        self.slots = slots

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        rows, heads, _, width = key_states.shape
        self.keys = key_states.new_zeros(rows, heads, self.slots.capacity, width)
        self.values = value_states.new_zeros(rows, heads, self.slots.capacity, value_states.shape[-1])
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write (R, H, T, D) at each row's positions and return the columns in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None
        assert self.values is not None
        rows = torch.arange(key_states.shape[0], device=key_states.device)[:, None]
        self.keys[rows, :, self.slots.positions] = key_states.transpose(1, 2)
        self.values[rows, :, self.slots.positions] = value_states.transpose(1, 2)
        return self.keys[:, :, : self.slots.used], self.values[:, :, : self.slots.used]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.slots.used, 0

    def get_seq_length(self) -> int:
        return self.slots.used

    def get_max_length(self) -> int:
        return self.slots.capacity


class SlotCache(Cache):  # type: ignore[misc]
    """A preallocated cache with a write position per row.

    Call `place(positions)` with the (R, T) positions of the tokens to come, then run the model's forward.
    """

    def __init__(self, layers: int, capacity: int) -> None:
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])
        self.capacity = capacity
        self.used = 0
        self.positions = torch.empty(0, 0, dtype=torch.long)

    def place(self, positions: Tensor) -> None:
        self.positions = positions
        self.used = int(positions.max()) + 1
        assert self.used <= self.capacity, "the cache was allocated too small"

    def fill(self, sources: list["SlotCache"]) -> None:
        """Start row r with a copy of what the one row of `sources[r]` holds."""
        copies: dict[SlotCache, list[int]] = {}
        for row, source in enumerate(sources):
            copies.setdefault(source, []).append(row)
        for i, layer in enumerate(self.layers):
            for name in ("keys", "values"):
                first = getattr(sources[0].layers[i], name)
                store = first.new_zeros(len(sources), first.shape[1], self.capacity, first.shape[3])
                for source, rows in copies.items():
                    store[rows, :, : source.used] = getattr(source.layers[i], name)[:, :, : source.used]
                setattr(layer, name, store)
            layer.is_initialized = True

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these, (K,) indices."""
        for layer in self.layers:
            layer.keys, layer.values = layer.keys[rows], layer.values[rows]
