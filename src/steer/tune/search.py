"""The search itself, and the fixed lists of points that are measured the same way."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import product
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from steer.evaluate.intervals import Estimate
from steer.pareto import Scores, Want, dominates_surely
from steer.progress import say as say_on_stderr
from steer.tune.dials import Point, canonical, check, digest, words
from steer.tune.plan import Bench, Part, Plan, State, Trial

if TYPE_CHECKING:
    from steer.tune.history import Choose, History


Say = Callable[[str], None]
Measure = Callable[[Point, Sequence[Trial]], Trial]  # a point, and what is finished


def search(bench: Bench, plan: Plan, store: Path, say: Say = say_on_stderr) -> list[Trial]:
    """All finished trials of the plan's search in this store, after as many more as are missing from `plan.trials`.

    The starts of the plan come first, then what TPE suggests; all points are measured with the same seed. It may be
    killed at any time and goes on from its last finished trial, and any number of processes may share the store.
    """
    from steer.tune.history import History
    from steer.tune.suggest import suggested

    starts = plan.starts
    end = None if plan.budget is None else time.monotonic() + plan.budget

    def choose(finished: Sequence[Trial], running: Sequence[Point]) -> Point | None:
        if len(finished) + len(running) >= plan.trials or (end is not None and time.monotonic() >= end):
            return None
        return _new(starts, finished, running) or suggested(plan, finished, running)

    def measure(point: Point, finished: Sequence[Trial]) -> Trial:
        return _measured(bench, point, plan, "validation", plan.seed, finished)

    history = History(store, plan.name, plan.want)
    return _work(history, choose, measure, plan.trials, plan.want, say)


def grid(
    bench: Bench, axes: Mapping[str, Sequence[float]], plan: Plan, store: Path, say: Say = say_on_stderr
) -> dict[tuple[float, ...], Trial]:
    """All combinations of the axes, the other dials as in `plan.base`: values in the order of the axes -> trial.

    With the search's seed on validation; cells that are one decoder, such as all of η = 0, share one trial.
    """
    check(axes)
    cells = list(product(*axes.values()))
    points = [{**plan.base, **dict(zip(axes, cell, strict=True))} for cell in cells]
    measured = measure_all(bench, points, plan, store, "validation", plan.seed, say)
    return dict(zip(cells, measured, strict=True))


def sweep(
    bench: Bench, axes: Mapping[str, Sequence[float]], plan: Plan, store: Path, say: Say = say_on_stderr
) -> dict[str, dict[float, Trial]]:
    """One dial at a time, the others as in `plan.base`: dial -> value -> trial."""
    check(axes)
    cells = [(name, value) for name, values in axes.items() for value in values]
    points = [{**plan.base, name: value} for name, value in cells]
    measured = measure_all(bench, points, plan, store, "validation", plan.seed, say)
    found: dict[str, dict[float, Trial]] = {name: {} for name in axes}
    for (name, value), trial in zip(cells, measured, strict=True):
        found[name][value] = trial
    return found


def rivals(bench: Bench, plan: Plan, store: Path, say: Say = say_on_stderr) -> list[Trial]:
    """Plain sampling over `plan.temperatures` at each of `plan.top_ps`, on the fresh samples of validation."""
    return measure_all(bench, plan.plain_points, plan, store, "validation", plan.fresh_seed, say)


def measure_all(
    bench: Bench, points: Sequence[Point], plan: Plan, store: Path, part: Part, seed: int, say: Say = say_on_stderr
) -> list[Trial]:
    """Every point at `plan.samples`, none stopped early: a trial for each, in their order.

    What this store holds of the same part, seed, samples and want is not measured again.
    """
    from steer.tune.history import History

    wanted = [canonical(point, plan.base) for point in points]
    unique = [point for i, point in enumerate(wanted) if point not in wanted[:i]]

    def choose(finished: Sequence[Trial], running: Sequence[Point]) -> Point | None:
        return _new(unique, finished, running)

    def measure(point: Point, finished: Sequence[Trial]) -> Trial:
        return _measured(bench, point, plan, part, seed)

    question = {"want": str(plan.want), "samples": plan.samples, "about": plan.about}
    history = History(store, f"{part}, seed {seed} {digest(question)}", plan.want)
    known = {digest(dict(t.point)): t for t in _work(history, choose, measure, unique, plan.want, say)}
    return [known[digest(point)] for point in wanted]


def _work(
    history: "History", choose: "Choose", measure: Measure, wanted: Collection[Point] | int, want: Want, say: Say
) -> list[Trial]:
    """Claim, measure and keep one point after the other until there are no more. wanted: which, or only how many."""
    total = wanted if isinstance(wanted, int) else len(wanted)
    while (claim := history.claim(choose)) is not None:
        with claim:
            say(f"tune: {words(claim.point)}")
            trial = claim.finish(measure(claim.point, claim.finished))
        done = 1 + sum(isinstance(wanted, int) or one.point in wanted for one in claim.finished)
        say(f"tune: {done} of {total}, {trial.seconds:.0f} s: {_said(trial, want)}")
    return history.finished()


def _said(trial: Trial, want: Want) -> str:
    values = ", ".join(f"{name} {trial.scores[name].value:.3f}" for name in want.scores if name in trial.scores)
    return f"{trial.state}, {trial.reason}" if trial.reason else values


def _new(points: Sequence[Point], finished: Sequence[Trial], running: Sequence[Point]) -> Point | None:
    """The first of the points that is neither finished nor running."""
    taken = {digest(dict(point)) for point in [*(trial.point for trial in finished), *running]}
    return next((point for point in points if digest(dict(point)) not in taken), None)


def _measured(
    bench: Bench, point: Point, plan: Plan, part: Part, seed: int, finished: Sequence[Trial] | None = None
) -> Trial:
    """The trial, without its number; with what is finished, it is stopped early where that is surely better."""
    started = time.monotonic()
    first: Scores = {}

    def ended(state: State, samples: int, scores: Scores, reason: str | None = None) -> Trial:
        kept = first if state == "complete" else {}
        return Trial(-1, point, state, samples, scores, time.monotonic() - started, reason, kept)

    def scored(samples: int) -> Scores:
        return _complete(bench.measure(point, samples=samples, seed=seed, part=part), plan.want)

    try:
        if finished is not None and 0 < plan.first < plan.samples:
            first = scored(plan.first)
            if (better := _surely_better(first, finished, plan.want)) is not None:
                reason = f"surely worse in all objectives than {words(better.point)}"
                return ended("stopped", plan.first, first, reason)
        scores = scored(plan.samples)
    except ValueError as error:
        return ended("failed", plan.samples, {}, str(error))
    if unknown := [name for name in plan.want.scores if not isfinite(scores[name].value)]:
        reason = f"{unknown[0]} is undefined: {scores[unknown[0]].reason or 'no reason is given'}"
        return ended("failed", plan.samples, scores, reason)
    return ended("complete", plan.samples, scores)


def _complete(scores: Mapping[str, Estimate], want: Want) -> Mapping[str, Estimate]:
    if missing := [name for name in want.scores if name not in scores]:
        raise LookupError(f"{missing[0]!r} was not measured; there are: {', '.join(scores)}")
    return scores


def _surely_better(first: Scores, finished: Sequence[Trial], want: Want) -> Trial | None:
    """The first finished trial that was, at as many samples, surely better in all objectives.

    It has to meet the constraints: what copies the real texts is better than anything, and no reason to stop.
    """
    return next(
        (
            trial
            for trial in finished
            if trial.state == "complete"
            and trial.first
            and want.meets(trial.scores)
            and dominates_surely(trial.first, first, want.objectives)
        ),
        None,
    )
