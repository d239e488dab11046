"""Guided decoding in vLLM. What needs vllm itself runs by `make test-vllm`, in an environment of its own."""

import importlib
import os

import pytest
import torch
from tiny import add_adapter, make_tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from steer.engine.executor import Source

os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")


try:
    importlib.import_module("vllm.config")  # the package, not a folder of this name
    INSTALLED = True
except ImportError:
    INSTALLED = False


def pytest_runtest_setup(item: pytest.Item) -> None:
    if not INSTALLED and item.path.stem != "test_mixing":
        pytest.skip("vllm is not installed here; it brings its own torch: make test-vllm")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Source:
    """A random model and adapter. vLLM's attention on processors takes heads of 32 and more."""
    folder, tokenizer = tmp_path_factory.mktemp("tiny"), make_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(
        vocab_size=len(tokenizer), num_key_value_heads=1, max_position_embeddings=256, eos_token_id=0, **sizes
    )
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0) if parameter.ndim > 1 else None
    model.eval().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    add_adapter(model).save_pretrained(folder / "adapter")
    return Source(str(folder / "model"), str(folder / "adapter"), device="cpu", dtype="float32")


@pytest.fixture(scope="session")
def nano(tmp_path_factory) -> Source:
    """The embedded model, with a random adapter."""
    from steer.engine.models import load

    folder = tmp_path_factory.mktemp("nano")
    add_adapter(load("steer-nano", dtype="float32").base.model).save_pretrained(folder)
    return Source("steer-nano", str(folder), device="cpu", dtype="float32")
