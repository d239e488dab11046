"""The next point of a search, from what was found so far: multi-objective TPE with constraints.

Bergstra et al. 2011; several objectives: Ozaki et al. 2022, doi 10.1613/jair.1.13188, as Optuna has it.
"""

from collections.abc import Sequence

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from steer.pareto import Want
from steer.tune.dials import DIALS, Point, canonical, digest, spread
from steer.tune.history import violations
from steer.tune.plan import Plan, Trial

TRIES = 20  # suggestions that may be repeats before any new point will do
UNUSABLE = 1e6  # by how much a point that gives nothing to measure counts as missing its constraints


def suggested(plan: Plan, finished: Sequence[Trial], running: Sequence[Point]) -> Point | None:
    """A point that is neither finished nor running; None where every point is.

    It depends on the plan, and on what is finished and running, and on nothing that a process remembers: so a search
    that was killed goes on as if it had not been.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    taken = {digest(dict(point)) for point in [*(trial.point for trial in finished), *running]}
    seed = int(np.random.SeedSequence([plan.seed, len(finished)]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=0, multivariate=True)
    study = optuna.create_study(directions=["maximize"] * len(plan.want.objectives), sampler=sampler)
    ranges = {name: DIALS[name] for name in plan.dials}
    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(dial.low, dial.high, step=dial.step) for name, dial in ranges.items()
    }

    def known(point: Point, trial: Trial | None) -> FrozenTrial:
        params = {name: dial.rounded(point[name]) for name, dial in ranges.items()}
        return _known(params, distributions, trial, plan.want)

    study.add_trials([known(trial.point, trial) for trial in finished])
    study.add_trials([known(point, None) for point in running])
    for _ in range(TRIES):
        point = _point(study.ask(distributions).params, plan)
        if digest(point) not in taken:
            return point
    return _any_other(plan, taken, seed)


def _known(
    params: dict[str, float], distributions: dict[str, BaseDistribution], trial: Trial | None, want: Want
) -> FrozenTrial:
    """What TPE is told: values to be maximised, and of points that were stopped or have failed that they are worse."""
    if trial is None:
        return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
    if trial.state == "failed":
        missed = {"usable": UNUSABLE}
        return create_trial(state=TrialState.PRUNED, params=params, distributions=distributions, constraints=missed)
    scores = {name: one.value for name, one in trial.scores.items()}
    missed = violations(scores, want)
    if trial.state == "stopped":
        return create_trial(state=TrialState.PRUNED, params=params, distributions=distributions, constraints=missed)
    values = [float(one.good(np.array(scores[one.score]))) for one in want.objectives]
    return create_trial(params=params, distributions=distributions, values=values, constraints=missed)


def _point(params: Point, plan: Plan) -> dict[str, float]:
    rounded = {name: DIALS[name].rounded(value) for name, value in params.items()}
    return canonical({**plan.base, **rounded}, plan.base)


def _any_other(plan: Plan, taken: set[str], seed: int) -> Point | None:
    """The first of evenly spread points that is new."""
    combinations = int(np.prod([DIALS[name].count for name in plan.dials]))
    points = spread(plan.dials, min(16 * combinations, 4096), seed)
    return next((point for row in points if digest(point := _point(row, plan)) not in taken), None)
