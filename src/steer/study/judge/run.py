"""Ask a judge about every pair of a study, in both orders: what it will cost, then the answers, kept as they come."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from steer.config import UsageError
from steer.endpoint import in_a_line
from steer.evaluate.cache import default_cache
from steer.evaluate.score import strict
from steer.progress import Progress
from steer.records import write_json, write_jsonl
from steer.study.judge.answers import FOLDER, Consistency, Row, consistency, load, votes
from steer.study.judge.ask import Answer, Ask, Judge, asks
from steer.study.judge.kept import Kept
from steer.study.plan import Study
from steer.study.votes import Vote

FAILURES = 5  # requests in a row, each tried again already, after which a server is taken to be gone
UNREADABLE = 10  # answers, all there are, after which a judge is taken to have no other
GRACE = 0.5  # seconds in which answers under way may still come, once the work is broken off
HINT = "more --max-tokens may help, or a model that chats"

Price = tuple[float, float]  # money for a million tokens that are read, and for a million that are written


@dataclass(frozen=True)
class Estimate:
    """requests: questions to be asked, each of one pair in one order. kept: those that have been answered already.
    tokens_in: to be read, a quarter of the characters where nobody can count them. tokens_out: to be written at most.
    money: None where no price is known. What is asked again, since it could not be read, comes on top.
    """

    requests: int
    kept: int
    tokens_in: int
    tokens_out: int
    money: float | None

    def __str__(self) -> str:
        money = "" if self.money is None else f", {self.money:.4f} at these prices"
        return (
            f"{self.requests} requests ({self.kept} answered before), about {self.tokens_in} tokens in and at most "
            f"{self.tokens_out} out{money}; what cannot be read is asked again, on top"
        )


@dataclass
class Spent:
    """What was used: questions, tokens (also of asking again), seconds; money is None where no price is known."""

    questions: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    money: float | None = None

    def add(self, answer: Answer) -> None:
        self.questions += 1
        self.tokens_in += answer.tokens_in
        self.tokens_out += answer.tokens_out

    def after(self, before: dict[str, Any]) -> dict[str, Any]:
        """This and what was used before it."""
        found = {name: value for name, value in asdict(self).items() if name != "money"}
        money = [one for one in (self.money, before.get("money")) if one is not None]
        summed = {name: value + before.get(name, 0) for name, value in found.items()}
        return summed | {"money": sum(money) if money else None}


@dataclass(frozen=True)
class Judged:
    """What a judge said of a study. spent: in this call. stopped: why not everything was asked, "" if it was."""

    name: str
    rows: list[Row]
    estimate: Estimate
    spent: Spent
    consistency: Consistency
    stopped: str = ""

    @property
    def votes(self) -> list[Vote]:
        return votes(self.rows, self.name)

    def lines(self) -> list[str]:
        """To be printed."""
        spent, undecided = self.spent, self.consistency.undecided
        money = "" if spent.money is None else f", {spent.money:.4f} in money"
        return [
            f"{self.name}: {len(self.rows)} answers, {undecided} of them undecided",
            *self._undecided(),
            f"asked {spent.questions} questions, {spent.tokens_in} tokens in, {spent.tokens_out} out{money}",
            str(self.consistency),
            *([self.stopped] if self.stopped else []),
        ]

    def _undecided(self) -> list[str]:
        """Why, for the commonest reason of each kind."""
        open_ = [row for row in self.rows if row.answer == "undecided"]
        errors = Counter(row.error for row in open_ if row.error)
        said = Counter(row.said for row in open_ if not row.error)
        told = [f"{errors.total()} were not answered: {errors.most_common(1)[0][0]}"] if errors else []
        if said:
            told.append(f"{said.total()} could not be read, as in {_quoted(said.most_common(1)[0][0])}; {HINT}")
        return told


def estimate(
    study: Study, judge: Judge, *, folder: Path | None = None, price: Price | None = None, cache: Path | None = None
) -> Estimate:
    """What `judge` will ask, and what that costs. folder: of the study, for answers that lie there."""
    return _Work(study, judge, folder, cache).estimate(_checked(price, None))


def judge(
    study: Study,
    folder: Path,
    judge: Judge,
    *,
    workers: int = 8,
    price: Price | None = None,
    budget: float | None = None,
    cache: Path | None = None,
    shown: bool = True,
) -> Judged:
    """Ask a judge every question of every pair in both orders, and write the answers to folder/judges/NAME.jsonl.

    Everything answered is kept, in the file and in cache/judge.sqlite, whatever ends the work: the same call goes on
    from there and asks only the rest, with what was undecided. An interruption waits GRACE seconds for requests under
    way, and not for a server that hangs. workers: requests under way at once; the order of the
    rows does not depend on them.

    A request that fails after all waits leaves its question undecided. After FAILURES of them in a row, or where
    nothing was answered at all, ConnectionError: a server that is gone has no opinion. What a server that has answered
    others refuses for its content is no such failure, only undecided. A judge whose first UNREADABLE answers can none
    of them be read is asked no more.

    price: money for a million tokens in and out. budget: in the same money, of this call; UsageError before the first
    request where the estimate exceeds it; where what was really used reaches it, the work stops, and requests under way
    come on top. ValueError where the judge cannot be asked, or its files are those of another judge or cannot be read.
    """
    if workers < 1:
        raise UsageError(f"workers {workers}: expected at least 1")
    price = _checked(price, budget)
    work = _Work(study, judge, folder, cache)
    work.plan = plan = work.estimate(price)
    if budget is not None and plan.money is not None and plan.money > budget:
        raise UsageError(
            f"{judge.asked_as} would cost about {plan.money:.4f}, and the budget is {budget:.4f}: nothing was asked"
        )
    if work.todo:
        judge.check()
    started = time.monotonic()
    work.stopped = "it was broken off"
    try:
        work.stopped = work.ask(workers, price, budget, shown)
    finally:
        with work.lock:  # what is answered later than this is in the cache only
            work.spent.seconds = time.monotonic() - started
            work.spent.money = _money(price, work.spent.tokens_in, work.spent.tokens_out)
            work.write(folder, price, budget)
    return work.judged()


@dataclass
class _Work:
    """The questions of a study to one judge, and the answers so far."""

    study: Study
    judge: Judge
    folder: Path | None
    cache: Path | None
    asks: list[Ask] = field(init=False)
    answers: dict[Ask, Answer] = field(init=False)
    before: dict[str, Any] = field(default_factory=dict)  # what earlier calls have used
    spent: Spent = field(default_factory=Spent)
    plan: Estimate = field(init=False)
    under_way: dict[Future[Answer], float] = field(default_factory=dict)  # with what each may cost
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: str = ""

    def __post_init__(self) -> None:
        self.asks = list(asks(self.study, self.judge.ties))
        self.store = Kept(self.cache or default_cache(), self.judge.signature)
        self.answers = self._filed() | self.store.known(self.asks)
        self.todo = [ask for ask in self.asks if ask not in self.answers]

    def _filed(self) -> dict[Ask, Answer]:
        """The answers that lie in the study's folder already."""
        path = None if self.folder is None else self.folder / FOLDER / f"{self.judge.name}.json"
        if path is None or not path.exists():
            return {}
        facts, rows = load(path)
        if facts["judge"] != self.judge.asked_as:
            raise UsageError(f"{path} is of another judge, {facts['judge']}: give this one another name")
        if facts["signature"] != self.judge.signature:
            return {}
        if facts["study"] == self.study.digest:
            self.before = facts["spent"]
        found = {(row.pair, row.question, row.first): row for row in rows}
        known = [(ask, found.get((ask.pair, ask.question, ask.first))) for ask in self.asks]
        return {ask: answer for ask, row in known if row and (answer := row.answers(ask))}

    def estimate(self, price: Price | None) -> Estimate:
        tokens = [self.judge.tokens(ask) for ask in self.todo]
        read, written = sum(one for one, _ in tokens), sum(one for _, one in tokens)
        kept = len(self.asks) - len(self.todo)
        return Estimate(len(self.todo), kept, read, written, _money(price, read, written))

    def ask(self, workers: int, price: Price | None, budget: float | None, shown: bool) -> str:
        """Ask what is left -> why it stopped. No more is under way than `workers`, so that stopping is quick."""
        workers = workers if self.judge.parallel else 1
        with Progress("judge", len(self.todo), shown) as progress:
            try:
                return self._ask(workers, price, budget, progress)
            finally:
                wait(self.under_way, GRACE)

    def _ask(self, workers: int, price: Price | None, budget: float | None, progress: Progress) -> str:
        waiting, failures, stopped, under_way = deque(self.todo), 0, "", self.under_way
        while True:
            while len(under_way) < workers and waiting and not stopped:
                cost = _money(price, *self.judge.tokens(waiting[0])) or 0.0
                used = _money(price, self.spent.tokens_in, self.spent.tokens_out) or 0.0
                if budget is not None and used + sum(under_way.values()) + cost > budget * (1 + 1e-9):
                    break
                under_way[_begun(self._answer, waiting.popleft(), self.judge.parallel)] = cost
            if not under_way:
                break
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for one in done:
                del under_way[one]
                progress.advance(1)
                failures = failures + 1 if self._failed(one.result()) else 0
                if failures == FAILURES or failures == len(self.asks):
                    raise ConnectionError(self._gone(failures, one.result().error))
                stopped = stopped or self._unreadable()
        if stopped or not waiting:
            return stopped
        return f"stopped, as the budget is {budget:g}: {len(waiting)} questions are left, and the same command goes on"

    def _answer(self, ask: Ask) -> Answer:
        """Of one thread: what is answered is kept at once, even where the others are stopped meanwhile."""
        answer = self.judge.answer(ask)
        self.store.keep(ask, answer)
        with self.lock:
            self.answers[ask] = answer
            self.spent.add(answer)
        return answer

    def _failed(self, answer: Answer) -> bool:
        if answer.refused and any(not one.error for one in list(self.answers.values())):
            return False
        return bool(answer.error)

    def _unreadable(self) -> str:
        """Why it is no use to ask on, with an example, where nothing it has said could be read; "" where it is."""
        answers = list(self.answers.values())
        # What it was not even asked, since the texts are too long for it, has cost no tokens.
        unread = [one.said for one in answers if not (one.choice or one.error) and one.tokens_in]
        if len(unread) < UNREADABLE or any(one.choice for one in answers):
            return ""
        return f"stopped, as none of {len(unread)} answers could be read, as in {_quoted(unread[-1])}; {HINT}"

    def _gone(self, failures: int, error: str) -> str:
        return (
            f"{self.judge.asked_as} failed {failures} times in a row: {error}. What was answered is kept, and the same "
            "command goes on"
        )

    def judged(self) -> Judged:
        rows = [Row.of(ask, self.answers[ask]) for ask in self.asks if ask in self.answers]
        return Judged(self.judge.name, rows, self.plan, self.spent, consistency(rows), self.stopped)

    def write(self, folder: Path, price: Price | None, budget: float | None) -> None:
        judged, spent = self.judged(), self.spent.after(self.before)
        if all(row.error for row in judged.rows):
            return  # a judge that was never reached is none
        facts = {
            "name": self.judge.name,
            "judge": self.judge.asked_as,
            "signature": self.judge.signature,
            "study": self.study.digest,
            "answers": len(judged.rows),
            "of": len(self.asks),
            "price": price,
            "budget": budget,
            "estimate": asdict(self.plan),
            "spent": spent,
            "stopped": self.stopped,
            "consistency": asdict(judged.consistency),
        }
        path = folder / FOLDER / f"{self.judge.name}.json"
        write_jsonl(path.with_suffix(".jsonl"), (row.to_json() for row in judged.rows))
        write_json(path, strict(facts))


