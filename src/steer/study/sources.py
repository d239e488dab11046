"""Sets of texts to be held against each other: of runs, comparisons, searches for dials, and any files."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steer.config import UsageError
from steer.data import has_column, read_records
from steer.records import Record, read_json
from steer.rows import nearest
from steer.run import Run
from steer.study.plan import TextSet
from steer.task import Task

# What texts are matched by in files that name nothing else.
USUAL = ("label", "prompt")
SEARCHED = ("search", "rivals")  # points that a search has tried, which are no grid
DIALS = ("gamma", "eta")


@dataclass(frozen=True)
class Source:
    """A set with its texts. task: how its rows are written as text; None where they have a column `text`."""

    set: TextSet
    records: tuple[Record, ...]
    task: Task | None = None


@dataclass(frozen=True)
class _File:
    """A set that has not been read. optional: whether it is left out where its name was not asked for."""

    name: str
    path: Path
    task: Task | None
    dials: Mapping[str, float | None]
    optional: bool = False


def read_sources(
    given: Sequence[str], names: Sequence[str] | None = None, task: Task | None = None, match: Sequence[str] = ()
) -> list[Source]:
    """Sets of texts, each called by a name of its own.

    given: a run's folder (its samples are "steer", plain sampling is "nucleus", the held-out real texts are "real"), a
    folder that `steer compare` or `steer tune` wrote, a file, or NAME=FILE. names: which of the sets, and their order;
    all if None, but for "real". task: how rows of files are written as text. match: columns that are read beside.
    Raises UsageError for a name that is not there or is there twice, and what `read_records` raises.
    """
    files = [(one, file) for one in given for file in _files(one, task)]
    called = Counter(file.name for _, file in files)
    found: dict[str, _File] = {}
    for one, file in files:
        # Two runs both have samples: these are then called by their folders, too.
        name = f"{Path(one).name}-{file.name}" if called[file.name] > 1 and Path(one).is_dir() else file.name
        if name in found:
            raise UsageError(f"two sets are called {name!r}: name one of them, as in NAME=FILE")
        found[name] = replace(file, name=name)
    for name in names or ():
        if name not in found:
            raise UsageError(f"there is no set {name!r} among {', '.join(found)}.{nearest(name, list(found))}")
    wanted = list(names) if names else [name for name, file in found.items() if not file.optional]
    if len(wanted) < 2:
        raise UsageError(f"only the set {wanted[0]} came: a study needs two sets of texts to compare")
    return [_read(found[name], match) for name in dict.fromkeys(wanted)]


def _files(given: str, task: Task | None) -> Iterator[_File]:
    name, equals, rest = given.partition("=")
    if equals and not Path(given).exists():
        if not name.strip():
            raise UsageError(f"{given}: expected NAME=FILE")
        yield _File(name, Path(rest), task, {})
    elif (folder := Path(given)).is_dir():
        yield from _of_folder(folder, task)
    else:
        yield _File(Path(given).name.split(".")[0], Path(given), task, {})


def _of_folder(folder: Path, task: Task | None) -> Iterator[_File]:
    if (folder / "config.yaml").is_file():
        yield from _of_run(Run.open(folder), task)
    elif (folder / "compare.json").is_file():
        yield from _of_comparison(folder, task or _task_above(folder))
    elif any((folder / name).is_file() for name in ("grid.json", "figures.json")):
        yield from _of_grid(folder, task or _task_above(folder))
    else:
        raise UsageError(
            f"{folder} is no run, and nothing that steer compare, or steer tune with --grid or --paper, wrote: name "
            "a file"
        )


def _of_run(run: Run, task: Task | None) -> Iterator[_File]:
    task = task or run.settings.task
    if not (run.folder / "synthetic.jsonl").is_file():
        more = "; or name a folder in it that steer compare or tune wrote" if (run.folder / "compare").is_dir() else ""
        raise ValueError(f"{run.folder} holds no samples yet: steer generate draws them{more}")
    yield _File("steer", run.folder / "synthetic.jsonl", task, run.settings.guidance.dials)
    if (run.folder / "baseline.jsonl").is_file():
        yield _File("nucleus", run.folder / "baseline.jsonl", task, {})
    yield _File("real", run.folder / "data" / "test.jsonl", task, {}, optional=True)


def _of_comparison(folder: Path, task: Task | None) -> Iterator[_File]:
    for row in read_json(folder / "compare.json")["decoders"]:
        yield _File(row["name"], folder / row["file"], task, row.get("dials") or {})
    yield _File("real", folder / "real.jsonl", task, {}, optional=True)


def _of_grid(folder: Path, task: Task | None) -> Iterator[_File]:
    """Every point of the grids and sweeps there are, once, called by γ, η and what else is varied there.

    Points of other forms than the run's own are read where they are named.
    """
    seen = set()
    for path in sorted((folder / "examples").glob("*.json")):
        rows = [] if path.stem in SEARCHED else [row for row in read_json(path) if "file" in row]
        dials = [{name.rpartition(".")[2]: value for name, value in row["point"].items()} for row in rows]
        shown = [name for name in dials[0] if name in DIALS or len({one[name] for one in dials}) > 1] if dials else []
        form = f"{path.stem}: " if path.stem.startswith("steer_") else ""
        for row, point in zip(rows, dials, strict=True):
            name = form + " ".join(f"{dial}={point[dial]:g}" for dial in shown)
            if name not in seen:
                seen.add(name)
                yield _File(name, folder / row["file"], task, point, optional=bool(form))
    if not seen:
        raise ValueError(f"{folder} holds no texts by point: run the same steer tune again, which writes them")


def home(given: Sequence[str]) -> Path | None:
    """Where a study of these belongs: in the folder of the run that the first is of."""
    for one in map(Path, given[:1]):
        for folder in (one, one.resolve().parent):
            if (folder / "config.yaml").is_file():
                return folder / "study"
    return None


def _task_above(folder: Path) -> Task | None:
    """Of the run in whose folder this one lies."""
    above = folder.resolve().parent
    return Run.open(above).settings.task if (above / "config.yaml").is_file() else None


def _read(file: _File, match: Sequence[str]) -> Source:
    task, path = file.task, file.path
    # The rows of a run lie in files of their own, below the names of the task's columns.
    usual = [] if task or match or not path.is_file() else [name for name in USUAL if has_column(path, name)]
    labels = () if task is None else tuple(name for name in task.labels if has_column(path, name))
    named = ("id",) if path.is_file() and has_column(path, "id") else ()
    records = [
        replace(record, id=record.fields.get("id", record.id))
        for record in read_records(path, task, (*labels, *match, *usual, *named))
    ]
    dials: dict[str, Any] = {name: file.dials.get(name) for name in DIALS}
    return Source(TextSet(name=file.name, source=str(path), texts=len(records), **dials), tuple(records), task)


def matched(sources: Sequence[Source], match: Sequence[str]) -> tuple[str, ...]:
    """The columns in which the two texts of a pair are to be the same: those asked for, or those that a task's labels
    or the usual names give to all sets."""
    if match:
        return tuple(match)
    tasks = [source.task for source in sources if source.task]
    names = tasks[0].labels if tasks else USUAL
    return tuple(name for name in names if all(name in record.fields for s in sources for record in s.records[:1]))
