"""The models of a guidance: loading them, and running every stream of every sample as a row of one forward."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Linear
from transformers import AutoModelForCausalLM, AutoTokenizer

from steer.engine.cache import SlotCache
from steer.guidance import Stream

NANO = "steer-nano"


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
        self._decoder = getattr(self.model, self.model.base_model_prefix)
        self.linear = type(self._head) is Linear and self._head.bias is None
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
    def _choose_features(self) -> None:
        """Compare with the model's own forward on a few tokens: hidden states and head, else logits, else refuse."""
        ids = torch.arange(3, 11, device=self.device)[None] % self.vocabulary
        strengths = torch.ones(1, device=self.device)
        try:
            expected = self.model(ids).logits.float()
        except Exception as error:
            raise ValueError(f"model {self.name}: its forward fails ({type(error).__name__}: {error})") from error
        # bfloat16 keeps 8 bits; a wrong mask or a cap on the logits is larger than rounding by far.
        tolerance = 1e-4 if self.dtype == torch.float32 else 0.1
        tolerance *= max(1.0, float(expected.abs().max()))
        for linear in (True, False) if self.linear else (False,):
            self.linear = linear
            with contextlib.suppress(Exception):
                cache = self.new_cache(8)
                first = self.forward(ids[:, :5], torch.arange(5, device=self.device)[None], cache, strengths)
                rest = [
                    self.forward(ids[:, t : t + 1], torch.tensor([[t]], device=self.device), cache, strengths)
                    for t in range(5, 8)
                ]
                found = self.head(torch.cat([first, *rest], 1))
                if (found - expected).abs().max() <= tolerance:
                    return
        raise ValueError(
            f"model {self.name}: the architecture {type(self.model).__name__} does not run on the engine's cache; "
            "use a decoder-only model with ordinary attention (Llama, Qwen, Mistral, Gemma 2, GPT-2, GPT-NeoX, ...)"
        )


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


@dataclass
class Pair:
    """A base model and what turns it into the domain model: a LoRA adapter, or a second model of its own weights.

    `tokenizer` is shared by all. Experts are loaded on first use and kept.
    """

    base: Network
    tokenizer: Any
    name: str
    domain: Network | None = None
    trust_remote_code: bool = False
    _experts: dict[str, Network] = field(default_factory=dict)

    def locate(self, stream: Stream) -> tuple[Network, float]:
        """The network that computes a stream, and the adapter strength of its rows."""
        if stream.path is not None:
            if stream.path not in self._experts:
                model, tokenizer = _load(stream.path, None, self.base.device, self.base.dtype, self.trust_remote_code)
                network = Network(model, stream.path)
                self._same_vocabulary(network, tokenizer)
                self._experts[stream.path] = network
            return self._experts[stream.path], 0.0
        if self.base.adapted:
            return self.base, stream.strength
        if stream.strength not in (0.0, 1.0):
            raise ValueError(f"{stream}: a strength between models needs a LoRA adapter, and {self.name} has none")
        return (self.domain or self.base) if stream.strength == 1.0 else self.base, 0.0

    @property
    def stop_ids(self) -> frozenset[int]:
        """The tokens that end a text."""
        listed = getattr(self.base.model.generation_config, "eos_token_id", None)
        listed = [listed] if isinstance(listed, int) else list(listed or [])
        return frozenset(i for i in (self.tokenizer.eos_token_id, *listed) if i is not None)

    @property
    def context_limit(self) -> int | None:
        limits = [n.context_limit for n in (self.base, self.domain, *self._experts.values()) if n and n.context_limit]
        return min(limits) if limits else None

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """The domain model's final hidden states, averaged over each text's tokens: (N, H) float32 on the CPU."""
        network, strength = self.locate(Stream())
        rows = []
        for text in texts:
            ids = self.tokenizer(text)["input_ids"][: self.context_limit] or [self.tokenizer.eos_token_id]
            inputs = torch.tensor([ids], device=network.device)
            with network._strength(torch.full((1,), strength, device=network.device)):
                states = network._decoder(input_ids=inputs, use_cache=False).last_hidden_state
            rows.append(states[0].float().mean(0).cpu())
        return torch.stack(rows) if rows else torch.zeros(0, network.config.hidden_size)

    def _same_vocabulary(self, other: Network, tokenizer: Any) -> None:
        mine, theirs = self.base.vocabulary, other.vocabulary
        if mine != theirs:
            raise ValueError(
                f"{other.name} has a vocabulary of {theirs} tokens and {self.name} one of {mine}: "
                "streams can be summed only over the same tokens"
            )
        if tokenizer.get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"{other.name} and {self.name} both have {mine} tokens, but not the same ones: streams can be summed "
                "only over the same tokens"
            )


