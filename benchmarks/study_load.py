"""How long does a vote take when fifty people answer at once, and is any vote lost?

    python benchmarks/study_load.py [--clients 50] [--votes 20] [--kill N] [--out FILE]

`steer study serve` runs in one process, on a temporary study; the clients in one more, a thread each. Every client
joins by a link of its own, waits for the others, and then votes as quickly as it can: the page with the next question,
then the answer. What is timed is an answer from the first byte sent to the last received; pages apart. A vote is
acknowledged when the answer to it is a redirection to the next question, and by then has to be stored.

--kill N: then N times more, each time killing the server (SIGKILL) once a third of the votes are acknowledged, and
counting which of these are not in the file afterwards.

Prints what it found, and writes benchmarks/results/study-load.json. There, load_before is how many other processes
wanted a core before it began (the load average of a minute): with them, the slowest answers become slower.
"""

import argparse
import http.client
import multiprocessing
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from steer.records import write_json
from steer.study.plan import Entry, Pair, Study, TextSet
from steer.study.store import Store

RESULT = Path(__file__).parent / "results" / "study-load.json"
WORDS = "the of and gas star moon ring dust cools faster slower near around because when thin warm old small"
# The second line: of a shell's background job, SIGINT is ignored, by its children too.
COMMAND = """import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from steer.cli import main
main()
"""
PATIENCE = 60  # seconds


def sample(clients: int, pairs: int = 30, words: int = 80) -> Study:
    """A study in which every client is asked about every pair."""
    rng = random.Random(0)

    def entry(name: str, number: int) -> Entry:
        return Entry(set=name, id=f"{name}-{number}", text=" ".join(rng.choices(WORDS.split(), k=words)))

    made = [Pair(id=f"p{i}", a=entry("steered", i), b=entry("plain", i)) for i in range(pairs)]
    sets = tuple(TextSet(name=name, source="", texts=pairs) for name in ("steered", "plain"))
    return Study(title="Load", sets=sets, pairs=tuple(made), annotators=clients, repeats=0)


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Server:
    """links: of the invitations it made at this start. said: its lines on standard error, as far as they came,
    and at the end those on standard output that came after the links."""

    process: "subprocess.Popen[str]"
    links: Sequence[str]
    admin: str
    said: list[str]

    @property
    def url(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.admin))


@contextmanager
def served(folder: Path, *arguments: str, invite: int = 0) -> Iterator[Server]:
    """The study served on a free port, until the end of the block or an earlier end."""
    command = [sys.executable, "-c", COMMAND, "study", "serve", str(folder), "--port", "0", *arguments]
    command += ["--invite", f"load={invite}"] if invite else []
    said: list[str] = []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stderr
    listening = threading.Thread(target=said.extend, args=(process.stderr,))
    listening.start()
    try:
        # The admin's link is the last line, told before the port is served and after it is listened on.
        links = []
        for line in process.stdout:
            group, link = line.split()[:2]
            if group == "admin":
                break
            links.append(link)
        else:
            process.wait(PATIENCE)
            raise RuntimeError(f"the server did not start: {' '.join(said)}")
        yield Server(process, links, link, said)
    finally:
        process.kill()
        process.wait(PATIENCE)
        listening.join(PATIENCE)
        said.extend(process.stdout)
        process.stdout.close()
        process.stderr.close()


# -- a client ----------------------------------------------------------------------------------------------------------


class Client:
    """An annotator's browser, as far as it matters: one connection, one cookie."""

    def __init__(self, url: str, cookie: str = "") -> None:
        self.connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        self.cookie = cookie

    def ask(self, method: str, path: str, **form: str) -> tuple[int, str, str]:
        """-> status, where to, page."""
        headers = {"Cookie": self.cookie} if self.cookie else {}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
        self.connection.request(method, path, urlencode(form) if form else None, headers)
        answer = self.connection.getresponse()
        page = answer.read().decode()
        if cookie := answer.headers["Set-Cookie"]:
            self.cookie = cookie.partition(";")[0]
        return answer.status, answer.headers["Location"] or "", page

    @property
    def secret(self) -> str:
        return self.cookie.partition("=")[2]

    def join(self, link: str) -> None:
        path = urlsplit(link).path
        status, to, _ = self.ask("POST", path, token=self.token(path), agree="yes")
        assert (status, to) == (303, "/study"), (status, to)

    def token(self, path: str = "/study") -> str:
        """Of the page's first form: on a pair's page, that of the answers."""
        status, _, page = self.ask("GET", path)
        found = re.search(r'name="token" value="([^"]+)"', page)
        assert found, f"{path}: {status}, no form"
        return found[1]

    def answer(self, token: str, choice: str) -> bool:
        """Whether it was acknowledged."""
        return self.ask("POST", "/answer", token=token, answer=choice)[:2] == (303, "/study")


PLACES = ("first", "second", "tie")  # what the buttons send


@dataclass
class Outcome:
    """Of one client. chosen: what was acknowledged, in order. answers, pages: seconds of each."""

    secret: str = ""
    chosen: list[str] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    pages: list[float] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0


