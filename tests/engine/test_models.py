"""Loading from folders, and every way in which a folder, an adapter or an architecture cannot be used."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from oracle import Oracle
from safetensors.torch import load_file, save_file
from tiny import TEXTS, add_adapter, make_model, make_tokenizer
from torch import nn
from transformers import (
    AttentionInterface,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from steer import guidance as g
from steer.engine.logprobs import guided_logprobs
from steer.engine.models import Pair, load, weights_folder
from steer.engine.network import Network

PROMPT, TEXT, NEGATIVES = "Write a hypothesis.", TEXTS[0], TEXTS[1:]
SIZE = 320


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Path:
    """A base model, an adapter on it, and a full model of other weights; nothing may change them."""
    root = tmp_path_factory.mktemp("models")
    for name, seed in (("base", 0), ("full", 5)):
        make_model("llama", SIZE, seed).save_pretrained(root / name)
        make_tokenizer().save_pretrained(root / name)
    add_adapter(make_model("llama", SIZE)).save_pretrained(root / "adapter")
    return root


@pytest.fixture
def spoilt(folders, tmp_path):
    """A copy of a folder to break."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(folders / name, tmp_path / name))

    return copied


def scored(pair: Pair, guidance) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The stream log-probabilities of a text, and of the sum."""
    found = guided_logprobs(pair, guidance, prompt=PROMPT, text=TEXT, negatives=NEGATIVES)
    return dict(found.streams), found.combined


def scored_slowly(pair: Pair, oracle: Oracle, guidance) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    found = guided_logprobs(pair, guidance, prompt=PROMPT, text=TEXT, negatives=NEGATIVES)
    text, column = found.token_ids.tolist(), found.token_ids[:, None]
    streams = {
        str(stream): oracle.logprobs(stream, found.contexts[str(stream)], text).gather(1, column)[:, 0]
        for stream in guidance.streams
    }
    return streams, oracle.combined(guidance, found.contexts, text).gather(1, column)[:, 0]


def assert_close(found, expected) -> None:
    assert set(found[0]) == set(expected[0])
    for name, values in found[0].items():
        assert (values - expected[0][name]).abs().max() < 1e-5
    assert (found[1] - expected[1]).abs().max() < 1e-5


# What loads


def test_domain_is_the_adapter_on_and_base_the_adapter_off(folders):
    pair = load(str(folders / "base"), folders / "adapter")
    assert pair.base.dtype == torch.float32
    assert pair.base.linear
    guidance = g.steer() + 0.1 * g.domain.at(0.5)
    oracle = Oracle(add_adapter(make_model("llama", SIZE)))
    assert_close(scored(pair, guidance), scored_slowly(pair, oracle, guidance))


class TwoModels(Oracle):
    """Full passes of two models of their own weights."""

    def __init__(self, base, domain) -> None:
        self.models = {0.0: base.double(), 1.0: domain.double()}

    def logits(self, stream, ids):
        with torch.no_grad():
            return self.models[stream.strength](torch.tensor([ids])).logits[0]


def test_a_full_model_can_be_the_domain(folders):
    pair = load(str(folders / "base"), folders / "full")
    guidance = g.coherence_boosting() + 0.2 * (g.domain - g.base) - 0.1 * g.base[g.negatives]
    oracle = TwoModels(make_model("llama", SIZE, 0), make_model("llama", SIZE, 5))
    assert_close(scored(pair, guidance), scored_slowly(pair, oracle, guidance))
    assert not torch.allclose(*scored(pair, g.domain - 0.5 * g.base)[0].values())


def test_without_a_domain_both_are_the_base_model(folders):
    found, _ = scored(load(str(folders / "base")), g.domain - 0.5 * g.base)
    expected, _ = scored(load(str(folders / "base"), folders / "adapter"), 1.0 * g.base)
    assert torch.allclose(found["domain"], expected["base"], atol=1e-5)
    assert torch.allclose(found["base"], expected["base"], atol=1e-5)


@pytest.mark.parametrize("domain", [None, "full"])
@pytest.mark.parametrize("strength", [0.5, -1.0])
def test_a_strength_between_models_needs_an_adapter(folders, domain, strength):
    pair = load(str(folders / "base"), folders / domain if domain else None)
    with pytest.raises(ValueError, match=rf"domain\.at\({strength:g}\): .* needs a LoRA adapter, and .*base has none"):
        scored(pair, 1.0 * g.domain.at(strength))


def test_half_precision_on_request(folders):
    pair = load(str(folders / "base"), folders / "adapter", dtype="bfloat16")
    assert pair.base.dtype == torch.bfloat16
    full = load(str(folders / "base"), folders / "adapter")
    (half, _), (exact, _) = scored(pair, g.steer()), scored(full, g.steer())
    assert 0 < (half["domain"] - exact["domain"]).abs().max() < 0.1
    with pytest.raises(ValueError, match=r"dtype 'int8'; expected auto"):
        load(str(folders / "base"), dtype="int8")


@pytest.mark.parametrize(("listed", "expected"), [(0, {0}), ([0, 7, 9], {0, 7, 9}), (2, {0}), ([7, 9], {0})])
def test_what_ends_a_text_comes_from_tokenizer_and_model(spoilt, listed, expected):
    folder = spoilt("base")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": listed}))
    assert load(str(folder)).stop_ids == expected


def test_the_shortest_context_counts(folders, tmp_path):
    LlamaForCausalLM(LlamaConfig(**SHAPE, max_position_embeddings=64)).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    assert load(str(folders / "base")).context_limit == 256
    assert load(str(folders / "base"), tmp_path).context_limit == 64


def test_the_files_of_a_model_from_the_hub_are_those_downloaded(monkeypatch, tmp_path):
    """Against a stand-in for the cache of `transformers`: hubs are out of a test's reach."""
    asked = []

    def cached_file(name, file, revision=None):
        asked.append((name, file, revision))
        return str(tmp_path / file)

    monkeypatch.setattr("transformers.utils.cached_file", cached_file)
    assert weights_folder("org/some-model", "v1") == tmp_path
    assert asked == [("org/some-model", "config.json", "v1")]
    assert weights_folder(str(tmp_path)) == tmp_path


