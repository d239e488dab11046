"""Guided texts in vLLM: a text is a group of requests, one for each stream, that are led along the same tokens.

`Guidance` is the logits processor, for any `vllm.LLM`; `Vllm` is the executor that drives an engine with it. Nothing
here imports vllm before it is used: it is installed apart, because it brings its own torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steer.scale.vllm.executor import Vllm
    from steer.scale.vllm.processor import Guidance

__all__ = ["Guidance", "Vllm"]


def __getattr__(name: str) -> Any:
    """Both on first use: what is imported by name, as vLLM does, must find them here."""
    if name == "Guidance":
        from steer.scale.vllm.processor import Guidance

        return Guidance
    if name == "Vllm":
        from steer.scale.vllm.executor import Vllm

        return Vllm
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
