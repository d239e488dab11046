"""One model's weights, run on rows that differ in position, in what they were shown, and in adapter strength."""

import contextlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear
from transformers import DynamicCache

from steer.engine import attention
from steer.engine.adapter import Dial
from steer.engine.cache import Prefix, Slots

MERGE = 0.5  # of the free memory may go to a second copy of the adapted weights
REMEMBERED = 4096  # tokens of contexts that have been read and may be asked for again


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
        self.model = model.get_base_model() if isinstance(model, PeftModel) else model
        self.model.eval()
        self.dial = Dial(model, name) if isinstance(model, PeftModel) else None
        self.config = self.model.config.get_text_config()
        self._prefixes: OrderedDict[tuple[Any, ...], Prefix] = OrderedDict()
        self._head = self.model.get_output_embeddings()
        self._decoder: Any = getattr(self.model, self.model.base_model_prefix, None)
        # A short probe does not reach the end of a window, so layers whose mask is not known are refused unseen.
        kinds = {
            *(getattr(self.config, "layer_types", None) or []),
            *(getattr(self.config, "attention_layers", None) or []),
        }
        if self._decoder is None or self._head is None or kinds - {"full_attention", "sliding_attention", "global"}:
            raise self._unservable()
        self._join()
        self.linear = type(self._head) is Linear and self._head.bias is None and self._head_is_all()
        self._probe()

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

    @property
    def window(self) -> int | None:
        """How far back some layer sees at most, None where all see everything."""
        return getattr(self.config, "sliding_window", None) or None

    def read(self, ids: Sequence[int], strength: float) -> Prefix:
        """Read a context by itself, T ids; a context that was read lately is not read again."""
        key = (tuple(ids), strength, self.dial is not None and self.dial.merged_at is not None)
        if key not in self._prefixes:
            self._prefixes[key] = self._read(ids, strength)
        self._prefixes.move_to_end(key)
        while sum(prefix.length for prefix in self._prefixes.values()) > REMEMBERED and len(self._prefixes) > 1:
            self._prefixes.popitem(last=False)
        return self._prefixes[key]

    @torch.inference_mode()
    def _read(self, ids: Sequence[int], strength: float) -> Prefix:
        cache = DynamicCache()
        features = self.features(
            torch.tensor([ids], device=self.device), strength, past_key_values=cache, use_cache=True
        )
        keys, values = ([getattr(layer, name)[0] for layer in cache.layers] for name in ("keys", "values"))
        # Not a view, which would keep the features of all positions.
        return Prefix(tuple(keys), tuple(values), features[0, -1].clone())

    @torch.inference_mode()
    def features(self, ids: Tensor, strength: float, **options: Any) -> Tensor:
        """(R, T) ids, read from their beginning and all at one strength -> features (R, T, F)."""
        with self._at(torch.full((len(ids),), strength)):
            return self._run(input_ids=ids, **{"use_cache": False, **options})

    @torch.inference_mode()
    def advance(self, tokens: Tensor, slots: Slots, strengths: Tensor) -> Tensor:
        """The next token of every row, (R,), at strengths (R,), those of 0 last -> features (R, F)."""
        inputs = {"input_ids": tokens[:, None], "position_ids": slots.step(), "past_key_values": slots}
        its_own = self.config._attn_implementation
        try:
            self.config._attn_implementation = attention.NAME
            with self._at(strengths):
                return self._run(**inputs, use_cache=True, slots=slots)[:, -1]
        finally:
            self.config._attn_implementation = its_own

    def hidden_states(self, ids: Tensor, strength: float) -> Tensor:
        """The final hidden states (1, T, H) of one text (1, T)."""
        with self._at(torch.full((1,), strength)):
            states: Tensor = self._decoder(input_ids=ids, use_cache=False).last_hidden_state
        return states

    def head(self, features: Tensor) -> Tensor:
        """(..., F) features -> (..., V) float32 logits."""
        return (self._head(features) if self.linear else features).float()

    def merging(self, strength: float) -> int:
        """The bytes that `merged` takes; 0 where it changes nothing, as it does where they are not to be had."""
        # Weights that are the embedding's, too, would change it.
        if self.dial is None or not strength or self.dial.holds(self.model.get_input_embeddings().weight):
            return 0
        return self.dial.nbytes if self.dial.nbytes <= MERGE * self.free_memory() else 0

    def merged(self, strength: float) -> Any:
        """The adapter in the weights themselves while it lasts, for rows that are all of one strength."""
        if self.dial is None or not self.merging(strength):
            return contextlib.nullcontext()
        return self.dial.merged(strength)

    def free_memory(self) -> int:
        """Bytes that could still be allocated on the network's device."""
        if self.device.type == "cuda":
            # What torch holds in reserve is free for torch.
            reserve = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
            return int(torch.cuda.mem_get_info(self.device)[0]) + reserve
        if self.device.type == "mps":
            return int(torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
        import psutil

        return int(psutil.virtual_memory().available)

    def _at(self, strengths: Tensor) -> Any:
        return contextlib.nullcontext() if self.dial is None else self.dial.at(strengths.to(self.dtype))

    def _run(self, **inputs: Any) -> Tensor:
        found: Tensor = self._decoder(**inputs).last_hidden_state if self.linear else self.model(**inputs).logits
        return found

    @torch.no_grad()
    def _join(self) -> None:
        """Find out which adapted layers are given the same tensor."""
        if self.dial is not None:
            ids = torch.arange(3, 6, device=self.device)[None] % self.vocabulary
            try:
                self.dial.join(lambda: self.model(ids, use_cache=False))
            except Exception as error:
                raise ValueError(f"model {self.name}: its forward fails ({type(error).__name__}: {error})") from error

    @torch.inference_mode()
    def _head_is_all(self) -> bool:
        """Whether nothing follows the head: a soft cap may change the logits by less than a probe's rounding."""
        with contextlib.suppress(Exception):  # a forward that fails is reported by the probe that follows
            ids = torch.arange(3, 11, device=self.device)[None] % self.vocabulary
            alone = self._head(self._decoder(input_ids=ids, use_cache=False).last_hidden_state)
            return bool(torch.equal(alone, self.model(ids, use_cache=False).logits))
        return False

    @torch.inference_mode()
    def _probe(self) -> None:
        """Compare with the model's own forward on a few tokens: hidden states and head, else logits, else refuse.

        Two rows of different strength and position, one with its prefix copied to its slot, one with a shared one.
        """
        ids = torch.arange(3, 11, device=self.device) % self.vocabulary
        own = torch.cat([ids[:3], ids[5:]])
        try:
            expected = torch.stack([self.model(ids[None], use_cache=False).logits[0, 4:].float(), self._bare(own)[2:]])
        except Exception as error:
            raise ValueError(f"model {self.name}: its forward fails ({type(error).__name__}: {error})") from error
        # bfloat16 keeps 8 bits; a wrong mask is larger than rounding by far.
        tolerance = 1e-4 if self.dtype == torch.float32 else 0.1
        tolerance *= max(1.0, float(expected.abs().max()))
        for linear in (True, False) if self.linear else (False,):
            self.linear = linear
            self._prefixes.clear()
            with contextlib.suppress(Exception):
                if (self._stepwise(ids, own) - expected).abs().max() <= tolerance:
                    return
        raise self._unservable()

    def _stepwise(self, ids: Tensor, own: Tensor) -> Tensor:
        """What the engine makes of the probe's two rows, (2, 4, V): read the beginning, then three single tokens."""
        prefixes = [self.read(ids[:5].tolist(), 1.0), self.read(own[:3].tolist(), 0.0)]
        self.bytes_per_token, self.layers = prefixes[0].bytes_per_token, len(prefixes[0].keys)
        slots = Slots([(1, False), (1, True)], 8, self.device)
        for part, prefix in zip(slots.parts, prefixes, strict=True):
            slots.place(part, 0, prefix)
        slots.regroup()
        found = [torch.stack([prefix.features for prefix in prefixes])]
        for t in range(3):
            tokens = torch.stack([ids[5 + t], own[3 + t]])
            found.append(self.advance(tokens, slots, torch.tensor([1.0, 0.0])))
        return self.head(torch.stack(found, 1))

    def _unservable(self) -> ValueError:
        return ValueError(
            f"model {self.name}: the architecture {type(self.model).__name__} does not run on the engine's cache; "
            "use a decoder-only model with ordinary attention (Llama, Qwen, Mistral, Gemma 2, GPT-2, GPT-NeoX, ...)"
        )

    def _bare(self, ids: Tensor) -> Tensor:
        """The model's own forward without a cache and without the adapter: (T,) ids -> (T, V) logits."""
        with self._at(torch.zeros(1)):
            logits: Tensor = self.model(ids[None], use_cache=False).logits.float()
        return logits[0]