# What does not load


def test_folders_that_hold_no_model(spoilt, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder$"):
        load(str(tmp_path / "nowhere"))
    base = spoilt("base")
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such folder$"):
        load(str(base), tmp_path / "nowhere")
    weights = base / "model.safetensors"
    weights.rename(base / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"base: .* no weights; .*found pytorch_model\.bin, but only safetensors"):
        load(str(base))
    (base / "pytorch_model.bin").unlink()
    with pytest.raises(ValueError, match=r"base: the folder holds no weights; expected \*\.safetensors$"):
        load(str(base))
    (base / "config.json").unlink()
    with pytest.raises(ValueError, match=r"base: the folder holds no config\.json"):
        load(str(base))


def without_end(folder: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


def without_a_weight(file: Path) -> None:
    weights = load_file(file)
    weights.pop(next(name for name in weights if "layers.1." in name))
    save_file(weights, file, {"format": "pt"})


def other_width(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 80}))


BROKEN_MODELS = {
    "config cut off": (lambda f: (f / "config.json").write_text('{"model_type": "lla'), r"config\.json is broken"),
    "config no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), r"config\.json is broken"),
    "config a list": (lambda f: (f / "config.json").write_text("[]"), "cannot be loaded"),
    "config empty": (lambda f: (f / "config.json").write_text("{}"), "cannot be loaded"),
    "another width": (other_width, "cannot be loaded"),
    "weights cut off": (lambda f: cut(f / "model.safetensors"), "cannot be loaded"),
    "a weight missing": (lambda f: without_a_weight(f / "model.safetensors"), "lack 1 weight"),
    "tokenizer cut off": (lambda f: cut(f / "tokenizer.json"), "cannot be loaded"),
    "tokenizer missing": (lambda f: [file.unlink() for file in f.glob("tokenizer*")], "cannot be loaded"),
    "tokenizer without end": (without_end, "no end-of-text token"),
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:500])


