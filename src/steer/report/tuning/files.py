"""What a search for dials left in its folder, read once: whatever of it lies there, with NaN for what is undefined."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

from steer.records import read_json
from steer.report.comparison.compared import Standing
from steer.report.kinds import kind
from steer.report.readings import ALARM, Reading

GAMMA, ETA, TOP_P, TEMPERATURE = "guidance.gamma", "guidance.eta", "sampling.top_p", "sampling.temperature"
# The values at which the dials of steering are switched off.
OFF = {GAMMA: 0.0, ETA: 0.0, "guidance.alpha": 0.0, "guidance.strength": 1.0}
FILES = ("tune.json", "figures.json", "grid.json")

Point = Mapping[str, float]
Scores = Mapping[str, Reading]
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A measured point. number: of the search's trial, and of rivals their place in the list.

    front_share: in which share of resamples it is on the front; NaN where there is none to be on.
    """

    number: int
    point: Point
    state: str = "complete"
    reason: str = ""
    samples: int = 0
    scores: Scores = field(default_factory=dict)
    on_front: bool = False
    front_share: float = nan

    @classmethod
    def of(cls, tree: Tree, number: int) -> "Row":
        return cls(
            _whole(tree.get("number"), number),
            _point(tree.get("point")),
            tree.get("state") or "complete",
            tree.get("reason") or "",
            _whole(tree.get("samples")),
            _scores(tree.get("scores")),
            bool(tree.get("on_front")),
            _number(tree.get("front_share")),
        )

    def score(self, name: str) -> Reading:
        return self.scores.get(name, Reading(reason="not measured"))


@dataclass(frozen=True)
class Goal:
    """An objective, or a constraint, which has a limit. higher: whether more is better."""

    score: str
    higher: bool
    limit: float = nan

    def __str__(self) -> str:
        if isnan(self.limit):
            return f"{'maximise' if self.higher else 'minimise'} {self.score}"
        return f"{self.score} {'>=' if self.higher else '<='} {self.limit:.12g}"

    def met(self, scores: Scores) -> Literal["surely", "by value", "no", "unknown"]:
        """Surely: by the pessimistic end of the interval."""
        reading = scores.get(self.score, Reading())
        if not reading.known:
            return "unknown"
        sign = 1 if self.higher else -1
        if sign * reading.value < sign * self.limit:
            return "no"
        end = reading.low if self.higher else reading.high
        return "surely" if sign * end >= sign * self.limit else "by value"


@dataclass(frozen=True)
class Choice:
    """A point that was chosen; its scores in the search, on fresh samples and on the test split, {} if not measured."""

    point: Point
    why: str = ""
    search: Scores = field(default_factory=dict)
    validation: Scores = field(default_factory=dict)
    test: Scores = field(default_factory=dict)

    @classmethod
    def of(cls, tree: Tree | None) -> "Choice":
        tree = tree or {}
        stages = (_scores(tree.get(stage)) for stage in ("search", "validation", "test"))
        return cls(_point(tree.get("point")), tree.get("why") or "", *stages)


@dataclass(frozen=True)
class Gain:
    """By how much a point is better than another; positive is better. adjusted: p, corrected."""

    value: float
    low: float
    high: float
    adjusted: float

    @property
    def standing(self) -> Standing:
        if isnan(self.value) or isnan(self.adjusted):
            return "unknown"
        return "alike" if self.adjusted >= ALARM or not self.value else "better" if self.value > 0 else "worse"


@dataclass(frozen=True)
class Tested:
    """By how much a steered point, by its trial's number, is better than plain sampling of the same first objective.

    over: the numbers of the two rivals between which plain sampling was interpolated. score: the second objective; of
    one alone it is that, and the rival the best plain point, twice.
    """

    number: int
    over: Sequence[int]
    score: str
    gain: Gain

    @classmethod
    def of(cls, tree: Tree) -> "Tested":
        return cls(_whole(tree.get("number")), list(tree.get("over") or []), tree.get("score") or "", _gain(tree))


@dataclass(frozen=True)
class Search:
    """tune.json. gains: by what they are over ("default", "plain") and the score.

    tested: steered points against the front of plain sampling, None where that was not written down. beyond: the
    numbers of those that are better by more than chance. outside: of those beside which no plain sampling stands.
    """

    want: str
    objectives: Sequence[Goal]
    constraints: Sequence[Goal]
    plan: Tree
    dials: Mapping[str, Tree]
    trials: Sequence[Row]
    confirmed: Sequence[Row]
    rivals: Sequence[Row]
    tested: Sequence[Tested] | None
    beyond: Sequence[int]
    outside: Sequence[int]
    knee: int | None
    recommended: Choice
    default: Choice
    plain: Choice
    gains: Mapping[tuple[str, str], Gain]
    looks: int
    seconds: float

    @classmethod
    def of(cls, tree: Tree) -> "Search":
        against = tree.get("against_plain") or {}
        tested = against.get("tested")
        return cls(
            want=tree.get("want") or "",
            objectives=[Goal(one["score"], bool(one.get("maximise"))) for one in tree.get("objectives") or []],
            constraints=[
                Goal(one["score"], bool(one.get("at_least")), _number(one.get("limit")))
                for one in tree.get("constraints") or []
            ],
            plan=tree.get("plan") or {},
            dials=tree.get("dials") or {},
            trials=_rows(tree.get("trials")),
            confirmed=_rows(tree.get("confirmed")),
            rivals=_rows(tree.get("rivals")),
            tested=None if tested is None else [Tested.of(one) for one in tested],
            beyond=list(against.get("beyond") or []),
            outside=list(against.get("outside") or []),
            knee=tree.get("knee"),
            recommended=Choice.of(tree.get("recommended")),
            default=Choice.of(tree.get("default")),
            plain=Choice.of(tree.get("plain")),
            gains={(one["over"], one["score"]): _gain(one) for one in tree.get("gains") or []},
            looks=_whole(tree.get("looks")),
            seconds=_number(tree.get("seconds")),
        )

    @property
    def goals(self) -> list[Goal]:
        return [*self.objectives, *self.constraints]

    @property
    def scores(self) -> list[str]:
        """Those that decide, each once."""
        return list(dict.fromkeys(goal.score for goal in self.goals))

    @property
    def steered(self) -> list[Row]:
        """What was confirmed and is no plain sampling."""
        return [row for row in self.confirmed if not is_plain(row.point)]


