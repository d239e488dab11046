"""Pretrain `steer-nano`, the base model that ships inside the package.

    python scripts/pretrain_nano.py --out src/steer/nano --minutes 100 \
        abstracts.jsonl.gz='{title}\n\n{abstract}'@3 books.txt.gz

Each source is FILE, optionally followed by =TEMPLATE (for JSON Lines: `str.format` over the record, so
`{question[choices][0][text]}` reaches into nested ones) and by @REPEATS (how often its training part is seen,
1 unless told). A plain text file is one document. Files may be gzipped.

The script trains a byte-level BPE tokenizer on the training part, then a small Llama with a
warm-up-stable-decay schedule (Hu et al. 2024): short sequences first, full context while the rate decays. It stops at
--tokens or --minutes, whichever comes first, and prints bits per byte on the held-out part of every source.
"""

import argparse
import gzip
import json
import math
import os
import re
import time
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END, PAD = "<|endoftext|>", "<|pad|>"
CONTEXT = 1024
SHORT = 256


def parse_source(argument):
    """FILE[=TEMPLATE][@REPEATS] -> (path, template or None, repeats)."""
    path, template, repeats = re.fullmatch(r"(.+?)(?:=(.+?))?(?:@(\d+))?", argument, re.DOTALL).groups()
    return Path(path), template and template.replace("\\n", "\n"), int(repeats or 1)


def documents(path, template):
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        if ".jsonl" not in path.suffixes:
            return [lines.read()]
        return [template.format(**json.loads(line)) for line in lines]


def split(texts, share):
    """Hold out the last `share` of the documents, or of the characters where there is one document."""
    if len(texts) > 1:
        cut = max(1, int(len(texts) * (1 - share)))
        return texts[:cut], texts[cut:]
    cut = int(len(texts[0]) * (1 - share))
    return [texts[0][:cut]], [texts[0][cut:]]


def train_tokenizer(texts, vocabulary):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Every document, and so every prompt, begins with the end-of-text token: it is what the unconditional stream sees.
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single=f"{END} $A", special_tokens=[(END, tokenizer.token_to_id(END))]),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=PAD, model_max_length=CONTEXT
    )


def encode(tokenizer, texts):
    """One array of token ids, each document led by the end-of-text token.

    Long documents go through the tokenizer in pieces cut at line ends.
    """
    ids = []
    for text in texts:
        ids.append(tokenizer.bos_token_id)
        lines = text.splitlines(keepends=True)
        pieces = ["".join(lines[i : i + 2000]) for i in range(0, len(lines), 2000)]
        for piece in tokenizer(pieces, add_special_tokens=False, verbose=False)["input_ids"] if pieces else []:
            ids.extend(piece)
    return np.array(ids, dtype=np.uint16)


def endless_batches(sources, rng, length, batch):
    """Yield (batch, length + 1) token blocks; every epoch is cut at fresh offsets and shuffled."""
    while True:
        blocks = []
        for ids, repeats in sources:
            for _ in range(repeats):
                start = int(rng.integers(0, length))
                blocks += [(ids, i) for i in range(start, len(ids) - length - 1, length)]
        rng.shuffle(blocks)
        for i in range(0, len(blocks) - batch + 1, batch):
            yield torch.from_numpy(
                np.stack([ids[j : j + length + 1] for ids, j in blocks[i : i + batch]]).astype(np.int64)
            )


def loss_of(model, block, bf16=False):
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = model(block[:, :-1]).logits.float()  # (B, T, V)
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten())


@torch.no_grad()
def bits_per_byte(model, ids, text_bytes):
    """Held-out loss over contiguous blocks of the full context, in bits per UTF-8 byte of the source text."""
    total = 0.0
    for i in range(0, len(ids) - 1, CONTEXT):
        block = torch.from_numpy(ids[i : i + CONTEXT + 1].astype(np.int64))[None]
        if block.shape[1] > 1:
            total += loss_of(model, block).item() * (block.shape[1] - 1)
    return total / math.log(2) / text_bytes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=parse_source, metavar="FILE[=TEMPLATE][@REPEATS]")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=float, default=math.inf, help="stop after so many training tokens")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many minutes")
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--decay", type=float, default=0.3, help="share of the run in which the rate falls to zero")
    parser.add_argument("--compile", action="store_true", help="torch.compile the step (needs a C++ compiler)")
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast: quicker only where the processor has it")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if math.isinf(args.tokens) and math.isinf(args.minutes):
        parser.error("say when to stop: --tokens or --minutes")
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)

    parts = [(path, *split(documents(path, template), 0.01), repeats) for path, template, repeats in args.sources]
    tokenizer = train_tokenizer((t[:4_000_000] for _, train, _, _ in parts for t in train), args.vocabulary)
    sources = [(encode(tokenizer, train), repeats) for _, train, _, repeats in parts]
    print("tokens:", {p.name: len(ids) * r for (p, _, _, r), (ids, _) in zip(parts, sources, strict=True)}, flush=True)

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=args.width,
        intermediate_size=args.width * 8 // 3 // 16 * 16,
        num_hidden_layers=args.layers,
        num_attention_heads=args.width // 64,
        num_key_value_heads=max(1, args.width // 128),
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}", flush=True)
    decayed = [p for p in model.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=args.rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    # More than half of an uncompiled step on a CPU goes to unfused element-wise work.
    training_loss = torch.compile(loss_of, dynamic=False) if args.compile else loss_of

    started, seen, step, progress, shown = time.monotonic(), 0, 0, 0.0, 0.0
    short = endless_batches(sources, rng, SHORT, args.batch_tokens // SHORT)
    full = endless_batches(sources, rng, CONTEXT, args.batch_tokens // CONTEXT)
    while progress < 1:
        warm = min(1.0, (step + 1) / 100)
        decay = min(1.0, (1 - progress) / args.decay)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * warm * decay
        block = next(short if progress < 1 - args.decay else full)
        loss = training_loss(model, block, args.bf16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step, seen = step + 1, seen + block[:, 1:].numel()
        shown = loss.item() if step == 1 else 0.98 * shown + 0.02 * loss.item()
        minutes = (time.monotonic() - started) / 60
        progress = max(seen / args.tokens, minutes / args.minutes)
        if step % 50 == 0:
            print(f"step {step}  {progress:.1%}  loss {shown:.3f}  {seen / minutes / 60:.0f} tokens/s", flush=True)

    held_out = {
        path.name: round(bits_per_byte(model, encode(tokenizer, texts), len("".join(texts).encode())), 3)
        for path, _, texts, _ in parts
    }
    print(f"held-out bits per byte: {held_out}")
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    # Whole or not at all: a half-written folder would be taken for the model.
    unfinished = args.out.with_name(args.out.name + ".unfinished")
    model.to(torch.bfloat16).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    facts = {
        "steps": step,
        "tokens": seen,
        "minutes": round(minutes, 1),
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out_bits_per_byte": held_out,
    }
    (unfinished / "training.json").write_text(json.dumps(facts, indent=2) + "\n")
    args.out.mkdir(parents=True, exist_ok=True)
    for file in unfinished.iterdir():
        os.replace(file, args.out / file.name)
    unfinished.rmdir()
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
