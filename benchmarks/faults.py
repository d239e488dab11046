"""Is a text lost, doubled or changed when workers are killed, the driver is killed, or the network is cut?

    python benchmarks/faults.py [--domain ADAPTER] [--only kill driver cut]

Each part draws the example's texts on two workers of a Ray cluster, breaks something on the way, and compares
`synthetic.jsonl` with that of one process that nothing happened to. `kill` ends a random worker with SIGKILL, `driver`
the command itself, which is given again; `cut` needs root and Linux: two hosts as network namespaces, with the link
between them down for 30 seconds.
"""

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from steer.records import write_json

BIN = Path(sys.executable).parent
RUN_FILE = Path(__file__).parents[1] / "examples" / "hypotheses.yaml"
HEAD, OTHER, PORT = "10.213.0.1", "10.213.0.2", 6399
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # without which no node is let in
NAMES = ("steer-head", "steer-other")  # of the network namespaces
STARTED = 120.0  # seconds in which the first round has to be there


class Drawing:
    """`steer generate` in a process of its own."""

    def __init__(self, folder: Path, domain: str, count: int, *settings: str, inside: tuple[str, ...] = ()) -> None:
        self.folder, self.inside, given = folder, inside, (f"domain={domain}", f"generate.count={count}", *settings)
        self.command = [*inside, str(BIN / "steer"), "generate", str(RUN_FILE), *given, "--out", str(folder)]
        self.log = folder.with_suffix(".log")
        self.begin()

    def begin(self) -> None:
        with open(self.log, "a") as log:
            environment = {**os.environ, **(TOKEN if self.inside else {})}
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=environment)

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def rounds(self) -> int:
        return len(list((self.folder / "rounds").glob("[0-9]*.jsonl")))

    def until(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end or not self.running:
                raise RuntimeError(f"it did not come to it; {self.log} says:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)

    def texts(self) -> bytes:
        """What came out, once it has ended well."""
        if self.process.wait():
            raise RuntimeError(f"it failed; {self.log} says:\n{self.log.read_text()[-2000:]}")
        return (self.folder / "synthetic.jsonl").read_bytes()

    def workers(self) -> list[psutil.Process]:
        """Their processes, wherever Ray's own have put them."""
        found = []
        for process in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if (process.cmdline() or [""])[0].startswith("ray::Worker"):
                    found.append(process)
            except psutil.NoSuchProcess:
                pass
        return found


def kill(folder: Path, domain: str, count: int, times: int) -> dict[str, Any]:
    """A random worker is killed, again and again."""
    drawing, killed = Drawing(folder / "kill", domain, count, "workers=2"), 0
    drawing.until(lambda: drawing.rounds > 0, STARTED)
    while drawing.running and killed < times:
        if workers := drawing.workers():
            random.choice(workers).send_signal(signal.SIGKILL)
            killed += 1
        time.sleep(random.uniform(1, 5))
    return {"killed": killed, **compared(drawing)}


def driver(folder: Path, domain: str, count: int, times: int) -> dict[str, Any]:
    """The command is killed on the way and given again."""
    drawing, killed = Drawing(folder / "driver", domain, count, "workers=2"), 0
    for _ in range(times):
        before = drawing.rounds
        drawing.until(lambda before=before: drawing.rounds > before, STARTED)
        time.sleep(random.uniform(0, 2))
        if drawing.running:
            drawing.process.send_signal(signal.SIGKILL)
            drawing.process.wait()
            killed += 1
            drawing.begin()
    return {"killed": killed, **compared(drawing)}


def cut(folder: Path, domain: str, count: int, seconds: float) -> dict[str, Any]:
    """The second host cannot be reached for some time, on the way."""
    with hosts(folder / "ray"):
        inside = ("ip", "netns", "exec", NAMES[0])
        drawing = Drawing(folder / "cut", domain, count, "workers=2", f"ray={HEAD}:{PORT}", inside=inside)
        drawing.until(lambda: drawing.rounds > 1, STARTED)
        before = drawing.rounds
        link("down")
        time.sleep(seconds)
        meanwhile = drawing.rounds - before
        link("up")
        return {"seconds": seconds, "rounds_meanwhile": meanwhile, **compared(drawing)}


@contextmanager
def hosts(temporary: Path) -> Iterator[None]:
    """Two hosts, each with a node of one Ray cluster with room for one worker."""
    pair = [f"v-{name}" for name in NAMES]
    commands = [["ip", "netns", "add", name] for name in NAMES]
    commands.append(["ip", "link", "add", pair[0], "type", "veth", "peer", "name", pair[1]])
    for name, end, address in zip(NAMES, pair, (HEAD, OTHER), strict=True):
        commands.append(["ip", "link", "set", end, "netns", name])
        commands.append(["ip", "-n", name, "addr", "add", f"{address}/24", "dev", end])
        commands += [["ip", "-n", name, "link", "set", device, "up"] for device in (end, "lo")]
    start = [str(BIN / "ray"), "start", "--num-cpus=1", "--disable-usage-stats"]
    head = ["--head", f"--temp-dir={temporary}", f"--node-ip-address={HEAD}", f"--port={PORT}"]
    head.append("--include-dashboard=false")
    commands.append(["ip", "netns", "exec", NAMES[0], *start, *head])
    commands.append(["ip", "netns", "exec", NAMES[1], *start, f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}"])
    try:
        for command in commands:
            subprocess.run(command, check=True, capture_output=True, env={**os.environ, **TOKEN})
        yield
    finally:
        for name in NAMES:
            inside = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()
            for process in inside:
                os.kill(int(process), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def link(state: str) -> None:
    subprocess.run(["ip", "-n", NAMES[0], "link", "set", f"v-{NAMES[0]}", state], check=True)


def compared(drawing: Drawing) -> dict[str, Any]:
    """How the texts differ from those that nothing happened to."""
    ids = [json.loads(line)["id"] for line in drawing.texts().splitlines()]
    lines = set((drawing.folder.parent / "whole" / "synthetic.jsonl").read_text().splitlines())
    mine = set((drawing.folder / "synthetic.jsonl").read_text().splitlines())
    said = drawing.log.read_text()
    return {
        "workers_lost": said.count("was lost"),
        "texts": len(ids),
        "doubled": len(ids) - len(set(ids)),
        "differ": len(lines ^ mine) // 2,
        "same_file": drawing.texts() == (drawing.folder.parent / "whole" / "synthetic.jsonl").read_bytes(),
    }


def adapter(folder: Path) -> str:
    command = [str(BIN / "steer"), "finetune", str(RUN_FILE), "--out", str(folder / "finetuned")]
    subprocess.run(command, check=True, capture_output=True)
    return str(folder / "finetuned" / "domain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domain", help="an adapter; without one the example's is made")
    parser.add_argument("--count", type=int, default=1500, help="texts of each part")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30.0, help="that the link is down")
    parser.add_argument("--only", nargs="+", choices=("kill", "driver", "cut"), default=("kill", "driver", "cut"))
    parser.add_argument("--seed", type=int, default=0, help="of what is killed and when")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "faults.json")
    args = parser.parse_args()
    random.seed(args.seed)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        domain = args.domain or adapter(folder)
        Drawing(folder / "whole", domain, args.count).texts()
        parts = {
            "kill": lambda: kill(folder, domain, args.count, args.kills),
            "driver": lambda: driver(folder, domain, args.count, args.restarts),
            "cut": lambda: cut(folder, domain, args.count, args.seconds),
        }
        for part in args.only:
            found[part] = parts[part]()
            print(part, json.dumps(found[part]), flush=True)
    if set(args.only) == set(parts):
        write_json(args.out, {"count": args.count, "seed": args.seed, **found})


if __name__ == "__main__":
    main()
