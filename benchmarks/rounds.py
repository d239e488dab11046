"""How large should a round be? Rounds of many workers, simulated with the board that deals them out in earnest.

    python benchmarks/rounds.py                           # prints tables of docs/scale.md; ten seconds
    python benchmarks/rounds.py --workers 32 --lanes 128 --out mine.json

Events are simulated, not seconds waited for. `steer.scale.board.Board` deals and takes back as it does for
`steer.scale.ray`; only the clock, the workers and the driver are made up. The driver is one process, as it is in
earnest: while it plans or judges it hears nobody. No worker is late enough for others to draw the same. A parcel takes

    a (prefix tokens) + the sum over its steps of (b + c rows),  rows = texts in flight times streams,

and a round d + e texts beyond that, with the coefficients of results/workers.json and the lengths of the texts that
were drawn there. Every layout sees the same ones.

    of limit   share of the texts per second of workers whose lanes are always full, with no driver to wait for
    idle       share of the workers' time in which they have nothing to draw (lanes that run empty are not idle)
    twice      texts that were drawn again, as their worker was lost; at most
    blind      share of all pairs of texts of which the later was planned without knowledge of the earlier

Writes benchmarks/results/rounds.json.
"""

import argparse
import heapq
import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from steer.engine.memory import LANES
from steer.records import write_json
from steer.scale.board import Board, Unit

RESULTS = Path(__file__).parent / "results"
SIZES = (0.25, 1, 2, 4, 8)  # of a round, in lanes of all workers
WORKERS = (2, 8, 32)
TEXTS = 32_768  # of a simulated run
COUNTS = (100_000, 1_000_000)  # those of H200


# -- what things cost


@dataclass(frozen=True)
class Group:
    """Texts of these lengths in tokens, after prefixes of so many tokens."""

    prefix: int
    lengths: tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """Seconds: a prefix token, a step and a row of it, a round and a text of it in the driver. streams: rows a text."""

    prefix: float
    step: float
    row: float
    round: float = 0.0
    text: float = 0.0
    streams: int = 3

    def parcel(self, groups: Sequence[Group], lanes: int) -> float:
        prefix, steps, computed = counted(groups, lanes)
        return self.prefix * prefix + self.step * steps + self.row * self.streams * computed


def counted(groups: Sequence[Group], lanes: int) -> tuple[int, int, int]:
    """Prefix tokens, steps, and the lanes that these computed, of a parcel."""
    lengths = [length for group in groups for length in group.lengths]
    return sum(group.prefix for group in groups), *flown(lengths, lanes)


def flown(lengths: Sequence[int], lanes: int) -> tuple[int, int]:
    """Steps of texts of these lengths in so many lanes, and the lanes that they computed, as `steer.engine.loop` does.

    A text's first token takes no step. A lane that is left is taken by the next text, and where none is left the empty
    ones are dropped once they are a quarter.
    """
    waiting = deque(length - 1 for length in lengths)
    width = min(lanes, len(waiting))
    flying: list[int] = []  # the step after which each text in flight is done
    steps = computed = 0
    while True:
        while waiting and len(flying) < width:
            if (left := waiting.popleft()) > 0:
                heapq.heappush(flying, steps + left)
        if not flying:
            return steps, computed
        if 4 * (width - len(flying)) >= width:
            width = len(flying)
        # Nothing changes until the next text ends.
        computed += width * (flying[0] - steps)
        steps = flying[0]
        while flying and flying[0] == steps:
            heapq.heappop(flying)


# -- the simulation

