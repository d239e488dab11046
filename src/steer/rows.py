"""Files and datasets as rows: JSON Lines, JSON, CSV, Parquet, plain text, and what the `datasets` library holds."""

import csv
import gzip
import importlib
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Located = Iterator[tuple[str, Any]]  # each row with its place: "line 17", "row 3"


def read_rows(path_or_id: str | Path, split: str | None = None, limit: int | None = None) -> list[Row]:
    """The rows of a file or dataset, at most `limit`, as they are.

    Files by extension: .jsonl .ndjson .json .csv .tsv .txt (also with .gz behind) and .parquet. A folder is a dataset
    saved by `datasets`; what is no file is the id of a dataset on the Hub; only these two take a `split`.
    Raises FileNotFoundError for a missing file, and ValueError, with the line, for one that cannot be read.
    """
    return [row for _, row in located_rows(str(path_or_id), split, limit)]


def located_rows(source: str, split: str | None, limit: int | None) -> list[tuple[str, Row]]:
    if limit is not None and limit < 1:
        raise ValueError(f"a limit of {limit} rows came: expected at least 1, or none")
    rows = list(islice(_rows(source, split), limit))
    if not rows:
        raise ValueError(f"{source} is empty: expected at least one row")
    for place, row in rows:
        if not isinstance(row, dict):
            raise ValueError(f'{source} {place}: {kind(row)} came, expected an object such as {{"text": "..."}}')
    return rows


def _rows(source: str, split: str | None) -> Located:
    path = Path(source).expanduser()
    suffix = suffix_of(path)
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir())
        if not {"dataset_info.json", "dataset_dict.json", "state.json"} & set(names):
            raise ValueError(f"{path} is a folder, but not a saved dataset: name a file in it ({listing(names)})")
        return _dataset(str(path), split, saved=True)
    if not path.exists():
        # "org/name" is an id on the Hub, unless it reads like a path: by its extension, or a folder that is there.
        is_id = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", source) and suffix not in _READERS
        if is_id and ("/" not in source or not path.parent.is_dir()):
            return _dataset(source, split, saved=False)
        raise FileNotFoundError(_missing_file(path))
    if split is not None:
        raise ValueError(f"the split {split!r} came for the file {source}: only a dataset has splits, so leave it out")
    if suffix not in _READERS or (suffix == ".parquet" and path.suffix == ".gz"):
        known = " ".join(_READERS)
        raise ValueError(
            f"{source}: unknown extension {path.suffix!r}, expected one of {known} (or .jsonl.gz and so on)"
        )
    return _READERS[suffix](path)


def suffix_of(path: Path) -> str:
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()


def _missing_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"no file {path}: there is no folder {path.parent}"
    names = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    return f"no file {path}: {path.parent} holds {listing(names)}.{nearest(path.name, names)}"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered from 1, with their line feeds; nothing else ends a line, since U+2028 may stand in a text."""
    offset = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                text = line.decode()
                yield number, text.removeprefix("\ufeff") if number == 1 else text
                offset += len(line)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} line {number}: byte {offset + error.start} (0x{line[error.start]:02x}) is not UTF-8: convert the "
            f"file first, e.g. iconv -f WINDOWS-1252 -t UTF-8"
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a whole gzip file ({error}): compress it again, or drop the .gz") from None


def _text_lines(path: Path) -> Located:
    return ((f"line {number}", {"text": line.strip()}) for number, line in _lines(path) if line.strip())


def _json_lines(path: Path) -> Located:
    return ((f"line {number}", _json(line.rstrip(), path, number)) for number, line in _lines(path) if line.strip())


def _json_file(path: Path) -> Located:
    text = "".join(line for _, line in _lines(path))
    if not text.lstrip().startswith("["):
        return _json_lines(path)
    return ((f"item {number}", item) for number, item in enumerate(_json(text, path, 1), 1))


def _json(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place, problem = f"line {line + error.lineno - 1}, column {error.colno}", error.msg
    except (ValueError, RecursionError) as error:
        place, problem = f"line {line}", str(error)
    raise ValueError(
        f"{path} {place}: broken JSON ({problem}): expected one object a line, or one array in a .json file"
    )


def _table(path: Path) -> Located:
    # Strict, since a quote that is never closed would otherwise swallow the rest of the file as one field.
    reader = csv.reader(
        (line for _, line in _lines(path)), delimiter="\t" if suffix_of(path) == ".tsv" else ",", strict=True
    )
    limit = csv.field_size_limit(2**31 - 1)
    try:
        header = [name.strip() for name in next(reader, [])]
        if header and (not all(header) or len(set(header)) < len(header)):
            raise ValueError(f"{path}: the first line must be a header of distinct names, but {listing(header)} came")
        for values in reader:
            if values and len(values) != len(header):
                raise ValueError(
                    f"{path} line {reader.line_num}: {len(values)} fields came, the header names {len(header)}: put "
                    "fields that hold the separator in double quotes"
                )
            if values:
                yield f"line {reader.line_num}", dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise ValueError(
            f"{path} line {reader.line_num}: broken table ({error}): put fields that hold quotes or line ends in "
            "double quotes, and write a quote in them twice"
        ) from None
    finally:
        csv.field_size_limit(limit)


def _parquet(path: Path) -> Located:
    parquet = _extra("pyarrow.parquet", path)
    try:
        with parquet.ParquetFile(path) as file:
            rows = [row for batch in file.iter_batches() for row in batch.to_pylist()]
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {_first_line(error)}") from None
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


_READERS = {
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json_file,
    ".csv": _table,
    ".tsv": _table,
    ".txt": _text_lines,
    ".parquet": _parquet,
}


def _dataset(source: str, split: str | None, saved: bool) -> Located:
    datasets = _extra("datasets", source if saved else f"{source!r} (no such file, so the id of a dataset)")
    try:
        data = datasets.load_from_disk(source) if saved else datasets.load_dataset(source, split=split)
    except Exception as error:
        what = "cannot be read as a saved dataset" if saved else "is no file, and no dataset that can be loaded"
        raise ValueError(f"{source!r} {what}: {_first_line(error)}") from None
    if isinstance(data, dict):
        chosen = next(iter(data)) if split is None and len(data) == 1 else split
        if chosen not in data:
            came = "no split" if split is None else f"the split {split!r}"
            raise ValueError(f"{source}: {came} came, expected one of {listing(sorted(data))}")
        data = data[chosen]
    elif saved and split is not None:
        raise ValueError(f"the split {split!r} came, but {source} was saved without splits: leave it out")
    return ((f"row {number}", row) for number, row in enumerate(data, 1))


def _extra(module: str, source: object) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"reading {source} needs {package}: pip install 'steer-text[data]'") from None


def kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", int: "a number", float: "a number", type(None): "null"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def listing(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:12])) + (f" and {len(names) - 12} more" if len(names) > 12 else "") or "nothing"


def nearest(name: str, names: Sequence[str]) -> str:
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
