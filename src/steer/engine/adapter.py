"""A LoRA adapter with a strength for each row, in the place of PEFT's one number for all."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear
from transformers.pytorch_utils import Conv1D


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
            config.use_dora or config.modules_to_save or config.bias != "none" or config.trainable_token_indices
        )
        if not plain or not layers or any(layer.lora_variant or not isinstance(layer, Linear) for layer in layers):
            raise ValueError(
                f"adapter of {name}: its strength cannot be dialled for each row (expected plain LoRA on linear "
                "layers: no DoRA, no bias, no modules_to_save); merge it into the model and give the merged folder as "
                "the domain model"
            )
        self.strengths: Tensor | None = None  # of the rows that have any; None where PEFT is in charge
        self.uniform = True  # all of these are 1
        self.is_merged = False
        self._layers = [_Layer(self, layer, adapter) for layer in layers]

    def holds(self, weight: Tensor) -> bool:
        """Whether some adapted layer has these very weights."""
        return any(layer.base.weight is weight for layer in self._layers)

    @contextmanager
    def at(self, strengths: Tensor) -> Iterator[None]:
        """strengths: (R,) of the rows to come, those of 0 last."""
        rows = int((strengths != 0).sum())
        assert not strengths[rows:].any(), "rows without the adapter stand last"
        with self._set(strengths[: 0 if self.is_merged else rows]):
            yield

    @contextmanager
    def merged(self, strength: float) -> Iterator[None]:
        """The adapter in the weights themselves, for rows that all have one strength; then no row needs a product.

        On leaving, the weights are the same tensors as before: adding and taking away would round.
        """
        before = [layer.base.weight.data for layer in self._layers]
        try:
            for layer in self._layers:
                layer.merge(strength)
            self.is_merged = True
            yield
        finally:
            self.is_merged = False
            for layer, weight in zip(self._layers, before, strict=True):
                layer.base.weight.data = weight

    @contextmanager
    def _set(self, strengths: Tensor) -> Iterator[None]:
        before = self.strengths, self.uniform
        self.strengths, self.uniform = strengths[:, None, None], bool((strengths == 1).all())
        try:
            yield
        finally:
            self.strengths, self.uniform = before


class _Layer:
    """One adapted layer's forward: y = W x, and for the rows that have a strength, + strength * B A x.

    A stands below W in one matrix, of which W is a view: one product gives W x and A x.
    """

    def __init__(self, dial: Dial, layer: Any, adapter: str) -> None:
        self.dial, self.plain, self.base = dial, layer.forward, layer.get_base_layer()
        self.delta = partial(layer.get_delta_weight, adapter)
        weight = self.base.weight
        stored = weight.data.mT if isinstance(self.base, Conv1D) else weight.data  # (out, in)
        self.size = len(stored)
        down, up = (part[adapter].weight.detach().to(weight.dtype) for part in (layer.lora_A, layer.lora_B))
        self.both = torch.cat([stored, down])  # (out + r, in)
        weight.data = self.both[: self.size].mT if isinstance(self.base, Conv1D) else self.both[: self.size]
        self.up = (up * layer.scaling[adapter]).mT.contiguous()  # (r, out)
        layer.forward = self

    @torch.no_grad()
    def merge(self, strength: float) -> None:
        weight = self.base.weight
        weight.data = (weight.float() + strength * self.delta().float()).to(weight.dtype)

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        strengths = self.dial.strengths
        if strengths is None or not len(strengths):
            plain: Tensor = self.plain(x, *args, **kwargs) if strengths is None else self.base(x)
            return plain
        rows, both = len(strengths), linear(x, self.both)
        result, low = both[..., : self.size], both[:rows, ..., self.size :]
        if self.base.bias is not None:
            result += self.base.bias
        if not self.dial.uniform:
            low = low * strengths
        width = both.shape[-1]
        mine = both[:rows].view(-1, width)[:, : self.size]
        mine.addmm_(low.reshape(-1, low.shape[-1]), self.up)
        return result
