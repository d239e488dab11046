"""Is there a STEER point beyond plain sampling? Chosen on validation, tested on test, five seeds.

    python benchmarks/pareto.py RUN [RUN ...] --trials 24 --samples 200 --seeds 5

For each run: a search over γ, η, top-p and temperature on the validation split (`steer tune`), confirmed on fresh
samples beside plain sampling over temperature and top-p. The steered points that gain most over plain sampling (at most
--points) and the front of plain sampling, all chosen on validation, are then drawn anew with each of the seeds and
measured against the test split. A point that no plain one dominates may only lie between two of them on their own
curve: so for each seed plain sampling is interpolated at the steered point's diversity, and what is told is by how much
the steered point's AUROC is lower, as the mean over seeds with its 95% t-interval. Authenticity is held where it is, in
the mean, no more than 0.05 below that of plain nucleus sampling at temperature 1.

With --at the points are given, and the search is left out; --part validation measures them there, so that defaults can
be chosen over several tasks without a look at the test split:

    python benchmarks/pareto.py RUN RUN RUN --at 0,0.8,0.95,1 --at 0.1,0.8,1,0.9 --part validation

Writes benchmarks/results/pareto-NAME.json (points-NAME.json with --at). The search never sees the test split.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from steer.evaluate.intervals import Estimate
from steer.progress import say
from steer.run import Run
from steer.tune import Part, Plan, Point, Trial, is_plain, rivals
from steer.tune.dials import ALWAYS
from steer.tune.of_run import Tuning
from steer.tune.search import measure_all

DIVERSITY, FIDELITY, AUTHENTIC = "ngram_diversity", "adversarial_auroc", "calibrated_authenticity"
HELD = 0.05
Both = tuple[float, float]  # diversity, fidelity
TEMPERATURES, TOP_PS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.4), (0.9, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--at", action="append", default=[], metavar="γ,η,TOP_P,T", help="a steered point")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    given = [dict(zip(ALWAYS, map(float, one.split(",")), strict=True)) for one in args.at]
    for folder in args.runs:
        found = study(Run.open(folder), args.trials, args.samples, args.seeds, args.points, given, args.part)
        show(folder.name, found)
        args.results.mkdir(parents=True, exist_ok=True)
        path = args.results / f"{'points' if given else 'pareto'}-{folder.name}.json"
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: {path}", flush=True)


def study(
    run: Run, trials: int, samples: int, seeds: int, most: int, given: Sequence[Point], part: Part
) -> dict[str, Any]:
    tuning = Tuning(run, run.folder / "tune")
    plan = tuning.plan(trials=trials, samples=samples, temperatures=TEMPERATURES, top_ps=TOP_PS)
    told: dict[str, Any] = {"part": part, "samples": samples, "seeds": seeds}
    front = edge(rivals(tuning.bench(plan.want.scores), plan, tuning.store))
    steered = list(given)
    if not given:
        found = tuning.conclude(plan)
        steered = best(found["confirmed"], list(front.values()))[:most]
        told |= {"trials": trials, "recommended": found["recommended"], "against_plain": found["against_plain"]}
    plains = [json.loads(point) for point in front]
    nucleus = plan.plain_points[TEMPERATURES.index(1.0)]
    points = [*steered, *plains, *([] if nucleus in plains else [nucleus])]
    measured = [scores(tuning, plan, points, part, 1000 + seed) for seed in range(seeds)]
    rows = [
        {"point": dict(point), "plain": is_plain(point), "scores": over_seeds([one[i] for one in measured])}
        for i, point in enumerate(points)
    ]
    least = rows[points.index(nucleus)]["scores"][AUTHENTIC][0] - HELD
    rival = range(len(steered), len(steered) + len(plains))
    for i, row in enumerate(rows):
        row["authentic"] = row["scores"][AUTHENTIC][0] >= least
        if not row["plain"]:
            gains = [gain(both(one[i]), [both(one[j]) for j in rival]) for one in measured]
            row["gain"] = None if None in gains else interval(gains)
    facts = {"model": run.settings.model, "data": Path(run.settings.task.data).name, "weights": run.weight_hashes()}
    return {"run": facts, **told, "rows": rows}


def best(confirmed: Sequence[Mapping[str, Any]], front: Sequence[Both]) -> list[Point]:
    """The steered points, those first that gain most over plain sampling."""
    gains = []
    for row in confirmed:
        if row["scores"] and not is_plain(row["point"]):
            found = gain(both({name: score["value"] for name, score in row["scores"].items()}), front)
            gains.append((-np.inf if found is None else found, row["point"]))
    return [point for _, point in sorted(gains, key=lambda one: -one[0])]


def edge(plain: Sequence[Trial]) -> dict[str, Both]:
    """The points of plain sampling that no other dominates, whatever their authenticity, as JSON."""
    found = {json.dumps(dict(trial.point)): both(trial.scores) for trial in plain if trial.state == "complete"}
    pairs = set(found.values())
    return {
        point: (x, y)
        for point, (x, y) in found.items()
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in pairs)
    }


def both(scores: Mapping[str, Any]) -> Both:
    """Diversity and fidelity, both the more the better; below a coin toss no AUROC is better."""
    diversity, auroc = (getattr(scores[name], "value", scores[name]) for name in (DIVERSITY, FIDELITY))
    return diversity, 1 - max(0.5, auroc)


def gain(mine: Both, front: Sequence[Both]) -> float | None:
    """By how much mine is more faithful than plain sampling of the same diversity; None where none is as diverse, or
    as little."""
    x, y = zip(*sorted(front), strict=True)
    if not x[0] <= mine[0]:
        return None
    return mine[1] - float(np.interp(mine[0], x, y))


def scores(tuning: Tuning, plan: Plan, points: Sequence[Point], part: Part, seed: int) -> list[Mapping[str, Estimate]]:
    """The scores of the points against a split, drawn with this seed."""
    bench = tuning.bench(plan.want.scores)
    say(f"{part}, seed {seed}")
    return [trial.scores for trial in measure_all(bench, points, plan, tuning.store, part, seed)]


def over_seeds(measured: Sequence[Mapping[str, Estimate]]) -> dict[str, list[float | None]]:
    """Score -> mean over seeds, and the ends of its 95% t-interval; nothing where a seed has no value."""
    return {name: interval([one[name].value for one in measured]) for name in measured[0]}


def interval(values: Sequence[float]) -> list[float | None]:
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("nan")
    return [round(x, 4) if np.isfinite(x) else None for x in (mean, mean - half, mean + half)]


def show(name: str, found: Mapping[str, Any]) -> None:
    print(f"\n{name}")
    for i, row in enumerate(found["rows"]):
        point = ", ".join(f"{key.rpartition('.')[2]} {value:g}" for key, value in row["point"].items())
        cells = "  ".join(
            f"{score} {value[0]:.3f} [{value[1]:.3f}, {value[2]:.3f}]"
            for score, value in row["scores"].items()
            if None not in value
        )
        print(f"{i:3} {'plain' if row['plain'] else 'STEER'} {point:60} {cells}")
    for i, row in enumerate(found["rows"]):
        if not row["plain"]:
            held = "" if row["authentic"] else "; its authenticity is not held"
            if row["gain"] is None:
                print(f"STEER point {i}: less diverse than all of the plain front{held}")
            else:
                mean, low, high = row["gain"]
                print(f"STEER point {i}: fidelity {mean:+.3f} [{low:+.3f}, {high:+.3f}] over plain sampling{held}")


if __name__ == "__main__":
    main()
