"""Is there a STEER point that no plain sampling dominates? Chosen on validation, tested on test, five seeds.

    python benchmarks/pareto.py RUN [RUN ...] --trials 30 --samples 200 --seeds 5

For each run: a search over γ, η, top-p and temperature on the validation split (`steer tune`), confirmed on fresh
samples. Then the steered points of the confirmed front (at most --points) and plain sampling over temperature at top-p
.9 and 1 are drawn anew and measured against the test split, with each of the seeds. Prints means over seeds with 95%
t-intervals, and for every steered point the plain points that dominate it in (diversity, fidelity): better in both
means; "surely": both intervals of the paired differences say so. Authenticity is held: a point counts where its
calibrated authenticity is no more than 0.05 below that of plain nucleus sampling at temperature 1.

Writes benchmarks/results/pareto-NAME.json. The search never sees the test split.
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
from steer.tune import Plan, Point, is_plain
from steer.tune.of_run import Tuning
from steer.tune.search import measure_all

DIVERSITY, FIDELITY, AUTHENTIC = "ngram_diversity", "adversarial_auroc", "calibrated_authenticity"
HELD = 0.05
TEMPERATURES, TOP_PS = (0.8, 1.0, 1.2), (0.9, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    for folder in args.runs:
        found = study(Run.open(folder), args.trials, args.samples, args.seeds, args.points)
        show(folder.name, found)
        args.results.mkdir(parents=True, exist_ok=True)
        path = args.results / f"pareto-{folder.name}.json"
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: {path}", flush=True)


def study(run: Run, trials: int, samples: int, seeds: int, most: int) -> dict[str, Any]:
    tuning = Tuning(run, run.folder / "tune")
    plan = tuning.plan(trials=trials, samples=samples, temperatures=TEMPERATURES, top_ps=TOP_PS)
    found = tuning.conclude(plan)
    front = [row for row in found["confirmed"] if row["on_front"] or row["front_share"] >= 0.2]
    front.sort(key=lambda row: -row["front_share"])
    steered = [row["point"] for row in front if not is_plain(row["point"])][:most]
    plain = plan.plain_points
    measured = [test(tuning, plan, [*steered, *plain], 1000 + seed) for seed in range(seeds)]
    rows = [
        {"point": dict(point), "plain": i >= len(steered), "scores": over_seeds([one[i] for one in measured])}
        for i, point in enumerate([*steered, *plain])
    ]
    nucleus = next(row for row in rows if row["plain"] and row["point"]["sampling.temperature"] == 1)
    for row in rows:
        row["authentic"] = row["scores"][AUTHENTIC][0] >= nucleus["scores"][AUTHENTIC][0] - HELD
    rivals = [i for i, row in enumerate(rows) if row["plain"] and row["authentic"]]
    for i, row in enumerate(rows[: len(steered)]):
        row["dominated_by"] = dominating(measured, i, rivals)
    return {
        "run": {"model": run.settings.model, "data": Path(run.settings.task.data).name, "weights": run.weight_hashes()},
        "plan": {"trials": trials, "samples": samples, "seeds": seeds},
        "recommended": found["recommended"],
        "against_plain": found["against_plain"],
        "rows": rows,
    }


def test(tuning: Tuning, plan: Plan, points: Sequence[Point], seed: int) -> list[Mapping[str, Estimate]]:
    """The scores of the points against the test split, drawn with this seed."""
    bench = tuning.bench(plan.want.scores)
    say(f"test, seed {seed}")
    return [trial.scores for trial in measure_all(bench, points, plan, tuning.store, "test", seed)]


def over_seeds(scores: Sequence[Mapping[str, Estimate]]) -> dict[str, list[float | None]]:
    """Score -> mean over seeds, and the ends of its 95% t-interval; nothing where a seed has no value."""
    return {name: interval([one[name].value for one in scores]) for name in scores[0]}


def interval(values: Sequence[float]) -> list[float | None]:
    mean = float(np.mean(values))
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else float("nan")
    return [round(x, 4) if np.isfinite(x) else None for x in (mean, mean - half, mean + half)]


def dominating(measured: Sequence[Sequence[Mapping[str, Estimate]]], mine: int, others: range) -> list[dict[str, Any]]:
    """Those of the others that are better than mine in both objectives, by the means over seeds."""
    found = []
    for other in others:
        better = np.array([gains(one[other], one[mine]) for one in measured])  # (seeds, 2), both the more the better
        if (better.mean(0) > 0).all():
            ends = [interval(column) for column in better.T]
            surely = all(low is not None and low > 0 for _, low, _ in ends)
            found.append({"row": other, "diversity": ends[0], "fidelity": ends[1], "surely": surely})
    return found


def gains(one: Mapping[str, Estimate], other: Mapping[str, Estimate]) -> tuple[float, float]:
    """By how much one is more diverse and more faithful than the other; below a coin toss no AUROC is better."""
    toss = [max(0.5, scores[FIDELITY].value) for scores in (one, other)]
    return one[DIVERSITY].value - other[DIVERSITY].value, toss[1] - toss[0]


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
            by = ", ".join(f"{one['row']}{' surely' if one['surely'] else ''}" for one in row["dominated_by"])
            held = "" if row["authentic"] else ", but its authenticity is not held"
            print(f"STEER point {i}: {'dominated by ' + by if by else 'no plain point dominates it'}{held}")


if __name__ == "__main__":
    main()
