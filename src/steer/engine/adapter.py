"""A LoRA adapter with a strength for each row, in the place of PEFT's one number for all."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D

TILE = 128  # rows that a kernel for short numbers multiplies at once


class Dial:
    """The adapted layers of a PEFT model; `at` sets the strength of every row of the forwards that follow.

    Rows of strength 0 stand last and take no part in the adapter's products. Outside of `at` and `merged` the layers
    are as PEFT has them. Raises ValueError on an adapter whose effect is not one product to be added.
    """

    def __init__(self, model: Any, name: str) -> None:
        from peft import LoraConfig
        from peft.tuners.lora import LoraLayer
        from peft.tuners.lora.layer import Linear

        adapter = model.active_adapter
        config = model.peft_config[adapter]
        layers = [module for module in model.modules() if isinstance(module, LoraLayer) and adapter in module.scaling]
        plain = isinstance(config, LoraConfig) and not (
            config.use_dora
            or config.lora_bias
            or config.modules_to_save
            or config.bias != "none"
            or config.trainable_token_indices
        )
        if not plain or not layers or any(layer.lora_variant or not isinstance(layer, Linear) for layer in layers):
            raise ValueError(
                f"adapter of {name}: its strength cannot be dialled for each row (expected plain LoRA on linear "
                "layers: no DoRA, no bias, no modules_to_save); merge it into the model and give the merged folder as "
                "the domain model"
            )
        self.strengths: Tensor | None = None  # of the rows that have any; None where PEFT is in charge
        self.uniform = True  # all of these are 1
        self.merged_at: float | None = None  # the strength that is in the weights
        self.seen: list[tuple[_Layer, Tensor]] | None = None  # which layer was given what, while that is watched
        self._layers = [_Layer(self, layer, adapter) for layer in layers]

    def join(self, forward: Callable[[], object]) -> None:
        """Let the layers that are given the same tensor in a forward, such as q, k and v, share one product."""
        self.seen = []
        try:
            forward()
        finally:
            seen, self.seen = self.seen, None
        families: list[list[_Layer]] = []
        before = None
        for layer, x in seen:
            if x is before and layer not in families[-1]:
                families[-1].append(layer)
            else:
                families.append([layer])
            before = x
        # One that is run more than once, or not at all on these few tokens, stays by itself.
        runs = Counter(layer for family in families for layer in family)
        for family in families:
            if all(runs[layer] == 1 for layer in family):
                _Family(family)
        for layer in self._layers:
            if not hasattr(layer, "family"):
                _Family([layer])

    @property
    def nbytes(self) -> int:
        """What a second copy of all adapted weights takes, while they are merged."""
        return sum(layer.matrix.nbytes for layer in self._layers)

    def holds(self, weight: Tensor) -> bool:
        """Whether some adapted layer has these very weights."""
        return any(layer.base.weight is weight for layer in self._layers)

    @contextmanager
    def at(self, strengths: Tensor) -> Iterator[None]:
        """strengths: (R,) of the rows to come, those of 0 last; while the adapter is merged, of that strength only."""
        rows = int((strengths != 0).sum())
        assert not strengths[rows:].any(), "rows without the adapter stand last"
        if self.merged_at is not None and not (strengths == self.merged_at).all():
            raise self._busy()
        mine = strengths[: rows if self.merged_at is None else 0]
        before = self.strengths, self.uniform
        self.strengths = mine[:, None, None].to(self._layers[0].matrix.device)
        self.uniform = bool((mine == 1).all())
        try:
            yield
        finally:
            self.strengths, self.uniform = before
            for layer in self._layers:
                layer.family.forget()

    @contextmanager
    def merged(self, strength: float) -> Iterator[None]:
        """The adapter in the weights themselves, for rows that all have one strength; then no row needs a product.

        On leaving, the weights are the same tensors as before: adding and taking away would round. Raises RuntimeError
        where it is merged already.
        """
        if self.merged_at is not None:
            raise self._busy()
        before = [layer.matrix for layer in self._layers]
        try:
            for layer in self._layers:
                layer.merge(strength)
            self.merged_at = strength
            yield
        finally:
            self.merged_at = None
            for layer, matrix in zip(self._layers, before, strict=True):
                layer.matrix = matrix

    def _busy(self) -> RuntimeError:
        return RuntimeError(f"the adapter is in the weights at {self.merged_at}: finish that decoding first")


class _Layer:
    """One adapted layer: y = W x, and for the rows that have a strength, + strength * B A x."""

    family: "_Family"

    def __init__(self, dial: Dial, layer: Any, adapter: str) -> None:
        self.dial, self.plain, self.base = dial, layer.forward, layer.get_base_layer()
        kind = self.base.weight.dtype
        self.down = layer.lora_A[adapter].weight.detach().to(kind)  # (r, in)
        self.up = (layer.lora_B[adapter].weight.detach() * layer.scaling[adapter]).to(kind)  # (out, r)
        layer.forward = self

    @property
    def matrix(self) -> Tensor:
        """W, (out, in), however the layer keeps it."""
        data: Tensor = self.base.weight.data
        return data.mT if isinstance(self.base, Conv1D) else data

    @matrix.setter
    def matrix(self, matrix: Tensor) -> None:
        self.base.weight.data = matrix.mT if isinstance(self.base, Conv1D) else matrix

    @torch.no_grad()
    def merge(self, strength: float) -> None:
        self.matrix = torch.addmm(self.matrix, self.up, self.down, alpha=strength)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        strengths = self.dial.strengths
        if strengths is None:
            if self.dial.seen is not None:
                self.dial.seen.append((self, x))
            plain: Tensor = self.plain(x, *args, **kwargs)
            return plain
        if not len(strengths):
            bare: Tensor = self.base(x)
            return bare
        return self.family.of(self, x)


class _Family:
    """Layers that are given the same tensor, as one product: their W and A in one matrix, of which each W is a view.

    The first to be asked computes for all; the others take their columns, if it is the same tensor indeed.
    """

    def __init__(self, layers: Sequence[_Layer]) -> None:
        self.dial = layers[0].dial
        blocks = [*(layer.matrix for layer in layers), *(layer.down for layer in layers)]
        self.rank = sum(len(layer.down) for layer in layers)
        if blocks[0].dtype != torch.float32:
            # Kernels for short numbers work in tiles: a product is up to a third slower beside a full one.
            blocks.append(blocks[0].new_zeros(-sum(map(len, blocks)) % TILE, blocks[0].shape[1]))
        self.matrix = torch.cat(blocks)
        self.up = torch.block_diag(*(layer.up.mT for layer in layers)).contiguous()  # (all r, all out)
        biases = [layer.base.bias for layer in layers]
        self.bias = None
        if any(bias is not None for bias in biases):
            none = [layer.up.new_zeros(len(layer.up)) for layer in layers]
            self.bias = torch.cat([n if b is None else b.detach() for b, n in zip(biases, none, strict=True)])
        self.columns, first = {}, 0
        for layer in layers:
            self.columns[layer] = slice(first, first + len(layer.up))
            layer.matrix = self.matrix[self.columns[layer]]
            layer.family = self
            first += len(layer.up)
        self.size = first
        self.given: Tensor | None = None
        self.made: Tensor | None = None
        self.left = 0  # how many of them have still to ask

    def of(self, layer: _Layer, x: Tensor) -> Tensor:
        if x is not self.given:
            self.given, self.made, self.left = x, self._product(x), len(self.columns)
        assert self.made is not None
        mine = self.made[..., self.columns[layer]]
        self.left -= 1
        if not self.left:
            self.forget()
        return mine

    def forget(self) -> None:
        """Let go of what was computed, which for a long context is much in every layer."""
        self.given = self.made = None

    def _product(self, x: Tensor) -> Tensor:
        strengths = self.dial.strengths
        assert strengths is not None
        rows, both = len(strengths), linear(x, self.matrix)
        result, low = both[..., : self.size], both[:rows, ..., self.size : self.size + self.rank]
        if self.bias is not None:
            result += self.bias
        if not self.dial.uniform:
            low = low * strengths
        mine = both[:rows].view(-1, both.shape[-1])[:, : self.size]
        mine.addmm_(low.reshape(-1, low.shape[-1]), self.up)
        return result