# Other ways to deal: texts for a worker that is idle, by its lanes, the round, what is left of it, and the workers.
# Ever smaller parcels are guided self-scheduling (Polychronopoulos and Kuck 1987).
RIVALS: dict[str, Callable[[int, int, int, int], int]] = {
    "equal shares at once": lambda lanes, whole, left, workers: -(-whole // workers),
    "full lanes, whoever asks": lambda lanes, whole, left, workers: lanes,
    "ever smaller parcels": lambda lanes, whole, left, workers: min(lanes, -(-left // workers)),
}


@dataclass
class Rival(Board[int]):
    name: str = ""
    whole: int = 0

    def deal(self, idle: Sequence[int], workers: int) -> dict[int, list[Unit]]:
        self.whole = self.whole or self._texts()
        return {
            worker: parcel
            for worker in idle
            if (parcel := self._take(worker, RIVALS[self.name](self.lanes, self.whole, self._texts(), workers)))
        }


@dataclass(frozen=True)
class Layout:
    """Workers and how they are fed.

    slow: worker 0 takes so many times as long. failures: mean seconds between those of a worker, 0 for none; back:
    seconds until another is ready in its place. dealing: one of RIVALS, else as it is.
    """

    workers: int
    lanes: int = LANES
    staleness: int = 0
    slow: float = 1.0
    failures: float = 0.0
    back: float = 60.0
    dealing: str = "as it is"


@dataclass(eq=False)
class _Round:
    board: Board[int]
    groups: dict[str, Group]
    open: set[str]


class Simulation:
    """Rounds of groups on workers. After `run()`, seconds: of it all; busy: of workers; drawn, counted: texts."""

    def __init__(self, layout: Layout, cost: Cost, rounds: Sequence[Sequence[Group]]) -> None:
        self.layout, self.cost, self.plans = layout, cost, deque(rounds)
        self.seconds = self.busy = 0.0
        self.drawn = self.counted = 0
        self._rng = random.Random(0)
        self._rounds: list[_Round] = []
        self._ready = set(range(layout.workers))
        self._drawing: dict[int, tuple[_Round, list[Unit], float]] = {}  # since when
        self._events: list[tuple[float, int, int, str]] = []  # (when, worker, its life, what)
        self._lives = [0] * layout.workers  # an event of a worker that was lost since is stale
        for worker in self._ready:
            self._fate(worker)

    def run(self) -> "Simulation":
        """As `steer.generate.Generator.run` goes through its rounds."""
        under_way: deque[_Round] = deque()
        while self.plans or under_way:
            while self.plans and len(under_way) <= self.layout.staleness:
                under_way.append(self._begin(self.plans.popleft()))
            round_ = under_way.popleft()
            while round_.open:
                self._step()
            self._rounds.remove(round_)
            self.seconds += self.cost.text * sum(len(group.lengths) for group in round_.groups.values())
        return self

    def _begin(self, plan: Sequence[Group]) -> _Round:
        self.seconds += self.cost.round
        name, groups = self.layout.dealing, {str(i): group for i, group in enumerate(plan)}
        board = Rival(self.layout.lanes, name=name) if name in RIVALS else Board[int](self.layout.lanes)
        board.post(Unit(name, len(group.lengths)) for name, group in groups.items())
        self._rounds.append(_Round(board, groups, set(groups)))
        self._hand_out()
        return self._rounds[-1]

    def _hand_out(self) -> None:
        """As `steer.scale.ray.Workers` does."""
        for round_ in self._rounds:
            idle = sorted(self._ready - self._drawing.keys())
            for worker, parcel in round_.board.deal(idle, len(self._ready)).items():
                self._drawing[worker] = round_, parcel, self.seconds
                self.drawn += sum(unit.size for unit in parcel)
                taken = self.cost.parcel([round_.groups[unit.id] for unit in parcel], self.layout.lanes)
                self._later(self.seconds + taken * (1.0 if worker else self.layout.slow), worker, "drawn")

    def _step(self) -> None:
        """Hand out what waits, then hear what comes next."""
        self._hand_out()
        when, worker, life, what = heapq.heappop(self._events)
        if life != self._lives[worker]:
            return
        self.seconds = max(self.seconds, when)
        round_, parcel, since = self._drawing.pop(worker, (None, [], when))
        self.busy += when - since
        if what == "ready":
            self._ready.add(worker)
            self._fate(worker)
        elif what == "lost":
            self._ready.remove(worker)
            self._lives[worker] += 1
            self._later(when + self.layout.back, worker, "ready")
            if round_:
                round_.board.lost(worker)
        elif round_:
            round_.open -= set(round_.board.done(worker, [unit.id for unit in parcel]))
            self.counted += sum(unit.size for unit in parcel)

    def _fate(self, worker: int) -> None:
        if self.layout.failures:
            self._later(self.seconds + self._rng.expovariate(1 / self.layout.failures), worker, "lost")

    def _later(self, when: float, worker: int, what: str) -> None:
        heapq.heappush(self._events, (when, worker, self._lives[worker], what))


# -- what is drawn


def cut(groups: Sequence[Group], texts: float) -> list[Sequence[Group]]:
    """Rounds of so many texts, a whole number of groups."""
    each = max(1, round(texts / len(groups[0].lengths)))
    return [groups[i : i + each] for i in range(0, len(groups), each)]


def limit(layout: Layout, cost: Cost, groups: Sequence[Group]) -> float:
    """Seconds in which as many workers, none of them slow, draw it all with full lanes and without a driver."""
    tokens = sum(length - 1 for group in groups for length in group.lengths)
    read = cost.prefix * sum(group.prefix for group in groups)
    return (read + tokens * (cost.step / layout.lanes + cost.row * cost.streams)) / layout.workers


def blind(texts: int, size: int, staleness: int) -> float:
    """Share of the pairs of texts of which the later one was planned without knowledge of the earlier one."""
    rounds = [min(size, texts - begun) for begun in range(0, texts, size)]
    within = sum(n * (n - 1) / 2 for n in rounds)
    between = sum(a * b for a, b in pairwise(rounds)) if staleness else 0
    return (within + between) / (texts * (texts - 1) / 2)


# -- what was measured


def fit(parcels: Sequence[tuple[Sequence[Group], float]], streams: int, lanes: int = LANES) -> Cost:
    """The cost of parcels by least squares, none of it below 0. parcels: groups, seconds.

    It is fitted again without the twentieth that it misses most: what came in between is no part of the model.
    """
    from scipy.optimize import nnls

    columns = np.array([counted(groups, lanes) for groups, _ in parcels]) * (1.0, 1.0, streams)
    seconds = np.array([seconds for _, seconds in parcels])
    missed = np.abs(columns @ nnls(columns, seconds)[0] - seconds)
    kept = missed <= np.quantile(missed, 0.95)
    found, _ = nnls(columns[kept], seconds[kept])
    return Cost(*map(float, found), streams=streams)


def read_back(one: dict[str, Any]) -> tuple[list[Group], list[tuple[list[Group], float]]]:
    """A round as `workers.py` has written it: its groups, and its parcels for `fit`."""
    split = [text.split(":") for text in one["groups"]]
    groups = [Group(int(prefix), tuple(map(int, lengths.split()))) for prefix, lengths in split]
    parcels = [text.split(":") for text in one["parcels"]]
    return groups, [([groups[int(i)] for i in places.split()], float(seconds)) for _, places, seconds in parcels]


# -- from data sheets


@dataclass(frozen=True)
class Sheet:
    """Llama 3.1 8B in bfloat16 on an H200 SXM by NVIDIA's data sheet, and texts of three streams.

    bandwidth, flops: a second, bytes and dense operations. cached: bytes of a token's keys and values, in 32 layers of
    8 heads of 128. prompt, negatives, text: tokens, the last on average.
    """

    parameters: float = 8.03e9
    cached: int = 2 * 2 * 32 * 8 * 128
    bandwidth: float = 4.8e12
    flops: float = 989e12
    prompt: int = 64
    negatives: int = 768
    text: int = 200

    def cost(self, engine: str, lanes: int, streams: int = 3) -> Cost:
        """Seconds by the slower of reading and computing, with full lanes; linear in the rows from there."""
        bandwidth, flops, besides = ENGINES[engine]
        weights = 2 * self.parameters / (bandwidth * self.bandwidth)
        token = 2 * self.parameters / (flops * self.flops)
        # One stream sees the negatives, all of them the prompt and, on average, half of the text.
        context = self.prompt + self.text / 2 + self.negatives / streams
        kept = context * self.cached / (bandwidth * self.bandwidth)
        return Cost(token, weights + besides, kept + max(0.0, token - weights / (streams * lanes)), streams=streams)

    def workload(self, texts: float, size: int = 8) -> list[Group]:
        """Log-normal lengths with a standard deviation of .5: the examples' own is less, most corpora's is more."""
        rng = random.Random(0)
        draws = ([rng.lognormvariate(-0.125, 0.5) for _ in range(size)] for _ in range(0, int(texts), size))
        prefix = self.negatives + self.prompt
        return [Group(prefix, tuple(max(1, round(self.text * length)) for length in draw)) for draw in draws]


# What is reached of the bandwidth and of the operations, and seconds a step besides: kernels begun one by one, the
# sampler. Good is an engine that records its kernels (vLLM), poor one that begins each from Python.
ENGINES = {"good": (0.8, 0.6, 0.002), "middle": (0.6, 0.4, 0.015), "poor": (0.4, 0.25, 0.040)}


# -- the tables

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Given:
    """What the tables are made of. measured: results/workers.json."""

    measured: dict[str, Any]
    layout: Layout

    @cached_property
    def groups(self) -> list[Group]:
        """Prefixes and lengths as they were drawn when it was measured."""
        rounds = self.measured["workers"]["1"]["of_rounds"]
        known, rng = [group for one in rounds for group in read_back(one)[0]], random.Random(0)
        lengths = [length for group in known for length in group.lengths]
        return [Group(rng.choice(known).prefix, tuple(rng.choices(lengths, k=8))) for _ in range(0, TEXTS, 8)]

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """As measured here, and of an H200."""
        fitted = self.measured["workers"]["1"]["fit"]
        names = ("a_prefix_token", "b_step", "c_row", "d_round", "e_text")
        here = Cost(*(fitted[name] for name in names), streams=fitted["streams"])
        return {"here": here, "H200": replace(Sheet().cost("middle", self.layout.lanes), round=here.round)}

    def made(self, cost: Cost, layout: Layout, lanes: float) -> dict[str, float]:
        """One size of rounds, in lanes of all workers."""
        made = Simulation(layout, cost, cut(self.groups, lanes * layout.workers * layout.lanes)).run()
        return {
            "of limit": limit(layout, cost, self.groups) / made.seconds,
            "idle": 1 - made.busy / (layout.workers * made.seconds),
            "twice": made.drawn / made.counted - 1,
        }

    def mishaps(self, cost: Cost) -> dict[str, Layout]:
        """In times of a full parcel, so that they mean the same on every machine."""
        parcel = cost.parcel(cut(self.groups, self.layout.lanes)[0], self.layout.lanes)
        lost = replace(self.layout, failures=50 * parcel, back=5 * parcel)
        return {"all well": self.layout, "one at half speed": replace(self.layout, slow=2.0), "some are lost": lost}


def validation(given: Given) -> Rows:
    """Every other round that was measured, by the coefficients of the rest."""
    rows: Rows = []
    for workers, found in given.measured["workers"].items():
        rounds = [(one, *read_back(one)) for one in found["of_rounds"]]
        learnt = rounds[::2]
        cost = fit([parcel for *_, parcels in learnt for parcel in parcels], found["fit"]["streams"])
        beyond = sum(one["there"] - one["slowest"] + one["driver"] for one, *_ in learnt)
        cost = replace(cost, text=beyond / sum(len(group.lengths) for _, groups, _ in learnt for group in groups))
        told = [Simulation(Layout(int(workers)), cost, [groups]).run().seconds for _, groups, _ in rounds[1::2]]
        real = [one["there"] + one["driver"] for one, *_ in rounds[1::2]]
        seconds = {"simulated (s)": sum(told), "measured (s)": sum(real), "ratio": sum(told) / sum(real)}
        error = median(abs(one / other - 1) for one, other in zip(told, real, strict=True))
        rows.append({"workers": int(workers), "rounds": len(real), **seconds, "median error of a round": error})
    return rows


def sizes(given: Given) -> Rows:
    """Share of the limit by staleness, round over lanes, and workers. Idle: of --workers, as measured here."""
    rows: Rows = []
    for staleness, lanes in product((0, 1), SIZES):
        layout = replace(given.layout, staleness=staleness)
        size = int(lanes * layout.workers * layout.lanes)
        row = {"staleness": staleness, "round over lanes": f"{lanes:g}"}
        for (name, cost), workers in product(given.costs.items(), WORKERS):
            row[f"{workers}, {name}"] = given.made(cost, replace(layout, workers=workers), lanes)["of limit"]
        row["idle"] = given.made(given.costs["here"], layout, lanes)["idle"]
        rows.append({**row, "blind": blind(TEXTS, size, staleness)})
    return rows


def dealing(given: Given) -> Rows:
    """Share of the limit under other ways to deal: round over lanes and staleness; mishaps in rounds of 4, 0."""
    rows: Rows = []
    for (name, cost), other in product(given.costs.items(), ("as it is", *RIVALS)):
        layout, row = replace(given.layout, dealing=other), {"costs": name, "dealing": other}
        for staleness, lanes in product((0, 1), (1, 2, 4, 8)):
            row[f"{lanes}, {staleness}"] = given.made(cost, replace(layout, staleness=staleness), lanes)["of limit"]
        for what, one in list(given.mishaps(cost).items())[1:]:
            row[what] = given.made(cost, replace(one, dealing=other), 4)["of limit"]
        rows.append(row)
    return rows


def mishaps(given: Given) -> Rows:
    """Share of the limit, as measured here. Each worker is lost after 50 parcels, and another ready after 5."""
    cost, rows = given.costs["here"], []
    for what, layout in given.mishaps(cost).items():
        row, twice = {"what": what}, 0.0
        for lanes, staleness in ((2, 0), (4, 0), (8, 0), (1, 1), (2, 1), (4, 1)):
            made = given.made(cost, replace(layout, staleness=staleness), lanes)
            row[f"{lanes}, {staleness}"], twice = made["of limit"], max(made["twice"], twice)
        rows.append({**row, "twice": twice})
    return rows


def h200(given: Given) -> Rows:
    """Hours of so many texts, in rounds of 4 times all lanes; accepted texts from which on the gates are slower."""
    rows: Rows = []
    base, growth = (given.measured["driver"][name] for name in ("seconds_a_text", "seconds_a_text_and_accepted"))
    for lanes, engine in product((32, 128), ENGINES):
        layout, cost = replace(given.layout, lanes=lanes), Sheet().cost(engine, lanes)
        size = 4 * layout.workers * lanes
        groups = Sheet().workload(8 * size)
        made = Simulation(layout, cost, cut(groups, size)).run()
        each = made.seconds / made.counted
        step = {"engine": engine, "lanes": lanes, "step (ms)": 1000 * (cost.step + cost.row * cost.streams * lanes)}
        speed = {"texts/s": 1 / each, "of limit": limit(layout, cost, groups) / made.seconds}
        hours = {f"{n:,} texts (h)": each * n / 3600 for n in COUNTS}
        rows.append({**step, **speed, **hours, "gates slower from": round((each - base) / growth / 1000) * 1000})
    gates = {f"{n:,} texts (h)": (base * n + growth * n**2 / 2) / 3600 for n in COUNTS}
    return [*rows, {**dict.fromkeys(rows[0], ""), "engine": "the gates, one processor", **gates}]


def table(rows: Rows) -> None:
    """In Markdown. Numbers without a unit are shares."""
    print("\n| " + " | ".join(rows[0]) + " |")
    words = {name for name in rows[0] if all(isinstance(row[name], str) for row in rows)}
    print("|" + "".join("---|" if name in words else "---:|" for name in rows[0]))
    for row in rows:
        print("| " + " | ".join(_written(name, value) for name, value in row.items()) + " |", flush=True)


def _written(name: str, value: Any) -> str:
    if isinstance(value, str | int):
        return value if isinstance(value, str) else f"{value:,}"
    if name.startswith(("ratio", "R²")) or name.endswith((")", "/s")):
        return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
    return f"{value:.0%}" if abs(value) > 0.1 else f"{value:.1%}"


def rounded(value: Any) -> Any:
    """Five digits of every number."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8, metavar="W")
    parser.add_argument("--lanes", type=int, default=LANES)
    parser.add_argument("--measured", type=Path, default=RESULTS / "workers.json", metavar="FILE")
    parser.add_argument("--out", type=Path, default=RESULTS / "rounds.json")
    args = parser.parse_args()
    if not args.measured.is_file():
        raise SystemExit(f"{args.measured} is not there: run benchmarks/workers.py first")
    given = Given(json.loads(args.measured.read_text(encoding="utf-8")), Layout(args.workers, args.lanes))
    found: dict[str, Any] = {"workers": args.workers, "lanes": args.lanes, "texts": TEXTS}
    found["costs"] = {name: asdict(cost) for name, cost in given.costs.items()}
    for part in (validation, sizes, dealing, mishaps, h200):
        found[part.__name__] = part(given)
        print(f"\n{part.__name__}: {part.__doc__}")
        table(found[part.__name__])
    write_json(args.out, rounded(found))
    print(f"\nwritten: {args.out}")


if __name__ == "__main__":
    main()
