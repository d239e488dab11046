"""What a search has found: confirmed on fresh samples, held against plain sampling, looked at once on the test split.

Winners of a search owe something to luck. So the points that are probably on the front are measured again, on samples
that the search has not seen, beside plain sampling at every temperature. Of those measurements one point is
recommended; it, the run's own settings and the best plain sampling are then measured on the test split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from filelock import FileLock

from steer.evaluate.intervals import Difference, Estimate, between, holm
from steer.pareto import (
    Objective,
    Values,
    Want,
    eligible,
    front,
    front_shares,
    knee,
    recommended,
)
from steer.progress import say as say_on_stderr
from steer.records import read_json, write_json
from steer.tune.dials import DIALS, Point, digest, is_plain, words
from steer.tune.plan import Bench, Plan, Trial
from steer.tune.result import AgainstPlain, Beyond, Choice, Conclusion, Gain, Row, finite, scores_of
from steer.tune.search import Say, measure_all, rivals

LIKELY = 0.05  # the share of resamples on the front from which a point is worth confirming
SURE = 0.05  # the p-value, corrected for all pairs, below which steering is called better than plain sampling


def concluded(plan: Plan, store: Path) -> Conclusion | None:
    """What was concluded in this store from the same plan, if anything was."""
    file = store / "tune.json"
    tree = read_json(file) if file.is_file() else {}
    return Conclusion.from_json(tree) if tree.get("plan") == plan.to_json() else None


def conclude(bench: Bench, plan: Plan, store: Path, say: Say = say_on_stderr) -> Conclusion:
    """Confirm, compare, recommend, look once at the test split, and write store/tune.json.

    What was concluded from the same plan is returned as it is. Of processes that share the store one concludes, and the
    others wait for it. Raises ValueError where there is no point to recommend.
    """
    from steer.tune.history import History

    store.mkdir(parents=True, exist_ok=True)
    with FileLock(store / "conclude.lock"):
        if (known := concluded(plan, store)) is not None:
            return known
        found = History(store, plan.name, plan.want).finished()
        conclusion = _conclusion(bench, plan, store, found, say)
        write_json(store / "tune.json", conclusion.to_json())
    return conclusion


def _conclusion(bench: Bench, plan: Plan, store: Path, found: Sequence[Trial], say: Say) -> Conclusion:
    if not _complete(found):
        why = f"the last one: {found[-1].reason}" if found else "search first"
        raise ValueError(f"there is nothing to conclude from {len(found)} points, of which none is complete; {why}")
    rows = _rows(found, plan.want)
    likely = _likely(found, rows, plan.confirm)
    again = measure_all(bench, [one.point for one in likely], plan, store, "validation", plan.fresh_seed, say)
    confirmed = [replace(one, number=old.number) for one, old in zip(again, likely, strict=True)]
    best, why = _best(confirmed, plan.want)
    plains = [replace(one, number=i) for i, one in enumerate(rivals(bench, plan, store, say))]
    plain, why_plain = _best(plains, plan.want)
    beside = _rows([*confirmed, *plains], plan.want)

    points = [best.point, plan.base, plain.point]
    looked = measure_all(bench, points, plan, store, "test", plan.test_seed, say)
    stages = [_by_point(stage) for stage in (found, [*confirmed, *plains], looked)]
    return Conclusion(
        plan=plan.to_json(),
        want=str(plan.want),
        objectives=[asdict(one) for one in plan.want.objectives],
        constraints=[asdict(one) for one in plan.want.constraints],
        dials={name: asdict(DIALS[name]) for name in plan.dials},
        trials=rows,
        confirmed=beside[: len(confirmed)],
        rivals=beside[len(confirmed) :],
        against_plain=_against_plain(confirmed, plains, plan.want),
        knee=_knee(confirmed, plan.want),
        recommended=_choice(best.point, why + _but(best, plains, plan.want), stages),
        default=_choice(points[1], "the run's own settings", stages),
        plain=_choice(plain.point, f"of plain sampling, {why_plain}", stages),
        gains=_gains(looked, plan.want),
        looks=_looks(store) + 1,
        seconds=sum(one.seconds for stage in stages for one in stage.values()),
    )


def _complete(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state == "complete"]


def _values(trials: Sequence[Trial], want: Want) -> list[Values]:
    return [{name: trial.scores[name].value for name in want.scores} for trial in trials]


def _rows(trials: Sequence[Trial], want: Want) -> list[Row]:
    complete = _complete(trials)
    shares = front_shares([trial.scores for trial in complete], want.objectives, want.constraints)
    able = _able(complete, want)
    on_front = [able[i] for i in front(_values(able, want), want.objectives)]
    rows = []
    for trial in trials:
        share = next((share for one, share in zip(complete, shares, strict=True) if one is trial), 0.0)
        on = any(one is trial for one in on_front)
        kept = (trial.number, dict(trial.point), trial.state, trial.reason, trial.samples, trial.seconds)
        rows.append(Row(*kept, scores_of(trial.scores), on, share))
    return rows


def _able(complete: Sequence[Trial], want: Want) -> list[Trial]:
    """Those that meet the constraints; all of them where none does."""
    met = eligible(_values(complete, want), want.constraints)
    return [trial for trial, able in zip(complete, met, strict=True) if able]


def _likely(found: Sequence[Trial], rows: Sequence[Row], most: int) -> list[Trial]:
    """The points that are on the front in most resamples."""
    ranked = sorted(zip(found, rows, strict=True), key=lambda pair: -pair[1].front_share)
    return [trial for trial, row in ranked if row.on_front or row.front_share >= LIKELY][:most]


def _best(trials: Sequence[Trial], want: Want) -> tuple[Trial, str]:
    complete = _complete(trials)
    if not complete:
        raise ValueError(f"none of {len(trials)} points could be measured again; the last one: {trials[-1].reason}")
    pick = recommended([trial.scores for trial in complete], want)
    return complete[pick.index], pick.why


def _knee(confirmed: Sequence[Trial], want: Want) -> int:
    able = _able(_complete(confirmed), want)
    return able[knee(_values(able, want), want.objectives)].number


def _but(best: Trial, plains: Sequence[Trial], want: Want) -> str:
    """What is to be said against a point that is no better than plain sampling."""
    for plain in _complete(plains):
        if want.meets(plain.scores) and not want.meets(best.scores):
            return f"; but plain sampling meets all that was asked: {words(plain.point)}"
        alike = want.meets(plain.scores) == want.meets(best.scores)
        if alike and front(_values([plain, best], want), want.objectives) == [0]:
            return f"; but plain sampling is no worse in any objective, and better in one: {words(plain.point)}"
    return ""


def _against_plain(confirmed: Sequence[Trial], plains: Sequence[Trial], want: Want) -> AgainstPlain:
    able = _able(_complete([*confirmed, *plains]), want)
    rivals = [one for one in plains if one in able]
    steered = [one for one in confirmed if one in able and not is_plain(one.point)]
    objectives = want.objectives[:2]
    edge = [rivals[i] for i in front(_values(rivals, want), objectives)] if rivals else []
    edge.sort(key=lambda one: _good(one, objectives[0]))
    apart: dict[int, tuple[tuple[int, int], Difference]] = {}
    for mine in steered:
        if (beside := _beside(mine, edge, objectives)) is not None:
            over, scores = beside
            apart[mine.number] = over, objectives[-1].difference(mine.scores, scores)
    adjusted = holm({number: one.p for number, (_, one) in apart.items()})
    tested = [
        Beyond(number, over, objectives[-1].score, *map(finite, (d.value, d.low, d.high, d.p, adjusted[number])))
        for number, (over, d) in apart.items()
    ]
    sure = [one.number for one in tested if (one.value or 0) > 0 and adjusted[one.number] < SURE]
    return AgainstPlain(tested, sorted(sure), sorted(one.number for one in steered if one.number not in apart))


def _good(trial: Trial, objective: Objective) -> float:
    """The value of an objective, the higher the better."""
    return float(objective.good(np.array([trial.scores[objective.score].value]))[0])


def _beside(
    mine: Trial, edge: Sequence[Trial], objectives: Sequence[Objective]
) -> tuple[tuple[int, int], dict[str, Estimate]] | None:
    """Plain sampling that is as good in the first of two objectives: between two neighbours on its front.

    A point that is better in it than all of them is held against the best of them, which asks no more than it should.
    """
    if not edge:
        return None
    first, second = objectives[0], objectives[-1]
    at, best = _good(mine, first), edge[-1]
    if len(objectives) == 1 or at > _good(best, first):
        return (best.number, best.number), dict(best.scores)
    for one, other in pairwise(edge):
        low, high = _good(one, first), _good(other, first)
        if low <= at <= high and low < high:
            scores = between(one.scores[second.score], other.scores[second.score], (at - low) / (high - low))
            return (one.number, other.number), {second.score: scores}
    return None


def _by_point(trials: Sequence[Trial]) -> dict[str, Trial]:
    return {digest(dict(trial.point)): trial for trial in trials}


def _choice(point: Point, why: str, stages: Sequence[Mapping[str, Trial]]) -> Choice:
    search, validation, test = (stage.get(digest(dict(point))) for stage in stages)
    rows = [scores_of(one.scores) if one and one.state == "complete" else None for one in (search, validation, test)]
    return Choice(dict(point), search.number if search else None, why, *rows)


def _gains(looked: Sequence[Trial], want: Want) -> list[Gain]:
    """Of the first over the second, the run's own settings, and over the third, plain sampling."""
    ways = {one.score: one.at_least for one in want.constraints} | {one.score: one.maximise for one in want.objectives}
    mine, others = looked[0], dict(zip(("default", "plain"), looked[1:], strict=True))
    apart = {
        (over, name): Objective(name, maximise).difference(mine.scores, other.scores)
        for over, other in others.items()
        for name, maximise in ways.items()
        if mine.state == other.state == "complete" and mine.point != other.point
    }
    adjusted = holm({pair: one.p for pair, one in apart.items()})
    return [
        Gain(*pair, *map(finite, (one.value, one.low, one.high, one.p, adjusted[pair]))) for pair, one in apart.items()
    ]


def _looks(store: Path) -> int:
    file = store / "tune.json"
    return int(read_json(file)["looks"]) if file.is_file() else 0
