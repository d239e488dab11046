"""The domain adapter at any strength, as vLLM loads it: a copy with its scale multiplied for each strength but 1."""

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args


@dataclass
class Adapters:
    """folder: a LoRA adapter as peft saves it, or None where there is only the base model.

    everywhere: every request gets an adapter, also those of strength 0, as on processors: vllm 0.32 takes the last
    adapter there for requests without one that stand beside others with one (vllm-project/vllm#48421).
    """

    folder: Path | None
    everywhere: bool
    _copies: tempfile.TemporaryDirectory[str] | None = None
    _requests: dict[float, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.folder is not None and not (self.folder / "adapter_config.json").is_file():
            raise ValueError(
                f"{self.folder} holds no adapter_config.json, and vLLM takes only a LoRA adapter as the domain beside "
                "its base model; for a full model set engine: local"
            )

    @property
    def rank(self) -> int:
        """The least rank that vLLM reserves room for and this adapter fits in."""
        from vllm.config.lora import MaxLoRARanks

        assert self.folder is not None
        config = self._config(self.folder)
        needed = max([config["r"], *config.get("rank_pattern", {}).values()])
        fitting = [rank for rank in get_args(MaxLoRARanks) if rank >= needed]
        if not fitting:
            raise ValueError(f"{self.folder}: its rank is {needed}; vLLM takes up to {max(get_args(MaxLoRARanks))}")
        return int(min(fitting))

    @property
    def modules(self) -> list[str] | None:
        """The layers that it is on, or None where its configuration gives a pattern.

        vLLM would reckon with one on every layer, the head included, which takes time, and on processors fails where a
        text is scored.
        """
        assert self.folder is not None
        named = self._config(self.folder).get("target_modules")
        return sorted({name.rpartition(".")[-1] for name in named}) if isinstance(named, list) else None

    def distinct(self, strengths: Iterable[float]) -> int:
        """How many adapters the requests of these strengths need side by side; two at least, for scoring by both."""
        return max(2, len({strength for strength in strengths if strength or self.everywhere}))

    def at(self, strength: float) -> Any:
        """What a request of this strength is sent with: a `LoRARequest`, or None for the base model."""
        if self.folder is None or (not strength and not self.everywhere):
            return None
        if strength not in self._requests:
            from vllm.lora.request import LoRARequest

            folder = self.folder if strength == 1 else self._scaled(self.folder, strength)
            number = len(self._requests) + 1
            self._requests[strength] = LoRARequest(f"domain.at({strength})", number, str(folder))
        return self._requests[strength]

    def _scaled(self, folder: Path, strength: float) -> Path:
        if self._copies is None:
            self._copies = tempfile.TemporaryDirectory(prefix="steer-vllm-")
        copy = Path(self._copies.name) / str(len(self._requests))
        copy.mkdir()
        for file in folder.glob("adapter_model*"):
            (copy / file.name).symlink_to(file.resolve())
        config = self._config(folder)
        config["lora_alpha"] *= strength
        config["alpha_pattern"] = {
            name: alpha * strength for name, alpha in (config.get("alpha_pattern") or {}).items()
        }
        (copy / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
        return copy

    @staticmethod
    def _config(folder: Path) -> dict[str, Any]:
        file = folder / "adapter_config.json"
        try:
            config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            config["r"], config["lora_alpha"]
        except (ValueError, KeyError) as error:
            raise ValueError(f"{file} is broken: {error}") from None
        return config

    def close(self) -> None:
        if self._copies is not None:
            self._copies.cleanup()
        self._copies, self._requests = None, {}