def vote(link: str, votes: int, seed: int, together: threading.Barrier, count: Any = None, each: int = 1) -> Outcome:
    """Join and vote until all is said or the server is gone. count: of all that was acknowledged, shared between
    clients. each: how often each answer is sent."""
    client, rng, outcome = Client(link), random.Random(seed), Outcome()
    client.join(link)
    outcome.secret = client.secret
    together.wait(PATIENCE)
    outcome.began = time.perf_counter()
    try:
        for _ in range(votes):
            begun = time.perf_counter()
            token = client.token()
            shown = time.perf_counter()
            choice = rng.choice(PLACES)
            acknowledged = client.answer(token, choice)
            outcome.pages.append(shown - begun)
            outcome.answers.append(time.perf_counter() - shown)
            assert acknowledged
            outcome.chosen.append(choice)
            if count is not None:
                with count.get_lock():
                    count.value += 1
            for _ in range(each - 1):
                client.answer(token, choice)
    except (OSError, http.client.HTTPException):
        pass  # the server was killed: what was acknowledged until then counts
    outcome.ended = time.perf_counter()
    return outcome


def crowd(links: Sequence[str], votes: int, count: Any = None, each: int = 1) -> list[Outcome]:
    """A thread for each link."""
    found: list[Outcome] = []
    together = threading.Barrier(len(links))

    def one(link: str, seed: int) -> None:
        try:
            found.append(vote(link, votes, seed, together, count, each))
        except BaseException:
            together.abort()  # the others need not wait for this one
            raise

    threads = [threading.Thread(target=one, args=(link, seed)) for seed, link in enumerate(links)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(links), f"{len(links) - len(found)} clients failed"
    return found


def stored(folder: Path, outcomes: Sequence[Outcome]) -> tuple[int, int]:
    """-> votes in the file, and how many of those that were acknowledged are not there."""
    store = Store(folder, Study.read(folder))
    kept: dict[str, list[str]] = {}
    votes = store.votes()
    for one in votes:
        place = "tie" if one.winner == "tie" else "first" if one.winner == one.first else "second"
        kept.setdefault(one.annotator, []).append(place)
    lost = 0
    for outcome in outcomes:
        annotator = store.annotator(outcome.secret)
        found = kept.get(annotator.name, []) if annotator else []
        lost += sum(found[i : i + 1] != [choice] for i, choice in enumerate(outcome.chosen))
    store.close()
    return len(votes), lost


# -- the figures -------------------------------------------------------------------------------------------------------


def _driven(queue: Any, *arguments: Any) -> None:
    queue.put(crowd(*arguments))


def load(clients: int, votes: int, kill_after: int | None = None) -> tuple[list[Outcome], int, int]:
    """-> what the clients saw, votes in the file, acknowledged votes that are not there."""
    spawn = multiprocessing.get_context("spawn")
    queue, count = spawn.Queue(), spawn.Value("i", 0)
    with tempfile.TemporaryDirectory() as place:
        sample(clients, pairs=max(30, votes)).write(Path(place))
        with served(Path(place), invite=clients) as server:
            process = spawn.Process(target=_driven, args=(queue, server.links, votes, count))
            process.start()
            while kill_after is not None and count.value < kill_after:
                time.sleep(0.001)
            if kill_after is not None:
                server.process.kill()
            outcomes = queue.get(timeout=10 * PATIENCE)
            process.join()
        return (outcomes, *stored(Path(place), outcomes))


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """In milliseconds."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    values = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "max": max(seconds)}
    return {name: round(1000 * value, 1) for name, value in values.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--votes", type=int, default=20, help="of each client")
    parser.add_argument("--kill", type=int, default=0, metavar="N", help="kill the server under load, N times")
    parser.add_argument("--out", type=Path, default=RESULT, metavar="FILE")
    arguments = parser.parse_args()
    wanted, busy = arguments.clients * arguments.votes, os.getloadavg()[0]

    outcomes, kept, lost = load(arguments.clients, arguments.votes)
    seconds = max(one.ended for one in outcomes) - min(one.began for one in outcomes)
    answers = spread([second for one in outcomes for second in one.answers])
    pages = spread([second for one in outcomes for second in one.pages])
    acknowledged = sum(len(one.chosen) for one in outcomes)
    print(f"{arguments.clients} clients, {arguments.votes} votes each, as quickly as they can")
    print("".join(f"{name:>9}" for name in ("ms", *answers)))
    for name, row in (("answer", answers), ("page", pages)):
        print(f"{name:>9}" + "".join(f"{value:>9.1f}" for value in row.values()))
    print(f"{acknowledged / seconds:.0f} votes a second; {acknowledged} acknowledged, {kept} stored, {lost} lost")

    kills = []
    for _ in range(arguments.kill):
        killed, there, missing = load(arguments.clients, arguments.votes, wanted // 3)
        kills.append({"acknowledged": sum(len(one.chosen) for one in killed), "stored": there, "lost": missing})
        print("killed: {acknowledged} acknowledged, {stored} stored, {lost} lost".format(**kills[-1]), flush=True)
    result = {
        "clients": arguments.clients,
        "votes_of_each": arguments.votes,
        "answer_ms": answers,
        "page_ms": pages,
        "votes_a_second": round(acknowledged / seconds, 1),
        "acknowledged": acknowledged,
        "stored": kept,
        "lost": lost,
        "kills": kills,
        "load_before": round(busy, 2),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
    }
    write_json(arguments.out, result)


if __name__ == "__main__":
    main()
