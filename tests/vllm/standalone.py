"""Guided texts by a stock vLLM: VLLM_ENABLE_V1_MULTIPROCESSING=0 python standalone.py MODEL ADAPTER PROMPT"""

import sys
from pathlib import Path
from typing import Any

from vllm import LLM, SamplingParams

from steer.config import Sampling
from steer.scale.vllm.adapters import Adapters
from steer.scale.vllm.groups import agreed
from steer.scale.vllm.recipe import write

OURS = {"logits_processors": ["steer.scale.vllm:Guidance"], "async_scheduling": False, "enable_chunked_prefill": False}


def draw(llm: LLM, adapter: str, prompts: list[str], negatives: list[str]) -> list[Any]:
    """One text for each prompt, led away from its negatives; None where its three requests fell out of step."""
    lora = Adapters(Path(adapter), everywhere=True)  # on GPUs the base model's requests need none: everywhere=False
    streams = [lora.at(1), lora.at(1), lora.at(0)]  # domain, domain[negatives], base
    recipe = write([1.6, -0.4, -0.2], Sampling(top_p=0.9))  # their weights: steer(0.2, 0.4)
    drawing = {"temperature": 0, "max_tokens": 48, "ignore_eos": True}
    drawing["stop_token_ids"] = [llm.get_tokenizer().eos_token_id]
    texts, params = [], []
    for group, (prompt, before) in enumerate(zip(prompts, negatives, strict=True)):
        texts += [prompt, before + prompt, prompt]
        for role in range(3):
            steer = {"group": str(group), "role": role, "seed": group, "recipe": recipe}
            params.append(SamplingParams(**drawing, extra_args={"steer": steer}))
    rows = [output.outputs[0] for output in llm.generate(texts, params, lora_request=streams * len(prompts))]
    groups = [rows[first : first + 3] for first in range(0, len(rows), 3)]
    return [group[0] if agreed([(row.token_ids, row.finish_reason) for row in group]) else None for group in groups]


if __name__ == "__main__":
    model, adapter, prompt = sys.argv[1:]
    llm = LLM(model, enable_lora=True, max_loras=2, max_num_seqs=96, **OURS)
    for text in draw(llm, adapter, [prompt] * 100, ["Another text.\n\n"] * 100):
        print("(out of step)" if text is None else repr(text.text))
