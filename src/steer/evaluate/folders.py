"""Folders of models that judge texts: fetched from the Hub, and told apart by the hash of their files."""

import hashlib
from pathlib import Path

from steer.evaluate.embed import in_a_line

MODEL_FILES = (".json", ".model", ".safetensors", ".spm", ".txt")  # weights, tokenizer and settings


def fetched(model: str) -> Path:
    """The folder of a model of the Hub, downloaded if it is not there yet; never the pickled twin of its weights."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(model, allow_patterns=[f"*{suffix}" for suffix in MODEL_FILES]))
    except Exception as error:  # of three libraries, one below the other
        raise OSError(f"{model} is no folder and cannot be fetched from the Hub: {in_a_line(str(error))}") from error


def files(folder: Path) -> list[Path]:
    """All files of a folder but hidden ones, in an order that every machine shares."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    shown = (path for path in paths if not any(part[0] == "." for part in path.relative_to(folder).parts))
    return sorted(shown, key=Path.as_posix)


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in files(folder):
        if path.suffix in MODEL_FILES:
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\0".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()[:12]
