"""Trials on disk: those that are finished, in an Optuna study, and claims on the points that are being measured.

A trial is written when it is finished, whole or not at all, so that a killed process leaves nothing in the study. While
it is measured its point is claimed by a file lock, which the system lets go when the process ends, however it ends:
workers that share a store see what the others are measuring, and what a dead one has left undone.
"""

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from steer.evaluate.intervals import Estimate
from steer.pareto import Want
from steer.records import read_json, write_json
from steer.tune.dials import DIALS, Point, digest
from steer.tune.plan import Trial
from steer.tune.result import finite

# From what is finished and what others are measuring to the next point; None: there is none.
Choose = Callable[[Sequence[Trial], Sequence[Point]], Point | None]

STATES = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
PATIENCE = 60  # seconds that a locked database is waited for
POLL = 0.2  # seconds between two looks at whether the others have finished


class History:
    """The trials of one study in store/study.db, and the claims on its points in store/running."""

    def __init__(self, store: Path, name: str, want: Want) -> None:
        store.mkdir(parents=True, exist_ok=True)
        self._want = want
        self._running = store / "running" / digest(name)
        self._lock = FileLock(store / "study.lock")
        with self._lock:
            self._study = _open(store / "study.db", name, want)

    def finished(self) -> list[Trial]:
        """In the order in which they finished."""
        return [_read(trial) for trial in self._study.get_trials(deepcopy=False)]

    def claim(self, choose: Choose) -> "Claim | None":
        """The point that is chosen, for nobody else to measure.

        Where none is, it waits for what others are measuring, lest one of them be killed, and returns None at the end.
        """
        while True:
            with self._lock:
                finished, running = self.finished(), self._others()
                point = choose(finished, running)
                if point is not None:
                    return self._take(point, finished)
            if not running:
                return None
            time.sleep(POLL)

    def _others(self) -> list[Point]:
        """What living processes are measuring; what dead ones have left is cleared away."""
        living = []
        for file in sorted(self._running.glob("*.json")):
            lock = FileLock(file.with_suffix(".lock"))
            try:
                lock.acquire(blocking=False)
            except Timeout:
                living.append(read_json(file))
            else:
                _clear(lock, file)
        return living

    def _take(self, point: Point, finished: Sequence[Trial]) -> "Claim":
        file = self._running / f"{digest(dict(point))}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire(blocking=False)
        write_json(file, dict(point))
        return Claim(point, finished, self, lock, file)

    def _add(self, trial: Trial) -> Trial:
        numbered = replace(trial, number=len(self._study.get_trials(deepcopy=False)))
        self._study.add_trial(_written(numbered, self._want))
        return numbered


class Claim:
    """A point that is this process's to measure, until it is finished or the block is left.

    finished: the trials from which it was chosen.
    """

    def __init__(self, point: Point, finished: Sequence[Trial], history: History, lock: FileLock, file: Path) -> None:
        self.point, self.finished = point, finished
        self._history, self._lock, self._file = history, lock, file

    def finish(self, trial: Trial) -> Trial:
        """The trial as it is kept, with its number."""
        with self._history._lock:
            kept = self._history._add(trial)
            _clear(self._lock, self._file)
        return kept

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock.is_locked:
            with self._history._lock:
                _clear(self._lock, self._file)


def _clear(lock: FileLock, file: Path) -> None:
    """Only while the store is locked: nobody else may be about to take what is cleared away."""
    file.unlink(missing_ok=True)
    lock.release()
    Path(lock.lock_file).unlink(missing_ok=True)


def _open(file: Path, name: str, want: Want) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # Connected to by the path itself: in an address '?' and '%' would mean something, and '{' to Optuna.
    connect = partial(sqlite3.connect, file, timeout=PATIENCE, check_same_thread=False)
    storage = optuna.storages.RDBStorage("sqlite:///study.db", engine_kwargs={"creator": connect})
    directions = [StudyDirection.MAXIMIZE if one.maximise else StudyDirection.MINIMIZE for one in want.objectives]
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)


def _written(trial: Trial, want: Want) -> FrozenTrial:
    """As Optuna's own tools understand it, and whole in a user attribute."""
    scores = {name: one.value for name, one in trial.scores.items()}
    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(min(DIALS[name].low, value), max(DIALS[name].high, value))
        for name, value in trial.point.items()
    }
    whole = {
        **{key: getattr(trial, key) for key in ("state", "samples", "seconds", "reason")},
        "point": dict(trial.point),
        "scores": {name: _to_row(one, name in want.scores) for name, one in trial.scores.items()},
        "first": {name: _to_row(one, name in want.scores) for name, one in trial.first.items()},
    }
    return create_trial(
        state=STATES[trial.state],
        params=dict(trial.point),
        distributions=distributions,
        values=[scores[one.score] for one in want.objectives] if trial.state == "complete" else None,
        user_attrs={"trial": whole},
        constraints=violations(scores, want) if trial.state != "failed" else {},
    )


def violations(scores: Mapping[str, float], want: Want) -> dict[str, float]:
    """By how much each constraint is missed, by its words; those of undefined scores are left out."""
    missed = {str(one): float(one.violation(np.array(scores[one.score]))) for one in want.constraints}
    return {words: by for words, by in missed.items() if np.isfinite(by)}


def _read(trial: FrozenTrial) -> Trial:
    kept = trial.user_attrs["trial"]
    return Trial(
        trial.number,
        kept["point"],
        kept["state"],
        kept["samples"],
        {name: _from_row(row) for name, row in kept["scores"].items()},
        kept["seconds"],
        kept["reason"],
        {name: _from_row(row) for name, row in kept["first"].items()},
    )


def _to_row(one: Estimate, draws: bool) -> dict[str, Any]:
    """An estimate as JSON; its draws, where they are wanted, to seven digits, which is more than they know."""
    row: dict[str, Any] = {key: finite(getattr(one, key)) for key in ("value", "low", "high", "p")}
    row["reason"] = one.reason
    if draws and one.draws is not None:
        row["draws"] = [finite(float(f"{x:.7g}")) for x in one.draws]
    return row


def _from_row(row: Mapping[str, Any]) -> Estimate:
    numbers = {key: nan if row[key] is None else row[key] for key in ("value", "low", "high", "p")}
    draws = row.get("draws")
    kept = None if draws is None else np.array([nan if x is None else x for x in draws], dtype=np.float64)
    return Estimate(**numbers, reason=row["reason"], draws=kept)
