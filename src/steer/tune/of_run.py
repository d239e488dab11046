"""A run's search: its own settings are where it starts, its checkpoint is behind every point.

tune.json       the search and its conclusion (`steer.tune.conclusion`)
figures.json    scores over γ and η for each form of STEER, and over one dial at a time (the paper's figures 3 and 4)
grid.json       scores over axes of the user's own
examples.json   some texts of every point
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from steer.config import UsageError, changed
from steer.evaluate.catalogue import NAMES, chosen
from steer.evaluate.score import strict
from steer.guidance import domain
from steer.pareto import Objective, Want
from steer.records import write_json, write_jsonl
from steer.run import Run
from steer.trials import Drawn, Trials
from steer.tune.conclusion import conclude, concluded
from steer.tune.dials import ALWAYS, DIALS, ETA, GAMMA, Point, check, digest, is_plain
from steer.tune.plan import WANT, Plan, Trial
from steer.tune.search import grid, search, sweep

FORMS = ("steer", "steer_authors", "steer_printed")
# The paper's dials go from 0 to 1; beyond, to see where it ends. Its figures are made of 50 texts a point.
GAMMAS, ETAS, COUNTS = (0.0, 0.2, 0.4, 0.8, 1.2), (0.0, 0.2, 0.4, 0.8, 1.2), (1.0, 3.0, 5.0, 10.0, 20.0)
PAPER_SAMPLES, PAPER_DIALS = 50, 0.4
SHOWN = ("unique_ngram_ratio", "ngram_diversity", "adversarial_auroc", "coverage", "calibrated_authenticity")
FIGURES = Want((Objective("ngram_diversity", True),))  # what a cell of a figure has to have
EXAMPLES = 6
# What plain sampling is without, whether or not it is a dial of the search.
PLAINLY = {"guidance.formula": "domain", "guidance.alpha": 0.0, "guidance.strength": 1.0}
PLAINLY |= {"sampling.top_k": 0, "sampling.min_p": 0.0, "ranking.by": "none"}


class _Trials(Trials):
    """Trials in which plain sampling is plain, whatever else the run's own settings switch on.

    Of a form that was given γ 0 and η 0 are a point like any other: as printed, the negatives attract most there.
    """

    def draw(self, changes: Mapping[str, Any], samples: int, seed: int, name: str = "") -> Drawn:
        plainly = PLAINLY if is_plain(changes) and not self.base else {}
        return super().draw({**plainly, **changes}, samples, seed, name)


@dataclass(frozen=True)
class Tuning:
    """What a run's searches have in common.

    Raises UsageError where γ 0 and η 0 are not plain sampling, ImportError without optuna.
    """

    run: Run
    store: Path
    want: Want = WANT
    seed: int = 0

    def __post_init__(self) -> None:
        if self.run.settings.sampling.deterministic:
            raise UsageError(
                "the run's decoder draws nothing, so there is no temperature to tune: tune one that samples"
            )
        if find_spec("optuna") is None:
            raise ImportError("steer tune needs: pip install 'steer-text[tune]'")
        plain = changed(self.run.settings, {GAMMA: 0.0, ETA: 0.0, "guidance.alpha": 0.0, "guidance.strength": 1.0})
        if plain.guidance.resolve() != 1.0 * domain:
            raise UsageError(
                f"the run's formula {plain.guidance.formula} is not plain sampling where gamma and eta are 0: "
                "tune a run of guidance.formula='steer(gamma, eta)'"
            )

    def plan(self, form: str = "", **options: Any) -> Plan:
        """With the run's own settings as the defaults of all dials. form: of STEER, where it is not the run's own."""
        named = {*ALWAYS, *options.get("dials", ())}
        about = f"{self.about(named)} {form}".strip()
        options = {"want": self.want, "seed": self.seed, "about": about, **options}
        return Plan(defaults={name: self._own(name) for name in DIALS if name in named}, **options)

    def conclude(self, plan: Plan) -> dict[str, Any]:
        """Search, conclude, write tune.json; what was concluded from the same plan stands as it is."""
        bench = self.bench(plan.want.scores)
        if (known := concluded(plan, self.store)) is None:
            search(bench, plan, self.store)
            known = conclude(bench, plan, self.store)
        # Every time: it may have been killed before them, and those that stand there may be of another search.
        for name, seed, rows in (("search", plan.seed, known.trials), ("rivals", plan.fresh_seed, known.rivals)):
            self._examples(bench, name, [(row.point, row.samples) for row in rows if row.state != "failed"], seed)
        return known.to_json()

    def figures(self, samples: int = PAPER_SAMPLES) -> dict[str, Any]:
        """A grid of γ and η for each form of STEER, and γ, η and the number of negatives one at a time."""
        axes = {GAMMA: GAMMAS, ETA: ETAS}
        made: dict[str, Any] = {"samples": samples, "forms": {}, "sweeps": {}}
        for form in FORMS:
            bench = self.bench(SHOWN, {"guidance.formula": f"{form}(gamma, eta)"})
            plan = self.plan(want=FIGURES, samples=samples, first=0, form=form)
            made["forms"][form] = self._cells(bench, form, grid(bench, axes, plan, self.store).values(), samples)
        bench = self.bench(SHOWN)
        for dial, values, fixed in (
            (GAMMA, GAMMAS, {ETA: 0.0}),
            (ETA, ETAS, {GAMMA: 0.0}),
            ("negatives.count", COUNTS, {GAMMA: PAPER_DIALS, ETA: PAPER_DIALS}),
        ):
            plan = self.plan(want=FIGURES, samples=samples, first=0, dials=(*ALWAYS, dial))
            plan = replace(plan, defaults={**plan.defaults, **fixed})
            swept = sweep(bench, {dial: values}, plan, self.store)[dial]
            made["sweeps"][dial] = self._cells(bench, dial, swept.values(), samples)
        write_json(self.store / "figures.json", made)
        return made

    def grid(self, axes: Mapping[str, Sequence[float]], samples: int) -> dict[str, Any]:
        """Every combination of the axes' values."""
        check(axes)
        bench = self.bench((*SHOWN, *self.want.scores))
        plan = self.plan(want=FIGURES, samples=samples, first=0, dials=(*ALWAYS, *axes))
        cells = self._cells(bench, "grid", grid(bench, axes, plan, self.store).values(), samples)
        made = {"samples": samples, "axes": {name: list(values) for name, values in axes.items()}, "cells": cells}
        write_json(self.store / "grid.json", made)
        return made

    def _cells(self, bench: Trials, name: str, trials: Iterable[Trial], samples: int) -> list[dict[str, Any]]:
        rows = [_told(trial) for trial in trials]
        self._examples(bench, name, [(row["point"], samples) for row in rows if row["state"] == "complete"], self.seed)
        return rows

    def bench(self, scores: Sequence[str], base: Mapping[str, Any] | None = None) -> Trials:
        measured = chosen([name for name in dict.fromkeys(scores) if name in NAMES])
        return _Trials(self.run, self.store / "drawn", tuple(measured), base or {})

    def about(self, dials: Iterable[str]) -> str:
        """Everything that decides the scores beside these dials."""
        bench, neutral = self.bench(()), {name: DIALS[name].default for name in {*ALWAYS, *dials}}
        evaluation = self.run.settings.evaluate.model_dump(mode="json")
        return digest([bench.key(changed(self.run.settings, neutral)), evaluation])

    def _own(self, name: str) -> float:
        section, _, key = name.partition(".")
        settings = self.run.settings
        return settings.guidance.start if name == ETA else float(getattr(getattr(settings, section), key))

    def _examples(self, bench: Trials, name: str, points: Iterable[tuple[Point, int]], seed: int) -> None:
        """The texts of every point, which have been drawn already, each in a file, and some of them for the page."""
        rows = []
        for i, (point, samples) in enumerate(points):
            records, file = bench.draw(point, samples, seed).records, f"texts/{name}-{i:02}.jsonl"
            write_jsonl(self.store / file, [{"id": record.id, **record.fields} for record in records])
            texts = [record.text for record in records[:EXAMPLES]]
            rows.append({"point": dict(point), "file": file, "texts": texts})
        write_json(self.store / "examples" / f"{name}.json", rows)