@pytest.mark.parametrize(("spoil", "message"), BROKEN_MODELS.values(), ids=BROKEN_MODELS)
@pytest.mark.parametrize("role", ["model", "adapter"])
def test_broken_models_are_named_in_a_line(folders, spoilt, spoil, message, role):
    """The base model, and a full model in the adapter's place."""
    folder = spoilt("full")
    spoil(folder)
    with pytest.raises(ValueError, match=message) as raised:
        load(str(folder)) if role == "model" else load(str(folders / "base"), folder)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


BROKEN_ADAPTERS = {
    "config cut off": lambda f: cut(f / "adapter_config.json"),
    "config empty": lambda f: (f / "adapter_config.json").write_text("{}"),
    "weights cut off": lambda f: cut(f / "adapter_model.safetensors"),
    "a weight missing": lambda f: without_a_weight(f / "adapter_model.safetensors"),
}


@pytest.mark.parametrize("spoil", BROKEN_ADAPTERS.values(), ids=BROKEN_ADAPTERS)
def test_broken_adapters_are_named_in_a_line(folders, spoilt, spoil):
    folder = spoilt("adapter")
    spoil(folder)
    with pytest.raises(ValueError, match="does not fit") as raised:
        load(str(folders / "base"), folder)
    assert str(folder) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_adapter_in_another_format_is_not_read(folders, spoilt):
    folder = spoilt("adapter")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"adapter holds no adapter_model\.safetensors; only safetensors"):
        load(str(folders / "base"), folder)


@pytest.mark.parametrize("other", ["wider", "gpt2"])
def test_an_adapter_of_another_model_is_refused(folders, tmp_path, other):
    model = (
        LlamaForCausalLM(LlamaConfig(**SHAPE | {"hidden_size": 48})) if other == "wider" else make_model(other, SIZE)
    )
    model.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"adapter does not fit") as raised:
        load(str(tmp_path), folders / "adapter")
    assert "\n" not in str(raised.value)


def test_a_domain_of_another_vocabulary_is_refused(folders, tmp_path):
    make_model("llama", 300).save_pretrained(tmp_path)
    make_tokenizer(300).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=rf"{tmp_path.name} has a vocabulary of 300 tokens and .*base one of 320"):
        load(str(folders / "base"), tmp_path)


# Architectures

