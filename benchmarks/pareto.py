"""Is there a STEER point beyond plain sampling? Chosen on validation, tested on test, five seeds.

    python benchmarks/pareto.py RUN [RUN ...] --trials 40 --samples 200 --seeds 5 --points 3

For each run: a search over γ, η, top-p and temperature on the validation split (`steer tune`), confirmed on fresh
samples beside plain sampling over temperature and top-p. The steered points that gain most over plain sampling (at most
--points) and the front of plain sampling, all chosen on validation, are then drawn anew with each of the seeds and
measured against the test split. A point that no plain one dominates may only lie between two of them on their own
curve: so for each seed plain sampling is interpolated at the steered point's diversity, and what is told is by how much
the steered point's AUROC is lower, as the mean over seeds with its 95% t-interval. Authenticity is held where it is, in
the mean, no more than 0.05 below the best of plain sampling. The same is told against nucleus sampling (.9) alone.

With --at the points are given, and the search is left out; --part validation measures them there, so that defaults can
be chosen over several tasks without a look at the test split:

    python benchmarks/pareto.py RUN RUN RUN --at 0,0.8,0.95,1 --at 0.1,0.8,1,0.9 --part validation

Writes benchmarks/results/pareto-NAME.json (points-NAME.json with --at). The search never sees the test split.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from steer.evaluate.intervals import Estimate
from steer.pareto import Objective
from steer.progress import say
from steer.run import Run
from steer.tune import WANT, Part, Plan, Point, Trial, is_plain, rivals
from steer.tune.dials import ALWAYS, TOP_P
from steer.tune.of_run import Tuning
from steer.tune.search import measure_all

FIDELITY, AUTHENTIC = "adversarial_auroc", "calibrated_authenticity"
HELD = 0.05
NUCLEUS = 0.9
Scores = Mapping[str, Estimate]
Both = tuple[float, float]  # diversity, fidelity: both the more the better
TEMPERATURES, TOP_PS = (0.8, 0.9, 1.0, 1.1, 1.2, 1.4), (0.9, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--points", type=int, default=4)
    parser.add_argument("--diversity", default="ngram_diversity", help="the score (vendi: whatever the texts' length)")
    parser.add_argument("--at", action="append", default=[], metavar="γ,η,TOP_P,T", help="a steered point")
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    args = parser.parse_args()
    given = [dict(zip(ALWAYS, map(float, one.split(",")), strict=True)) for one in args.at]
    for folder in args.runs:
        study = Study(Run.open(folder), args.trials, args.samples, args.seeds, args.part, args.diversity)
        found = study.of(given) if given else study.searched(args.points)
        show(folder.name, found)
        args.results.mkdir(parents=True, exist_ok=True)
        path = args.results / f"{'points' if given else 'pareto'}-{folder.name}.json"
        path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"written: {path}", flush=True)


@dataclass(frozen=True)
class Study:
    """One task: its run, and how it is asked."""

    run: Run
    trials: int
    samples: int
    seeds: int
    part: Part
    diversity: str

    @cached_property
    def tuning(self) -> Tuning:
        want = replace(WANT, objectives=(Objective(self.diversity, True), Objective(FIDELITY, False)))
        return Tuning(self.run, self.run.folder / "tune", want)

    @cached_property
    def plan(self) -> Plan:
        return self.tuning.plan(trials=self.trials, samples=self.samples, temperatures=TEMPERATURES, top_ps=TOP_PS)

    @cached_property
    def plain(self) -> list[Trial]:
        """Plain sampling on validation, where it could be measured."""
        found = rivals(self.tuning.bench(self.plan.want.scores), self.plan, self.tuning.store)
        return [trial for trial in found if trial.state == "complete"]

    def searched(self, most: int) -> dict[str, Any]:
        """Of the search: the steered points that gain most over plain sampling on validation."""
        found = self.tuning.conclude(self.plan)
        front = [self.both(trial.scores) for trial in self.plain]
        gains = []
        for row in found["confirmed"]:
            if row["scores"] and not is_plain(row["point"]):
                mine = self.both({name: score["value"] for name, score in row["scores"].items()})
                gains.append((gain(mine, front), row["point"]))
        best = sorted((one for one in gains if one[0] is not None), key=lambda one: -(one[0] or 0))
        told = {key: found[key] for key in ("recommended", "against_plain")}
        return {"trials": self.trials, **told, **self.of([point for _, point in best][:most])}

    def of(self, steered: Sequence[Point]) -> dict[str, Any]:
        """These points beside plain sampling, over the seeds."""
        fronts = {
            "plain sampling": edge([(trial.point, self.both(trial.scores)) for trial in self.plain]),
            "nucleus .9": edge([(t.point, self.both(t.scores)) for t in self.plain if t.point[TOP_P] == NUCLEUS]),
        }
        points = [*steered]
        points += [p for p in self.plan.plain_points if any(p in front for front in fronts.values())]
        measured = [self.scores(points, 1000 + seed) for seed in range(self.seeds)]
        rows = [
            {"point": dict(point), "plain": is_plain(point), "scores": over_seeds([one[i] for one in measured])}
            for i, point in enumerate(points)
        ]
        least = max(row["scores"][AUTHENTIC][0] for row in rows if row["plain"]) - HELD
        for i, row in enumerate(rows):
            row["authentic"] = row["scores"].get(AUTHENTIC, [0.0])[0] >= least
            if not row["plain"]:
                row["gains"] = {
                    name: self.gains(
                        [one[i] for one in measured], [[one[points.index(p)] for p in front] for one in measured]
                    )
                    for name, front in fronts.items()
                }
        settings = self.run.settings
        facts = {"model": settings.model, "data": Path(settings.task.data).name, "weights": self.run.weight_hashes()}
        asked = {"part": self.part, "samples": self.samples, "seeds": self.seeds, "diversity": self.diversity}
        return {"run": facts, **asked, "rows": rows}

    def gains(self, mine: Sequence[Scores], fronts: Sequence[Sequence[Scores]]) -> list[float | None] | None:
        """Over the seeds, each with its own front of plain sampling."""
        found = [
            gain(self.both(one), [self.both(rival) for rival in front if rival])
            for one, front in zip(mine, fronts, strict=True)
            if one
        ]
        values = [one for one in found if one is not None]
        return interval(values) if values and len(values) == len(mine) else None

    def scores(self, points: Sequence[Point], seed: int) -> list[Scores]:
        """Of each point against the split, drawn with this seed; none where it could not be measured."""
        say(f"{self.part}, seed {seed}")
        bench = self.tuning.bench(self.plan.want.scores)
        return [one.scores for one in measure_all(bench, points, self.plan, self.tuning.store, self.part, seed)]

    def both(self, scores: Mapping[str, Any]) -> Both:
        """Diversity and fidelity; below a coin toss no AUROC is better."""
        diversity, auroc = (getattr(scores[name], "value", scores[name]) for name in (self.diversity, FIDELITY))
        return diversity, 1 - max(0.5, auroc)


def edge(points: Sequence[tuple[Point, Both]]) -> list[Point]:
    """Those that no other dominates, whatever their authenticity."""
    pairs = [both for _, both in points]
    return [point for point, (x, y) in points if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in pairs)]


def gain(mine: Both, front: Sequence[Both]) -> float | None:
    """By how much mine is more faithful than plain sampling of the same diversity; None where none is as diverse, or
    as little."""
    x, y = zip(*sorted(front), strict=True)
    if not x[0] <= mine[0]:
        return None
    return mine[1] - float(np.interp(mine[0], x, y))


def over_seeds(measured: Sequence[Scores]) -> dict[str, list[float | None]]:
    """Score -> mean over seeds, and the ends of its 95% t-interval; left out where a seed has no value."""
    return {name: interval([one[name].value for one in measured]) for name in measured[0] if all(measured)}


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
        for rival, gained in row.get("gains", {}).items():
            held = "" if row["authentic"] else "; its authenticity is not held"
            if gained is None:
                print(f"STEER point {i}: not comparable with {rival}, which is more diverse everywhere{held}")
            else:
                mean, low, high = gained
                print(f"STEER point {i}: fidelity {mean:+.3f} [{low:+.3f}, {high:+.3f}] over {rival}{held}")


if __name__ == "__main__":
    main()
