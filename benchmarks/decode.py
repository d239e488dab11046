"""What does steering cost? Tokens a second of ours and of plain `transformers`, on random weights, in one process.

    python benchmarks/decode.py                              # the table
    python benchmarks/decode.py --samples 16 --only c e f    # a part of it
    python benchmarks/decode.py --profile                    # the operators in which ten steps of (e) spend their time
    python benchmarks/decode.py --generate runs/hypotheses   # the parts in which a whole generation does

A row of the table is a length of negatives, in tokens, and a number of samples in flight. Each sample has a prompt of 8
tokens and draws exactly 64 new ones by nucleus sampling (p 0.9, temperature 1); 16 samples share their negatives.
Columns a to e are tokens a second over all samples, prefill counted; the contenders take turns, and medians are shown.

    a   three separate streams in `transformers`, a cache each, summed in a logits processor
    b   `transformers`' own classifier-free guidance, negatives as negative prompt: two streams, adapter merged
    c   `transformers`' plain nucleus sampling, adapter merged: what a user runs who does not steer
    d   ours, plain nucleus
    e   ours, steer(0.2, 0.4): three streams
    f   the limit of e: milliseconds of one bare `transformers` forward, 3 rows a sample, a token each, nothing cached

d/c, e/c, e/b, e/a say how many times as fast the first is. "step" is milliseconds for one more token of all samples in
e, prefill apart; step/f is how far from the limit that is (1 is the limit); "sampler" is the share of a step that goes
into drawing tokens from logits. a and b are left out where many samples make them slow, and long negatives where few
samples do; --all runs everything, and --samples the sizes that it names.
"""

import argparse
import contextlib
import platform
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest import mock

import peft
import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache, GPT2Config, LlamaConfig, LogitsProcessor

from steer.config import Sampling
from steer.engine import decode as engine
from steer.engine.contexts import Contexts
from steer.engine.models import Pair
from steer.engine.network import Network
from steer.engine.tally import Tally
from steer.gates import Gatekeeper
from steer.generate import Generator
from steer.guidance import parse
from steer.progress import say
from steer.records import write_json
from steer.run import Run

# No token closes a text, so that all draw as many. GPT-2's own 1,024 positions would not hold the longer negatives.
ENDLESS = {"bos_token_id": None, "eos_token_id": None}
LLAMA = {"tie_word_embeddings": True, "max_position_embeddings": 2048, "num_key_value_heads": 3, **ENDLESS}
WIDE = {"vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536}
NARROW = {"vocab_size": 512, "hidden_size": 96, "intermediate_size": 192}
LARGE = {"vocab_size": 49_152, "hidden_size": 1024, "intermediate_size": 4864}
SHAPES = {
    "llama-135m": LlamaConfig(num_hidden_layers=30, num_attention_heads=9, **WIDE, **LLAMA),
    "gpt2": GPT2Config(n_positions=2048, **ENDLESS),
    "llama-0.5b": LlamaConfig(
        num_hidden_layers=24, num_attention_heads=16, **LARGE, **LLAMA | {"num_key_value_heads": 4}
    ),
    "tiny": LlamaConfig(num_hidden_layers=2, num_attention_heads=6, **NARROW, **LLAMA),
}
GUIDANCE = {"d": parse("domain"), "e": parse("steer(0.2, 0.4)")}
SAMPLING = Sampling(temperature=1.0, top_p=0.9)
RATIOS = ("d/c", "e/c", "e/b", "e/a", "step/f")
COLUMNS = {**dict.fromkeys("abcde", ".1f"), **dict.fromkeys(RATIOS[:4], ".2f")}
COLUMNS |= {"step": ".1f", "f": ".1f", "step/f": ".2f", "sampler": ".1%"}
SAMPLES, GROUP, PROMPT = (1, 4, 16, 32, 64), 16, 8
MANY, LONG = 32, 1000  # from so many samples, and so many tokens, on
FEW = 8  # tokens of the short run from which a step's time is told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="llama-135m", metavar="|".join(SHAPES))
    parser.add_argument("--negatives", type=int, nargs="+", default=[229, 1024], metavar="TOKENS")
    parser.add_argument("--samples", type=int, nargs="+", metavar="N", help="default: 1 4 16 32 64")
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--device", default="cpu", help="such as cuda; the machine's name goes into the file")
    parser.add_argument("--spread", type=float, default=4.0, help="of the logits; less makes the nucleus larger")
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--only", nargs="+", choices="abcdef", default="abcdef")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--memory", choices="de", help="run this one once and print the peak memory in MiB")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--generate", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", metavar="FOLDER")
    args = parser.parse_args()
    if args.new_tokens <= FEW:
        parser.error(f"--new-tokens {args.new_tokens}: expected more than {FEW}")
    torch.set_num_threads(args.threads)
    transformers.logging.set_verbosity_error()
    if args.generate:
        time_generation(args)
    elif args.profile:
        print(profile(Bench(args), args.negatives[0], max(args.samples or SAMPLES)))
    elif args.memory:
        Bench(args).seconds(args.memory, args.negatives[0], MANY, args.new_tokens)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        print(torch.cuda.max_memory_allocated() / 2**20 if args.device.startswith("cuda") else peak)
    else:
        compare(args)


