"""What is refused, in order: empty or cut off, not readable by the template, a copy of a real text, a duplicate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steer.config import Gates
from steer.records import REAL, Record, Verdict
from steer.similarity import CopyFinder
from steer.task import Task


@dataclass(frozen=True)
class Judgement:
    """The verdict on one text; for copies, the id of its nearest source and the similarity (0 to 1)."""

    verdict: Verdict
    fields: Mapping[str, str]
    reason: str | None = None
    source: str | None = None
    similarity: float | None = None


class Gatekeeper:
    """Judges texts one after the other; each accepted text counts as existing for those after it.

    `real` are all real texts, held-out ones too: none of them may come out as synthetic.
    """

    def __init__(self, task: Task, real: Sequence[Record], accepted: Sequence[Record], settings: Gates) -> None:
        self.task = task
        self.real_ids = [record.id for record in real]
        self.accepted_ids = [record.id for record in accepted]
        self.kept = settings.keep
        self.real = CopyFinder([record.text for record in real], settings.copy_threshold)
        self.accepted = CopyFinder([record.text for record in accepted], settings.duplicate_threshold)

    def judge(self, text: str | None, finish: str, labels: Mapping[str, str]) -> Judgement:
        """`text` is None where the ids held what is no text (`steer.engine.contexts.read_text`)."""
        if text is None:
            return Judgement("malformed", {}, "holds a special token or broken characters")
        if not text:
            return Judgement("malformed", {}, "empty")
        if finish != "stop":
            return Judgement("malformed", {}, "cut off at max_new_tokens")
        fields = self.task.parse(text, labels)
        if fields is None:
            return Judgement("unreadable", {}, "does not read back by the example template")
        (match,) = self.real.find([text])
        if match is not None:
            source = self.real_ids[match.index]
            verdict: Verdict = "accepted" if "copy" in self.kept else "copy"
            return Judgement(verdict, fields, f"{match.reason}, {REAL}", source, round(match.similarity, 4))
        (match,) = self.accepted.find([text])
        if match is not None:
            source = self.accepted_ids[match.index]
            verdict = "accepted" if "duplicate" in self.kept else "duplicate"
            return Judgement(verdict, fields, f"{match.reason}, a sample", source, round(match.similarity, 4))
        return Judgement("accepted", fields)

    def accept(self, sample_id: str, text: str) -> None:
        self.accepted_ids.append(sample_id)
        self.accepted.add([text])