SHAPE = {
    "vocab_size": SIZE,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


@pytest.mark.parametrize(
    "guidance", [2 * g.domain - 0.5 * g.base, g.steer_printed(), g.contrastive_decoding()], ids=str
)
def test_a_bias_in_the_head_is_counted_once(guidance):
    """Summed before the head it would come with the sum of the weights, and only 1 leaves that unseen."""
    model = make_model("qwen2", SIZE)
    torch.manual_seed(3)
    head = nn.Linear(32, SIZE)
    head.bias.data.normal_(std=2.0)
    model.set_output_embeddings(head)
    adapted = add_adapter(model)
    oracle = Oracle(adapted)
    pair = Pair(Network(adapted, "biased"), make_tokenizer(), "biased")
    assert not pair.base.linear
    assert_close(scored(pair, guidance), scored_slowly(pair, oracle, guidance))


def sees_all(module, query, key, value, mask, **options):
    """An attention that never reads the mask, and sees the future."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    return nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2), None


AttentionInterface.register("sees_all", sees_all)


def deaf_llama(attention: str):
    model = make_model("llama", SIZE)
    model.config._attn_implementation = attention
    return model


def neo():
    """Its local layers count the window in columns of the cache, whatever the row's own position."""
    shape = {"vocab_size": SIZE, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 256}
    return GPTNeoForCausalLM(GPTNeoConfig(**shape, attention_types=[[["global", "local"], 1]], window_size=16))


def mamba():
    return MambaForCausalLM(MambaConfig(vocab_size=SIZE, hidden_size=32, num_hidden_layers=2, state_size=8))


UNSERVABLE = {
    "no attention": mamba,
    "sees the future": lambda: deaf_llama("sees_all"),
    "local windows": neo,
}


@pytest.mark.parametrize("make", UNSERVABLE.values(), ids=UNSERVABLE)
def test_what_cannot_be_served_is_refused_by_name(make):
    model = make().eval()
    name = type(model).__name__
    with pytest.raises(
        ValueError, match=rf"model odd-one: the architecture {name} does not run .*; use a decoder-only"
    ):
        Network(model, "odd-one")


def test_adapted_layers_that_lose_the_rows_are_refused():
    """OPT flattens rows and tokens before its feed-forward layers, where a number a row has no row to go to."""
    from transformers import OPTConfig, OPTForCausalLM

    shape = {"vocab_size": SIZE, "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64, "num_hidden_layers": 2}
    model = OPTForCausalLM(OPTConfig(**shape, num_attention_heads=4, max_position_embeddings=256)).eval()
    Network(model, "opt")
    with pytest.raises(ValueError, match=r"model opt: .*OPTForCausalLM does not run"):
        Network(add_adapter(model), "opt")


# Tokens that never came in the training


def test_tokens_that_the_model_cannot_tell_apart_are_known():
    """As the bytes of a model that has only read plain letters: all of them have nearly one embedding."""
    model = make_model("qwen2", SIZE)
    torch.manual_seed(4)
    with torch.no_grad():
        model.lm_head.weight[0:30] = model.lm_head.weight[5] + 0.001 * torch.randn(30, 32)
        model.lm_head.weight[40:48] = model.lm_head.weight[40]  # eight alike: each has seven others
    pair = Pair(Network(add_adapter(model), "tiny"), make_tokenizer(), "tiny")
    assert pair.stop_ids == {0}
    assert pair.untrained([7, 41, 99]) == tuple(range(1, 30))
    assert pair.untrained([99]) == tuple(range(1, 30)), "they would come in the place of the end of a text"
    assert Pair(Network(make_model("qwen2", SIZE), "tiny"), make_tokenizer(), "tiny").untrained(range(SIZE)) == ()


# Hidden states


def test_embeddings_are_the_domain_models_hidden_states(folders):
    pair = load(str(folders / "base"), folders / "adapter")
    together = pair.embed([*TEXTS, "", TEXTS[0] * 30])
    assert together.shape == (5, 32)
    assert together.dtype == torch.float32
    assert together.device.type == "cpu"
    assert together.isfinite().all()
    for row, text in zip(together, TEXTS, strict=False):
        assert torch.equal(pair.embed([text])[0], row)
    assert torch.equal(pair.embed([*TEXTS][::-1]).flip(0), together[:3])
    assert pair.embed([]).shape == (0, 32)

    adapted = add_adapter(make_model("llama", SIZE))
    ids = torch.tensor([make_tokenizer()(TEXTS[0])["input_ids"]])
    with torch.no_grad():
        expected = adapted(ids, output_hidden_states=True).hidden_states[-1][0].mean(0)
    assert torch.allclose(together[0], expected, atol=1e-5)
    # Not those of the base model, which has the same ones without its adapter.
    assert not torch.allclose(together[:3], load(str(folders / "base")).embed(TEXTS), atol=1e-2)


def test_embeddings_of_a_full_domain_model_are_its_own(folders):
    pair, alone = load(str(folders / "base"), folders / "full"), load(str(folders / "full"))
    assert torch.equal(pair.embed(TEXTS), alone.embed(TEXTS))