def compare(args: argparse.Namespace) -> None:
    # First of all: on Linux a child begins with the peak of its parent.
    memory = memory_peaks(args) if {"d", "e"} <= set(args.only) else {}
    bench, file, rows = Bench(args), args.out / f"decode-{args.shape}.json", []
    facts = {"shape": args.shape, "dtype": args.dtype, "new_tokens": args.new_tokens, "repeats": args.repeats}
    facts |= {
        "guidance": str(GUIDANCE["e"]),
        "nucleus": bench.nucleus(),
        "machine": machine(args.device),
        "memory_mib": memory,
    }
    print(f"{args.shape}, {args.dtype}, {args.threads} threads; typical nucleus {facts['nucleus']} tokens")
    print(f"{'negatives':>9}{'samples':>9}" + "".join(f"{name:>9}" for name in COLUMNS), flush=True)
    for negatives, samples, names in plan(args):
        row = measure(bench, negatives, samples, names, args.new_tokens, args.repeats)
        rows.append({"negatives": negatives, "samples": samples, **row})
        cells = (format(row[name], kind) if name in row else "" for name, kind in COLUMNS.items())
        print(f"{negatives:>9}{samples:>9}" + "".join(f"{cell:>9}" for cell in cells), flush=True)
        write_json(file, {**facts, "rows": rows})
    for name, peak in memory.items():
        print(f"peak memory at {MANY} samples: {peak:.0f} MiB for {name}, {peak / memory['d']:.2f} times d's")
    print(f"written: {file}")


def plan(args: argparse.Namespace) -> Iterator[tuple[int, int, list[str]]]:
    """For every row its negatives, its samples and who takes part."""
    for negatives in args.negatives:
        for samples in args.samples or SAMPLES:
            left_out = {"a": samples > GROUP, "b": samples > (MANY if negatives >= LONG else GROUP)}
            if args.all or args.samples or negatives < LONG or samples >= MANY:
                yield negatives, samples, [n for n in sorted(args.only) if args.all or not left_out.get(n, False)]


def measure(
    bench: "Bench", negatives: int, samples: int, names: Sequence[str], tokens: int, repeats: int
) -> dict[str, Any]:
    """A row's medians, the ratios of these, and what they were taken from."""
    running = [name for name in names if name != "f"]
    for name in running:  # the first calls allocate and choose kernels
        bench.seconds(name, 16, samples, 2)
    found: dict[str, list[float]] = {}
    for repeat in range(repeats):
        say(f"{negatives} negatives, {samples} samples: repeat {repeat + 1} of {repeats}")
        taken = {name: bench.seconds(name, negatives, samples, tokens) for name in running}
        figures = {name: samples * tokens / seconds for name, seconds in taken.items()}
        if "e" in taken:
            with clock(("sampling", engine, "draw")) as (spent, _):
                figures["short"] = bench.seconds("e", negatives, samples, FEW)
            figures["draw"] = 1000 * spent["sampling"] / FEW
        if "f" in names:
            figures["f"] = bench.limit(3 * samples)
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
    row = {name: median(values) for name, values in found.items()}
    if "e" in row:
        # Both runs pay the prefill, and both draw their last token without a forward after it.
        row["step"] = 1000 * (samples * tokens / row["e"] - row["short"]) / (tokens - FEW)
        row["sampler"] = row["draw"] / row["step"]
    for ratio in RATIOS:
        first, second = ratio.split("/")
        if first in row and second in row:
            row[ratio] = row[first] / row[second]
    return {**rounded(row), "repeats": {name: [round(x, 3) for x in values] for name, values in found.items()}}


