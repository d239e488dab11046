"""One model's weights, run on rows that differ in position and in adapter strength."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear

from steer.engine.cache import SlotCache


class Network:
    """One model's weights, run on rows that differ in position and in adapter strength.

    `features` are what can be summed before the head: final hidden states where the head is linear (the head of the
    weighted sum is then the weighted sum of the heads), else the logits themselves. Which it is, and whether the
    architecture can be served at all, is found out by comparing with the model's own forward.

    Raises ValueError, naming the model and the way out, on an architecture or adapter that cannot be served.
    """

    def __init__(self, model: Any, name: str) -> None:
        from peft import PeftModel

        self.name = name
        self.adapted = isinstance(model, PeftModel)
        self.model = model.get_base_model() if self.adapted else model
        self.model.eval()
        self.scalings = _lora_scalings(model, name) if self.adapted else []
        self.config = self.model.config.get_text_config()
        self._head = self.model.get_output_embeddings()
        self._decoder: Any = getattr(self.model, self.model.base_model_prefix, None)
        self.linear = type(self._head) is Linear and self._head.bias is None
        # A short probe does not reach the end of a window, so layers whose mask is not known are refused unseen.
        kinds = {
            *(getattr(self.config, "layer_types", None) or []),
            *(getattr(self.config, "attention_layers", None) or []),
        }
        if self._decoder is None or self._head is None or kinds - {"full_attention", "sliding_attention", "global"}:
            raise self._unservable()
        self.linear = self.linear and self._head_is_all()
        self._choose_features()

    @property
    def device(self) -> torch.device:
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def vocabulary(self) -> int:
        return int(self._head.weight.shape[0])

    @property
    def context_limit(self) -> int | None:
        """The longest sequence in tokens that the positions allow, None where the configuration states none."""
        return getattr(self.config, "max_position_embeddings", None)

    def new_cache(self, capacity: int) -> SlotCache:
        return SlotCache(self.config.num_hidden_layers, capacity)

    @torch.inference_mode()
    def forward(self, ids: Tensor, positions: Tensor, cache: SlotCache, strengths: Tensor) -> Tensor:
        """Run (R, T) tokens at their (R, T) positions; strengths (R,) -> features (R, T, F).

        Positions of a row are consecutive and start where the row's cached tokens end.
        """
        cache.place(positions)
        inputs = {
            "input_ids": ids,
            "position_ids": positions,
            "attention_mask": self._masks(positions, cache.used),
            "past_key_values": cache,
            "use_cache": True,
        }
        with self._strength(strengths):
            if self.linear:
                features: Tensor = self._decoder(**inputs).last_hidden_state
            else:
                features = self.model(**inputs).logits
        return features

    def hidden_states(self, ids: Tensor, strength: float) -> Tensor:
        """The final hidden states (1, T, H) of one text (1, T), read at once and without a cache."""
        with self._strength(torch.full((1,), strength, device=self.device)):
            states: Tensor = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def head(self, features: Tensor) -> Tensor:
        """(..., F) features -> (..., V) float32 logits."""
        return (self._head(features) if self.linear else features).float()

    @contextlib.contextmanager
    def _strength(self, strengths: Tensor) -> Iterator[None]:
        """The adapter at `strengths`, one number a row, and as it was again on leaving.

        PEFT multiplies the adapter's output (R, T, D) by `scaling`; a tensor (R, 1, 1) there is a dial for each row.
        """
        dial = strengths.to(self.dtype)[:, None, None]
        try:
            for scaling, adapter, value in self.scalings:
                scaling[adapter] = value * dial
            yield
        finally:
            for scaling, adapter, value in self.scalings:
                scaling[adapter] = value

    def _masks(self, positions: Tensor, used: int) -> Tensor | dict[str, Tensor]:
        """Additive attention masks (R, 1, T, used): a token sees the columns up to its own position."""
        columns = torch.arange(used, device=positions.device)
        distance = positions[:, None, :, None] - columns  # (R, 1, T, used)
        lowest = torch.finfo(self.dtype).min

        def mask(seen: Tensor) -> Tensor:
            return torch.zeros(seen.shape, dtype=self.dtype, device=seen.device).masked_fill_(~seen, lowest)

        window = getattr(self.config, "sliding_window", None) or 0
        layers = set(getattr(self.config, "layer_types", None) or [])
        if "sliding_attention" in layers:
            sliding = mask((distance >= 0) & (distance < window))
            return {"full_attention": mask(distance >= 0), "sliding_attention": sliding}
        if window and not layers:
            return mask((distance >= 0) & (distance < window))
        return mask(distance >= 0)

    @torch.inference_mode()
    def _head_is_all(self) -> bool:
        """Whether nothing follows the head: a soft cap may change the logits by less than a probe's rounding."""
        with contextlib.suppress(Exception):  # a forward that fails is reported by the probe that follows
            ids = torch.arange(3, 11, device=self.device)[None] % self.vocabulary
            alone = self._head(self._decoder(input_ids=ids, use_cache=False).last_hidden_state)
            return bool(torch.equal(alone, self.model(ids, use_cache=False).logits))
        return False

    @torch.inference_mode()
    def _choose_features(self) -> None:
        """Compare with the model's own forward on a few tokens: hidden states and head, else logits, else refuse.

        Two rows of different strength go apart after five tokens: the second steps back and writes its own from the
        fourth on, so that it must be kept from the columns which only the first still has.
        """
        ids = torch.arange(3, 11, device=self.device)[None] % self.vocabulary
        own = torch.cat([ids[:, :3], ids[:, 5:]], 1)
        try:
            expected = torch.cat([self._plain(ids, 1.0), self._plain(own, 0.0)[:, :6]], 1)
        except Exception as error:
            raise ValueError(f"model {self.name}: its forward fails ({type(error).__name__}: {error})") from error
        # bfloat16 keeps 8 bits; a wrong mask or a cap on the logits is larger than rounding by far.
        tolerance = 1e-4 if self.dtype == torch.float32 else 0.1
        tolerance *= max(1.0, float(expected.abs().max()))
        strengths = torch.tensor([1.0, 0.0], device=self.device)
        positions = torch.arange(8, device=self.device)
        for linear in (True, False) if self.linear else (False,):
            self.linear = linear
            with contextlib.suppress(Exception):
                cache = self.new_cache(8)
                first = self.forward(ids[:, :5].expand(2, -1), positions[None, :5].expand(2, -1), cache, strengths)
                rest = []
                for t in range(3):
                    tokens = torch.stack([ids[0, 5 + t], own[0, 3 + t]])[:, None]
                    places = torch.stack([positions[5 + t], positions[3 + t]])[:, None]
                    rest.append(self.forward(tokens, places, cache, strengths))
                after = torch.cat(rest, 1)
                found = self.head(torch.cat([first[:1], after[:1], first[1:, :3], after[1:]], 1))
                if (found - expected).abs().max() <= tolerance:
                    return
        raise self._unservable()

    def _unservable(self) -> ValueError:
        return ValueError(
            f"model {self.name}: the architecture {type(self.model).__name__} does not run on the engine's cache; "
            "use a decoder-only model with ordinary attention (Llama, Qwen, Mistral, Gemma 2, GPT-2, GPT-NeoX, ...)"
        )

    def _plain(self, ids: Tensor, strength: float) -> Tensor:
        """The model's own forward without a cache, the adapter at one strength: (1, T) ids -> (1, T, V) logits."""
        with self._strength(torch.full((1,), strength, device=self.device)):
            logits: Tensor = self.model(ids, use_cache=False).logits.float()
        return logits


def _lora_scalings(model: Any, name: str) -> list[tuple[dict[str, Any], str, float]]:
    """Where PEFT keeps the multiplier of each adapted layer: (dict, key, value).

    Refuses adapters whose effect is not that multiplier alone.
    """
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

    adapter = model.active_adapter
    config = model.peft_config[adapter]
    plain = isinstance(config, LoraConfig) and not (
        config.use_dora or config.modules_to_save or config.bias != "none" or config.trainable_token_indices
    )
    layers = [module for module in model.modules() if isinstance(module, LoraLayer) and adapter in module.scaling]
    if not plain or not layers or any(layer.lora_variant for layer in layers):
        raise ValueError(
            f"adapter of {name}: its strength cannot be dialled for each row (expected plain LoRA: no DoRA, no bias, "
            "no modules_to_save); merge it into the model and give the merged folder as the domain model"
        )
    return [(layer.scaling, adapter, layer.scaling[adapter]) for layer in layers]