def _told(trial: Trial) -> dict[str, Any]:
    scores = {name: {"value": one.value, "low": one.low, "high": one.high} for name, one in trial.scores.items()}
    told: dict[str, Any] = strict(
        {"point": dict(trial.point), "state": trial.state, "reason": trial.reason, "scores": scores}
    )
    return told


def parse_budget(text: str) -> float:
    """ "30m", "2h", "90s" or seconds -> seconds. Raises UsageError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip())
    if found is None or not float(found[1]):
        raise UsageError(f"--budget {text!r}: expected a time, as in 30m, 2h or 90s")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def parse_axes(given: Sequence[str]) -> dict[str, list[float]]:
    """["gamma=0,0.5,1", ...] -> dial -> values. Raises UsageError."""
    axes = {}
    for one in given:
        name, equals, values = one.partition("=")
        try:
            axes[dial(name)] = [float(value) for value in values.split(",")]
        except ValueError as error:
            why = f" ({error})" if equals and "float" not in str(error) else ""
            raise UsageError(f"--grid {one!r}: expected DIAL=VALUE,VALUE,... as in gamma=0,0.5,1{why}") from None
    return axes


def dial(name: str) -> str:
    """A dial by its name, with or without its section. Raises ValueError."""
    long = next((known for known in DIALS if known.rpartition(".")[2] == name), name)
    check([long])
    return long