class Bench:
    """The contenders, each with a copy of the same weights so that none can change another's."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.shape, self.dtype, self.spread = args.shape, getattr(torch, args.dtype), args.spread
        self.device = torch.device(args.device)
        self.rng, self.models = random.Random(0), {}

    def model(self, name: str) -> Any:
        """What a contender runs: a Pair for ours, a model of `transformers` for the others; built on first use."""
        if name not in self.models:
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(SHAPES[self.shape], dtype=self.dtype).eval()
            sharpen(model, self.spread)
            model = model.to(self.device)
            if name != "f":
                model = adapted(model)
            if name in "bc":
                model = model.merge_and_unload()
            if name in "de":
                # All that decoding asks of a tokenizer is the closing token; this id is never drawn.
                model = Pair(Network(model, self.shape), SimpleNamespace(eos_token_id=-1), self.shape)
                assert model.base.linear, "the engine has fallen back to summing logits, which is not to be timed"
            self.models[name] = model
        return self.models[name]

    def seconds(self, name: str, negatives: int, samples: int, tokens: int) -> float:
        """The time in which a contender draws its tokens, from a prompt and negatives that it has never seen."""
        model, prompt = self.model(name), self.ids(PROMPT)
        groups = [Contexts(prompt, self.ids(negatives) + prompt, prompt[:1]) for _ in range(0, samples, GROUP)]
        shown = [groups[i // GROUP] for i in range(samples)]
        start = time.perf_counter()
        (ours if name in GUIDANCE else theirs)(name, model, shown, tokens)
        self.wait()
        return time.perf_counter() - start

    def wait(self) -> None:
        """Until the device has done what it was given: an accelerator's work goes on behind a call's return."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def ids(self, count: int) -> tuple[int, ...]:
        return tuple(self.rng.choices(range(SHAPES[self.shape].vocab_size), k=count))

    @torch.inference_mode()
    def limit(self, rows: int) -> float:
        """Milliseconds of a bare forward of so many rows; the first of them warms up."""
        ids, times = torch.tensor(self.ids(rows), device=self.device)[:, None], []
        for _ in range(11):
            start = time.perf_counter()
            self.model("f")(ids, use_cache=False)
            self.wait()
            times.append(1000 * (time.perf_counter() - start))
        return median(times[1:])

    @torch.inference_mode()
    def nucleus(self) -> int:
        """How many tokens hold 0.9 of the probability at a typical position: what the samplers have to deal with."""
        logits = self.model("f")(torch.tensor([self.ids(256)], device=self.device)).logits[0].float()
        return int((logits.softmax(-1).sort(descending=True).values.cumsum(-1) < 0.9).sum(-1).median()) + 1


