"""What a report is about, whether it is of a run or of two files: texts, and what was measured of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NUCLEUS = "nucleus"
INSTEAD = "real texts instead"


@dataclass(frozen=True)
class Judged:
    """A set of synthetic texts, and those beside it.

    texts, files: by set, "real", "synthetic", "train" where the training texts are known, and the rivals; the names of
    the files. metrics, details: the objects of metrics.json and details.json, None where there are none yet.
    ids, labels: of the synthetic texts. refused: (as copies, of so many drawn) by decoder, in a run.
    """

    texts: Mapping[str, Sequence[str]]
    files: Mapping[str, str]
    metrics: Mapping[str, Any] | None
    details: Mapping[str, Any] | None
    ids: Sequence[str]
    labels: Sequence[Mapping[str, str]]
    refused: Mapping[str, tuple[int, int]]

    @classmethod
    def of_files(
        cls,
        texts: Mapping[str, Sequence[str]],
        files: Mapping[str, str],
        metrics: Mapping[str, Any],
        details: Mapping[str, Any] | None,
    ) -> "Judged":
        """`baseline` among the sets is the rival that is called nucleus among the scores."""
        renamed = {of: NUCLEUS if of == "baseline" else of for of in (*texts, *files)}
        numbers = range(1, len(texts["synthetic"]) + 1)
        return cls(
            texts={renamed[of]: some for of, some in texts.items()},
            files={renamed[of]: file for of, file in files.items()},
            metrics=metrics,
            details=details,
            ids=[f"no. {n:,}" for n in numbers],
            labels=[{} for _ in numbers],
            refused={},
        )

    @property
    def synthetic(self) -> Sequence[str]:
        return self.texts["synthetic"]

    @property
    def rivals(self) -> list[str]:
        return list((self.metrics or {}).get("rivals", {}))

    @property
    def trained(self) -> bool:
        """Whether the texts are known that the generator was trained on."""
        return bool(self.texts.get("train"))

    @property
    def sources(self) -> Sequence[str]:
        """What copies are looked for in."""
        return self.texts["train"] if self.trained else self.texts["real"]

    @property
    def source(self) -> str:
        """What one of the sources is, as an adjective."""
        return "training" if self.trained else "given real"


def called(rival: str) -> str:
    """A rival in a sentence."""
    return "plain nucleus sampling" if rival == NUCLEUS else rival
