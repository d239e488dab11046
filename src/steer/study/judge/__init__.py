"""Models as annotators of a study: each pair is shown in both orders, and the votes are those of any other group.

    judge(study, folder, judge_of("openai:MODEL"), price=(2.5, 10), budget=1)   # folder/judges/MODEL.jsonl and .json
    judges_votes(folder, study)

`ask` is what a judge is asked, `reading` what it meant; `remote` and `local` are the judges; `kept` is the cache.
"""

import math
import re
from pathlib import Path
from urllib.parse import urlsplit

from steer.config import UsageError
from steer.endpoint import OPENAI, TIMEOUT, Server, parse
from steer.study.judge.answers import Consistency, Row, consistency, judges, judges_votes, votes
from steer.study.judge.ask import Answer, Ask, Judge
from steer.study.judge.local import LocalJudge
from steer.study.judge.remote import EndpointJudge
from steer.study.judge.run import Estimate, Judged, Price, Spent, estimate, judge, prices

__all__ = [
    "Answer",
    "Ask",
    "Consistency",
    "EndpointJudge",
    "Estimate",
    "Judge",
    "Judged",
    "LocalJudge",
    "Price",
    "Row",
    "Spent",
    "consistency",
    "estimate",
    "judge",
    "judge_of",
    "judges",
    "judges_votes",
    "prices",
    "votes",
]


def judge_of(
    name: str,
    *,
    label: str = "",
    max_tokens: int = 16,
    timeout: float = TIMEOUT,
    device: str = "auto",
    dtype: str = "auto",
) -> EndpointJudge | LocalJudge:
    """The judge of "openai:MODEL[@URL]" or "model:FOLDER-OR-ID".

    label: who its votes are of, fit for a file; made of the model's name if not given. max_tokens: of an answer of an
    endpoint. timeout: seconds until a request to one has failed. device, dtype: of a local model. Raises UsageError on
    what is neither.
    """
    kind, _, rest = name.partition(":")
    if label and label != _label(label):
        raise UsageError(f"{label!r} is no name for a judge; expected letters and digits, such as {_label(label)}")
    if max_tokens < 1:
        raise UsageError(f"max_tokens {max_tokens}: expected at least 1")
    if not 0 < timeout < math.inf:
        raise UsageError(f"timeout {timeout:g}: expected seconds, more than 0")
    if kind == "openai":
        try:
            model, url = parse(name, rest)
        except ValueError as error:
            raise UsageError(str(error)) from None
        place = "" if url == OPENAI else f"-{urlsplit(url).netloc}"
        return EndpointJudge(model, label or _label(model + place), Server(url, timeout), max_tokens)
    if kind == "model" and rest:
        folder = Path(rest).expanduser()
        return LocalJudge(rest, label or _label(folder.resolve().name if folder.is_dir() else rest), device, dtype)
    raise UsageError(f"{name!r} is no judge; expected openai:MODEL, openai:MODEL@URL or model:FOLDER-OR-ID")


def _label(name: str) -> str:
    """Fit for a file of any system; never a number alone, as people are called."""
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:80] or "judge"
    return f"judge-{plain}" if plain.isdigit() else plain