@torch.inference_mode()
def sharpen(model: Any, spread: float) -> None:
    """Make the next token about as uncertain as under a trained model, and not always the last one again.

    Untrained logits are nearly equal, and the nucleus would be most of the vocabulary; scaled by the last norm to a
    standard deviation of 4, normal logits over 49,152 tokens have a nucleus of some 160 and 2.8 nats of entropy.
    Smaller embeddings keep a token from shining through all layers to a head that shares its weights with them.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Embedding):
            module.weight.mul_(0.1)
    norm = [module for module in model.modules() if type(module).__name__.endswith("Norm")][-1]
    norm.weight.mul_(spread / model(torch.arange(256)[None]).logits.float().std(-1).mean())


def adapted(model: Any) -> Any:
    conv = model.config.model_type == "gpt2"
    config = peft.LoraConfig("CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear", fan_in_fan_out=conv)
    model = peft.get_peft_model(model, config, autocast_adapter_dtype=False).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return model


def ours(name: str, pair: Pair, shown: Sequence[Contexts], tokens: int) -> None:
    requests = [engine.Request(contexts, seed, tokens) for seed, contexts in enumerate(shown)]
    drawn = list(engine.decode(pair, GUIDANCE[name], requests, SAMPLING, lanes=len(requests)))
    assert all(len(completion.token_ids) == tokens for completion in drawn)


def theirs(name: str, model: Any, shown: Sequence[Contexts], tokens: int) -> None:
    prompts = torch.tensor([c.prompt for c in shown], device=model.device)
    options: dict[str, Any] = {"attention_mask": torch.ones_like(prompts), "max_new_tokens": tokens}
    if name == "a":
        options["logits_processor"] = [OtherStreams(model, shown)]
    elif name == "b":
        options |= {
            "guidance_scale": 1.4,
            "negative_prompt_ids": torch.tensor([c.negatives for c in shown], device=model.device),
        }
    drawn = model.generate(input_ids=prompts, do_sample=True, temperature=1.0, top_p=0.9, top_k=0, **options)
    assert drawn.shape == (len(shown), PROMPT + tokens)


class OtherStreams(LogitsProcessor):
    """Adds base and domain[negatives], each with a cache of its own, to the domain stream that `generate` runs."""

    def __init__(self, model: Any, shown: Sequence[Contexts]) -> None:
        self.model, self.caches = model, (DynamicCache(), DynamicCache())
        self.prompts = torch.tensor([contexts.prompt for contexts in shown], device=model.device)
        self.negatives = torch.tensor([contexts.negatives for contexts in shown], device=model.device)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        # The context manager `disable_adapter()` takes stock of every layer; these two only throw the switch.
        self.model.base_model.disable_adapter_layers()
        base = self.logits(self.caches[0], self.prompts, input_ids)
        self.model.base_model.enable_adapter_layers()
        repelled = self.logits(self.caches[1], self.negatives, input_ids)
        return scores + 0.2 * (scores - base) + 0.4 * (scores - repelled)

    def logits(self, cache: DynamicCache, context: Tensor, input_ids: Tensor) -> Tensor:
        ids = input_ids[:, -1:] if cache.get_seq_length() else context
        return self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()


def memory_peaks(args: argparse.Namespace) -> dict[str, float]:
    """MiB of d, and of e at each length of the negatives, each in a process of its own."""
    runs = {"d": ("d", args.negatives[0])} | {f"e with {n} negatives": ("e", n) for n in args.negatives}
    options = ("shape", "dtype", "device", "spread", "new_tokens", "threads")
    same = [f"--{name.replace('_', '-')}={getattr(args, name)}" for name in options]
    peaks = {}
    for title, (name, negatives) in runs.items():
        say(f"memory: {title}")
        command = [sys.executable, __file__, f"--memory={name}", f"--negatives={negatives}", *same]
        peaks[title] = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return rounded(peaks)


def machine(device: str = "cpu") -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", info.read_text()) if info.is_file() else None
    return {
        "cpu": named[1] if named else platform.processor() or platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else device,
        "threads": torch.get_num_threads(),
        "versions": {module.__name__: module.__version__ for module in (torch, transformers, peft)},
    }


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in figures.items()}


@contextlib.contextmanager
def clock(*places: tuple[str, Any, str]) -> Iterator[tuple[Counter[str], Counter[str]]]:
    """Seconds and calls by part, told by functions that are wrapped meanwhile; a device is waited for in each.

    places: (part, owner, name of the owner's function).
    """
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def timed(part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = call(*args, **options)
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            seconds[part] += time.perf_counter() - start
            calls[part] += 1
            return result

        return wrapped

    with contextlib.ExitStack() as stack:
        for part, owner, name in places:
            stack.enter_context(mock.patch.object(owner, name, timed(part, getattr(owner, name))))
        yield seconds, calls


def profile(bench: Bench, negatives: int, samples: int, steps: int = 10) -> str:
    """The operators in which so many steps of e spend most, prefill apart."""
    watch, advance, begun = torch.profiler.profile(), Network.advance, False

    def watched(network: Network, *given: Any) -> Tensor:
        nonlocal begun
        if not begun:
            watch.start()
            begun = True
        return advance(network, *given)

    bench.seconds("e", 16, samples, 2)
    with mock.patch.object(Network, "advance", watched):
        bench.seconds("e", negatives, samples, steps + 1)
    watch.stop()
    return str(watch.key_averages().table(sort_by="self_cpu_time_total", row_limit=25, max_name_column_width=40))


def time_generation(args: argparse.Namespace) -> None:
    """Draw 200 samples from a run's models and texts, 16 to a group of 10 negatives; they are thrown away."""
    run = Run.open(args.generate)
    settings = run.settings.generate.model_copy(update={"count": 200, "group_size": GROUP, "until": "count"})
    shown = run.settings.negatives.model_copy(update={"count": 10})
    generator = replace(run.generator, settings=settings, negatives=shown, tally=Tally())
    places = (
        ("prefill", Network, "read"),
        ("forward", Network, "advance"),
        ("head", Network, "head"),
        ("sampling", engine, "draw"),
        ("gates", Gatekeeper, "judge"),
        ("gates", Gatekeeper, "accept"),
        # Not steer.generate: under this name the package has a function.
        ("writing", sys.modules[Generator.__module__], "write_jsonl"),
    )
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, clock(*places) as (seconds, calls):
        samples = replace(generator, folder=Path(folder)).run()
    whole = time.perf_counter() - start
    shares = {part: spent / whole for part, spent in seconds.items()}
    shares |= {"rest": 1 - sum(shares.values()), "outside forward": 1 - shares["prefill"] - shares["forward"]}
    facts = {
        "model": run.settings.model,
        "texts": len(samples),
        "tokens": sum(len(sample.token_ids) for sample in samples),
        "seconds": round(whole, 2),
        "shares": rounded(shares),
        "lanes_in_flight": round(generator.tally.computed / calls["forward"], 1),
        "occupancy": round(generator.tally.occupancy, 3),
        "full_sorts": generator.tally.full_sorts,
        "machine": machine(str(run.pair.base.device)),
    }
    print("\n".join(f"{name}: {value}" for name, value in facts.items()))
    write_json(args.out / "decode-generate.json", facts)


if __name__ == "__main__":
    main()