def _begun(work: Callable[[Ask], Answer], ask: Ask, aside: bool) -> Future[Answer]:
    """aside: in a thread of its own, for which the end of the program does not wait, as it does for an executor's."""
    future: Future[Answer] = Future()

    def run() -> None:
        try:
            future.set_result(work(ask))
        except BaseException as error:
            future.set_exception(error)

    if aside:
        threading.Thread(target=run, daemon=True).start()
    else:
        run()
    return future


def _quoted(said: str) -> str:
    return repr(in_a_line(said)) if said.strip() else "an empty answer"


def prices(text: str | None) -> Price | None:
    """The price of "IN,OUT". Raises UsageError where it is none."""
    if text is None:
        return None
    try:
        read, written = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"price {text!r}: expected money for a million tokens in and out, as in 2.5,10") from None
    return _checked((read, written), None)


def _money(price: Price | None, read: int, written: int) -> float | None:
    return None if price is None else (price[0] * read + price[1] * written) / 1e6


def _checked(price: Price | None, budget: float | None) -> Price | None:
    for number in (*(price or ()), *(() if budget is None else (budget,))):
        if not (math.isfinite(number) and number >= 0):
            raise UsageError(f"{number}: expected prices and budgets of at least 0")
    if budget is not None and price is None:
        raise UsageError("a budget needs the prices: of a million tokens in, and of a million out")
    return price
