"""Tiny models with random weights and a tokenizer of their own: everything offline, nothing slow."""

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from steer.engine.models import Pair
from steer.engine.network import Network

# Two cores on tensors this small wait for each other longer than they work.
torch.set_num_threads(1)

TEXTS = [
    "Does the warm gas of a dwarf galaxy cool faster than the hot gas around it?",
    "The rings of a giant planet thin out because small moons sweep their edges.",
    "Old stars near the bulge move faster than the discs of young stars predict.",
]


def make_tokenizer(size: int = 320) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<end>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>")


def make_model(architecture: str, vocabulary: int, seed: int = 0):
    torch.manual_seed(seed)
    common = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    heads = {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 256}
    if architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**common, **heads, tie_word_embeddings=True))
    elif architecture == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**common, **heads))
    elif architecture == "gemma2":
        # A window shorter than the contexts, a strong cap: both must show if they are got wrong.
        config = Gemma2Config(
            **common, **heads, head_dim=8, sliding_window=16, final_logit_softcapping=2.0, attn_logit_softcapping=5.0
        )
        model = Gemma2ForCausalLM(config)
    elif architecture == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=256))
    else:
        assert architecture == "gpt_neox"
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**common, intermediate_size=64, max_position_embeddings=256))
    with torch.no_grad():
        for parameter in model.parameters():
            # Untrained models are nearly uniform; larger weights make every stream have an opinion.
            parameter.mul_(3.0) if parameter.ndim > 1 else None
    return model.eval()


def add_adapter(model, seed: int = 1):
    torch.manual_seed(seed)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return adapted.eval()


def make_pair(architecture: str = "llama", seed: int = 0) -> Pair:
    tokenizer = make_tokenizer()
    adapted = add_adapter(make_model(architecture, len(tokenizer), seed), seed + 1)
    return Pair(Network(adapted, architecture), tokenizer, architecture)
