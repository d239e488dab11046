"""The output embeddings of a model, read from its files without loading it."""

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from steer.engine.models import model_path, weights_folder


def output_embeddings(model: str, revision: str | None, trust: bool) -> Tensor:
    """(V, H), as stored. Raises ValueError where the files do not hold them."""
    from safetensors import safe_open

    config = AutoConfig.from_pretrained(model_path(model), revision=revision, trust_remote_code=trust)
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(config, trust_remote_code=trust)
    names = _names(empty)
    for file in sorted(weights_folder(model, revision).glob("*.safetensors")):
        with safe_open(file, "pt") as stored:
            if found := names & set(stored.keys()):
                tensor: Tensor = stored.get_tensor(min(found))
                return tensor
    raise ValueError(f"model {model}: its files hold none of {', '.join(sorted(names))}, its output embeddings")


def _names(model: Any) -> set[str]:
    """What they may be called: tied embeddings have two names, and files of the bare model lack its prefix."""
    weight, prefix = model.get_output_embeddings().weight, f"{model.base_model_prefix}."
    names = {name for name, other in model.named_parameters(remove_duplicate=False) if other is weight}
    return names | {name.removeprefix(prefix) for name in names}