@dataclass(frozen=True)
class Grid:
    """Points over axes, and what was measured there: values in the order of the axes -> row."""

    axes: Mapping[str, Sequence[float]]
    cells: Mapping[tuple[float, ...], Row]
    samples: int = 0

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.cells.values() if row.state != "complete"]

    @property
    def scores(self) -> list[str]:
        """Those that have a value anywhere."""
        named = dict.fromkeys(name for row in self.cells.values() for name in row.scores)
        return [name for name in named if any(row.score(name).known for row in self.cells.values())]


@dataclass(frozen=True)
class Examples:
    """Some texts of a point."""

    point: Point
    texts: Sequence[str]


@dataclass(frozen=True)
class Tuned:
    """All of the folder. forms: by form of STEER, over γ and η; sweeps: by dial. examples: by their file's name."""

    name: str
    search: Search | None
    forms: Mapping[str, Grid]
    sweeps: Mapping[str, Grid]
    grid: Grid | None
    examples: Mapping[str, Sequence[Examples]]

    @classmethod
    def read(cls, folder: Path) -> "Tuned":
        """Raises FileNotFoundError where the folder holds nothing to show."""
        trees = {name: read_json(folder / name) or {} for name in FILES if (folder / name).is_file()}
        if not trees:
            raise FileNotFoundError(
                f"{folder}: there is none of {', '.join(FILES)}; expected a folder that `steer tune` wrote"
            )
        figures, whole = trees.get("figures.json", {}), folder.resolve()
        samples = _whole(figures.get("samples"))
        sweeps = (figures.get("sweeps") or {}).items()
        return cls(
            name=f"{whole.parent.name}/{whole.name}",
            search=Search.of(trees["tune.json"]) if "tune.json" in trees else None,
            forms={form: _grid((GAMMA, ETA), rows, samples) for form, rows in (figures.get("forms") or {}).items()},
            sweeps={dial: _grid((dial,), rows, samples) for dial, rows in sweeps},
            grid=_crossed(trees["grid.json"]) if "grid.json" in trees else None,
            examples={path.stem: _examples(path) for path in sorted((folder / "examples").glob("*.json"))},
        )

    def higher(self, name: str) -> bool:
        """Whether more of a score is better: as the search has it, or else by what it asks."""
        goals = {goal.score: goal.higher for goal in reversed(self.search.goals)} if self.search else {}
        return goals.get(name, kind(name).best not in ("low", "half"))


def is_plain(point: Point) -> bool:
    """Whether it is sampling from the domain model alone."""
    return all(point.get(name, off) == off for name, off in OFF.items())


def _grid(axes: Sequence[str], rows: Sequence[Tree] | None, samples: int) -> Grid:
    """Of rows that tell by their points where they lie."""
    placed = [row for row in _rows(rows) if all(axis in row.point for axis in axes)]
    values = {axis: sorted({row.point[axis] for row in placed}) for axis in axes}
    return Grid(values, {tuple(row.point[axis] for axis in axes): row for row in placed}, samples)


def _crossed(tree: Tree) -> Grid:
    """grid.json, whose rows are in the order of all combinations: a point does not tell dials that are off in it."""
    axes = {name: [_number(value) for value in values] for name, values in (tree.get("axes") or {}).items()}
    places, rows = list(product(*axes.values())) if axes else [], _rows(tree.get("cells"))
    samples = _whole(tree.get("samples"))
    if len(places) == len(rows):
        return Grid(axes, dict(zip(places, rows, strict=True)), samples)
    return _grid(list(axes), tree.get("cells"), samples)


def _examples(path: Path) -> list[Examples]:
    rows = read_json(path) or []
    return [Examples(_point(row.get("point")), [str(text) for text in row.get("texts") or []]) for row in rows]


def _rows(trees: Iterable[Tree] | None) -> list[Row]:
    return [Row.of(tree, i) for i, tree in enumerate(trees or [])]


def _gain(tree: Tree) -> Gain:
    return Gain(*(_number(tree.get(key)) for key in ("value", "low", "high", "adjusted")))


def _scores(tree: Tree | None) -> dict[str, Reading]:
    return {name: Reading.of(one) for name, one in (tree or {}).items()}


def _point(tree: Tree | None) -> dict[str, float]:
    return {name: float(value) for name, value in (tree or {}).items() if value is not None}


def _number(value: Any) -> float:
    return nan if value is None else float(value)


def _whole(value: Any, otherwise: int = 0) -> int:
    return otherwise if value is None else int(value)
