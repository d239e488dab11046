"""Where a step's time goes, and the choices of the engine one at a time: milliseconds, medians, one process.

    python benchmarks/levers.py

First a step of `steer(0.2, 0.4)` on the shape of `decode.py` (negatives of 229 tokens, without head and sampler), then
the same with the adapter off and with attention left out, beside a bare forward with its head; then single operations
against what they replaced.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from unittest import mock

import torch
from decode import GUIDANCE, PROMPT, Bench
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from steer.engine import attention
from steer.engine.attention import partial
from steer.engine.contexts import Contexts
from steer.engine.streams import CachedStreams, Flight

HALF = torch.bfloat16


def milliseconds(call: Callable[[], object], times: int = 21) -> float:
    taken = []
    for _ in range(times + 3):
        start = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - start))
    return round(median(taken[3:]), 3)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with torch.inference_mode():
        for samples in (1, 4, 16):
            print(samples, "samples:", steps(samples))
        for name, figures in operations().items():
            print(f"{name}:", figures)


def steps(samples: int) -> dict[str, float]:
    bench = Bench(argparse.Namespace(shape="llama-135m", dtype="bfloat16", spread=4.0))
    prompt = bench.ids(PROMPT)
    shown = [Contexts(prompt, bench.ids(229) + prompt, prompt[:1])] * samples
    flight = Flight(bench.model("e"), GUIDANCE["e"], shown, samples, 200)
    flight.start(range(samples), shown)
    (streams,) = flight._streams
    assert isinstance(streams, CachedStreams)
    tokens = torch.zeros(samples, dtype=torch.long)
    found = {"step": milliseconds(lambda: flight.advance(tokens))}
    with mock.patch.object(streams, "strengths", torch.zeros_like(streams.strengths)):
        found["adapter off"] = milliseconds(lambda: flight.advance(tokens))
    AttentionInterface.register(attention.NAME, lambda module, query, *given, **named: (query.transpose(1, 2), None))
    found["no attention"] = milliseconds(lambda: flight.advance(tokens))
    AttentionInterface.register(attention.NAME, attention.attend)
    return {**found, "bare forward": bench.limit(3 * samples)}


def operations() -> dict[str, dict[str, float]]:
    rows, columns, prefix, shared = 32, 301, 237, 16
    query = torch.randn(rows, 9, 1, 64, dtype=HALF)
    keys, values = (torch.randn(rows, 3, columns, 64, dtype=HALF) for _ in range(2))
    grouped, mask = query.view(rows, 3, 3, 64), torch.zeros(rows, 1, 1, columns, dtype=HALF)
    one, copied = (torch.randn(n, 3, prefix, 64, dtype=HALF) for n in (1, shared))
    together = grouped[:shared].transpose(0, 1).reshape(1, 3, 3 * shared, 64)
    store, new = torch.zeros(96, 3, 320, 64, dtype=HALF), torch.randn(96, 3, 1, 64, dtype=HALF)
    where = torch.randint(320, (96,))
    index, spread = torch.arange(96), where[:, None, None, None].expand(96, 3, 1, 64)
    logits = torch.randn(rows, 49_152)

    def repeated() -> torch.Tensor:
        several = (part.repeat_interleave(3, 1) for part in (keys, values))
        return scaled_dot_product_attention(query, *several, attn_mask=mask)

    def written() -> None:
        store[index, :, where] = new[:, :, 0]

    return {
        "query heads, 32 rows of 301": {
            "as queries of one row": milliseconds(lambda: scaled_dot_product_attention(grouped, keys, values, mask)),
            "keys repeated": milliseconds(repeated),
        },
        "writing, 96 rows": {
            "by index": milliseconds(written),
            "scatter": milliseconds(lambda: store.scatter_(2, spread, new)),
        },
        "a prefix of 237 for 16 rows": {
            "shared": milliseconds(lambda: partial(together, one, one, None, 0.125)),
            "copied": milliseconds(lambda: partial(grouped[:shared], copied, copied, None, 0.125)),
        },
        "nucleus of 32 rows of 49,152": {
            "topk of 1,024": milliseconds(lambda: logits.topk(1024)),
            "sort": milliseconds(lambda: logits.sort(-1)),
        },
    }


if __name__ == "__main__":
    main()