def load(
    model: str,
    adapter: str | Path | None = None,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Pair:
    """Load a base model and its domain adapter.

    model: "steer-nano", a folder, or a Hub id. adapter: a folder with a LoRA adapter, or with a full fine-tuned model
    of the same vocabulary; None leaves domain and base the same. dtype "auto" is float32 on a CPU, else bfloat16.

    Raises FileNotFoundError or ValueError, in a sentence, on what cannot be loaded. Only safetensors are read.
    """
    if device == "auto":
        mps = torch.backends.mps.is_available()
        device = "cuda" if torch.cuda.is_available() else "mps" if mps else "cpu"
    place = torch.device(device)
    if dtype not in ("auto", "float32", "bfloat16", "float16"):
        raise ValueError(f"dtype {dtype!r}; expected auto, float32, bfloat16 or float16")
    kind = getattr(torch, ("float32" if place.type == "cpu" else "bfloat16") if dtype == "auto" else dtype)
    loaded, tokenizer = _load(model, revision, place, kind, trust_remote_code)
    if adapter is None:
        return Pair(Network(loaded, model), tokenizer, model, trust_remote_code=trust_remote_code)
    folder = Path(adapter)
    if (folder / "adapter_config.json").is_file():
        return Pair(Network(_adapted(loaded, folder), model), tokenizer, model, trust_remote_code=trust_remote_code)
    second, second_tokenizer = _load(str(adapter), None, place, kind, trust_remote_code)
    pair = Pair(Network(loaded, model), tokenizer, model, trust_remote_code=trust_remote_code)
    pair.domain = Network(second, str(adapter))
    pair._same_vocabulary(pair.domain, second_tokenizer)
    return pair


def _adapted(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    if not (folder / "adapter_model.safetensors").is_file():
        raise FileNotFoundError(f"{folder} holds no adapter_model.safetensors; only safetensors are loaded")
    return PeftModel.from_pretrained(model, str(folder), is_trainable=False)


def model_path(model: str) -> str:
    """The folder of the embedded model for its name, anything else as it is."""
    return str(resources.files("steer") / "nano") if model == NANO else model


def _load(model: str, revision: str | None, device: torch.device, dtype: torch.dtype, trust: bool) -> tuple[Any, Any]:
    """A model and its tokenizer, from a folder or the Hub."""
    path = model_path(model)
    folder = Path(path)
    if folder.is_dir():
        _check_folder(folder, model)
    elif folder.exists() or path.startswith((".", "/", "~")) or path.count("/") > 1:
        raise FileNotFoundError(f"model {model}: there is no such folder")
    options = {"revision": revision, "trust_remote_code": trust}
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        loaded = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = str(error).strip().splitlines()
        raise ValueError(f"model {model} cannot be loaded: {said[0] if said else type(error).__name__}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"model {model}: its tokenizer has no end-of-text token, so no text could ever end")
    return loaded.to(device), tokenizer


def _check_folder(folder: Path, model: str) -> None:
    if not (folder / "config.json").is_file():
        raise ValueError(f"model {model}: the folder holds no config.json; expected a model as transformers saves it")
    if not list(folder.glob("*.safetensors")):
        found = sorted(path.name for path in folder.glob("*.bin"))
        more = f" (found {found[0]}, but only safetensors are loaded)" if found else ""
        raise ValueError(f"model {model}: the folder holds no weights; expected *.safetensors{more}")
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"model {model}: config.json is broken: {error}") from None
