"""Algorithm 1 as rounds: snapshot the pool, draw groups against it, judge them, let the accepted ones join.

A round's texts depend on the run's seed, the round, and what was accepted before it: not on whether the run was stopped
in between, and not on the lanes in flight, but for near ties in bfloat16.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from steer.config import Gates, Generation, Negatives, Sampling
from steer.engine.contexts import contexts, prompt_ids, read_text, text_ids
from steer.engine.decode import Completion, Request, decode
from steer.engine.memory import plan
from steer.engine.models import Pair
from steer.engine.tally import Tally
from steer.gates import Gatekeeper
from steer.guidance import Guidance, Stream
from steer.negatives import Pool, fitting
from steer.progress import Progress, say
from steer.records import Record, Sample, Verdict, read_jsonl, write_jsonl
from steer.task import Task

Labels = tuple[str, ...]  # the values of the task's labels, in their order

PATIENCE, TOLERANCE = 3, 0.01  # "converged": neither curve moves by more than TOLERANCE over PATIENCE rounds
SLOW = 0.01  # of the tokens may be sorted for without a word


class BudgetError(ValueError):
    """The budget of attempts ran out; what was accepted is kept."""


@dataclass(frozen=True)
class Group:
    """Samples that share a prompt and one draw of negatives."""

    index: int
    labels: Mapping[str, str]
    size: int


@dataclass(frozen=True)
class Generator:
    """Everything that decides the texts of a run; `rounds()` draws them.

    real: the training texts, from which negatives are drawn. held_out: further real texts that must not come out.
    folder: where finished rounds are kept, one file each; a generator on the same folder goes on after the last.
    """

    pair: Pair
    task: Task
    real: tuple[Record, ...]
    guidance: Guidance
    sampling: Sampling = field(default_factory=Sampling)
    negatives: Negatives = field(default_factory=Negatives)
    settings: Generation = field(default_factory=Generation)
    gates: Gates = field(default_factory=Gates)
    held_out: tuple[Record, ...] = ()
    seed: int = 0
    folder: Path | None = None
    name: str = "generate"
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        # Experts are loaded on first use, and how much context there is for negatives depends on them too.
        for stream in self.guidance.streams:
            self.pair.locate(stream)

    def run(self) -> list[Sample]:
        """Draw until `count` samples are accepted (or novelty and coverage have converged); all samples, also refused.

        Raises BudgetError, naming the gate to blame, when the attempts are used up.
        """
        if self.guidance.warning:
            say(f"warning: {self.guidance.warning}")
        if self.untrained:
            names = ", ".join(map(repr, self.pair.tokenizer.convert_ids_to_tokens(self.untrained[:3])))
            say(f"{self.name}: {len(self.untrained)} tokens that the model never learnt ({names}, ...) are not drawn")
        samples = self.stored()
        room = self.max_new_tokens()
        accepted = [sample.record for sample in _accepted(samples)]
        keeper = Gatekeeper(self.task, [*self.real, *self.held_out], accepted, self.gates)
        with Progress(self.name, self.settings.count) as progress:
            progress.advance(len(_accepted(samples)))
            number = 1 + max((sample.round for sample in samples), default=-1)
            while not self.finished(samples):
                refused = Counter(s.verdict for s in samples if s.verdict not in ("accepted", "surplus"))
                if len(samples) >= self.settings.attempts * self.settings.count:
                    raise BudgetError(self._blame(samples, refused))
                drawn = self._round(number, samples, room, keeper)
                if self.folder:
                    write_jsonl(self.folder / f"{number:05d}.jsonl", (sample.to_json() for sample in drawn))
                samples += drawn
                note = ", ".join(f"{n} {verdict}" for verdict, n in sorted(refused.items()))
                progress.advance(len(_accepted(drawn)), note and f"refused: {note}")
                number += 1
        if (sorted_whole := self.tally.full_sorts / max(1, self.tally.live)) > SLOW:
            say(
                f"{self.name}: for {sorted_whole:.0%} of the tokens the whole vocabulary was sorted, which is slow: "
                "too many were likely enough to be drawn (a lower sampling.temperature or top_p leaves fewer)"
            )
        return samples

    def finished(self, samples: Sequence[Sample]) -> bool:
        if self.settings.until == "converged" and converged(convergence(samples, self.real)):
            return True
        return not sum(self._missing(samples).values())

    def max_new_tokens(self) -> int:
        """As set, or as long as 99 of 100 real texts and a quarter more, and then at most half of the context.

        Raises ValueError where the prompt leaves no room for a text.
        """
        tokenizer, limit, asked = self.pair.tokenizer, self.pair.context_limit, self.sampling.max_new_tokens
        lengths = sorted(len(text_ids(tokenizer, record.text)) for record in self.real)
        usual = lengths[int(0.99 * (len(lengths) - 1))] * 5 // 4 + 1
        if limit is None:
            return asked or usual
        longest = max(len(prompt_ids(tokenizer, self.task.prompt(labels))) for labels in self.combinations())
        if longest >= limit:
            raise ValueError(
                f"the prompt takes {longest} tokens and {self.pair.name} holds {limit}, so no text could follow: "
                "shorten task.instruction or use a model with a longer context"
            )
        # The other half is for the negatives.
        return min(asked or min(usual, limit // 2), limit - longest)

    @cached_property
    def untrained(self) -> tuple[int, ...]:
        """The tokens that the model cannot tell from some token of the real texts; none of them is drawn."""
        used = {i for record in self.real for i in text_ids(self.pair.tokenizer, record.text)}
        return self.pair.untrained(used)

    def _round(self, number: int, before: Sequence[Sample], room: int, keeper: Gatekeeper) -> list[Sample]:
        pool = Pool(self.real, tuple(sample.record for sample in _accepted(before)))
        planned: list[tuple[Group, int, list[Record], Request]] = []
        fewer: list[str] = []
        limit = self.pair.context_limit
        for group in self._plan(number, before):
            prompt = self.task.prompt(group.labels)
            drawn = pool.draw(self.negatives, group.labels, random.Random(_seed(self.seed, number, group.index, -1)))
            shown = fitting(self.pair.tokenizer, prompt, drawn, None if limit is None else limit - room)
            fewer += [f"{len(shown)} of {len(drawn)}"] * (len(shown) < len(drawn))
            to_show = contexts(self.pair.tokenizer, prompt, [record.text for record in shown])
            for index in range(group.size):
                request = Request(to_show, _seed(self.seed, number, group.index, index), room)
                planned.append((group, index, shown, request))
        if fewer:
            groups = planned[-1][0].index + 1
            say(
                f"{self.name}: round {number + 1}: no more negatives fit the {limit} tokens of the model: "
                f"{len(fewer)} of {groups} groups are shown fewer, the first {fewer[0]}"
            )
        requests = [request for _, _, _, request in planned]
        if number == 0:
            shown_to = [request.contexts for request in requests]
            base, needs = self.pair.base, plan(self.pair, self.guidance, shown_to, room, self.settings.lanes)
            say(f"{self.name}: {str(base.dtype).removeprefix('torch.')} on {base.device.type}; {needs}")
        completions = decode(
            self.pair,
            self.guidance,
            requests,
            self.sampling,
            suppress_tokens=self.untrained,
            lanes=self.settings.lanes,
            logprobs=True,
            tally=self.tally,
        )
        missing = Counter(self._missing(before))
        samples = []
        for (group, index, shown, request), completion in zip(planned, completions, strict=True):
            sample = self._judged(keeper, number, group, index, shown, request.seed, completion, missing)
            samples.append(sample)
        return samples

    def _judged(
        self,
        keeper: Gatekeeper,
        number: int,
        group: Group,
        index: int,
        shown: Sequence[Record],
        seed: int,
        completion: Completion,
        missing: Counter[Labels],
    ) -> Sample:
        sample_id = f"{number:04d}-{group.index:02d}-{index:02d}"
        text = read_text(self.pair.tokenizer, completion.token_ids, self.pair.stop_ids)
        judgement = keeper.judge(text, completion.finish, group.labels)
        verdict, reason, key = judgement.verdict, judgement.reason, tuple(group.labels.values())
        if verdict == "accepted" and not missing[key]:
            verdict, reason = "surplus", "enough of these labels were accepted already"
        elif verdict == "accepted":
            missing[key] -= 1
            keeper.accept(sample_id, text or "")
        return Sample(
            id=sample_id,
            text=text or "",
            fields=judgement.fields,
            verdict=verdict,
            reason=reason,
            source=judgement.source,
            similarity=judgement.similarity,
            labels=group.labels,
            round=number,
            group=group.index,
            index=index,
            seed=seed,
            negatives=tuple(record.id for record in shown),
            token_ids=tuple(completion.token_ids),
            finish=completion.finish,
            logprobs={
                name: tuple(round(value, 4) for value in values)
                for name, values in {**completion.logprobs, "combined": completion.combined}.items()
            },
        )

    def combinations(self) -> list[dict[str, str]]:
        """Every combination of labels among the real texts, in a fixed order."""
        names = self.task.labels
        found = sorted({tuple(record.fields[name] for name in names) for record in self.real})
        return [dict(zip(names, values, strict=True)) for values in found]

    def targets(self) -> dict[Labels, int]:
        """How many samples are wanted of each combination of labels; they add up to `count`.

        Equal over the columns of `balance`, and within each of these classes in the real proportions.
        """
        names = self.task.labels
        real = Counter(tuple(record.fields[name] for name in names) for record in self.real)
        balanced = [names.index(name) for name in self.task.balance]
        classes: dict[Labels, Counter[Labels]] = {}
        for key, n in real.items():
            classes.setdefault(tuple(key[i] for i in balanced), Counter())[key] = n
        sizes = _divided(self.settings.count, dict.fromkeys(classes, 1))
        return {key: n for name, members in classes.items() for key, n in _divided(sizes[name], members).items()}

    def _missing(self, samples: Sequence[Sample]) -> dict[Labels, int]:
        have = Counter(tuple(sample.labels.values()) for sample in _accepted(samples))
        return {key: max(0, target - have[key]) for key, target in self.targets().items()}

    def _plan(self, number: int, before: Sequence[Sample]) -> Iterator[Group]:
        """The groups of a round: most to the labels that miss most, a few more than missing for those to be refused."""
        acceptance = max(0.1, (len(_accepted(before)) + 1) / (len(before) + 1))
        wanted = Counter({key: -int(-n // acceptance) for key, n in self._missing(before).items() if n})
        names, left, index = self.task.labels, self.settings.round_size, 0
        left = min(left, self.settings.attempts * self.settings.count - len(before))
        while left > 0 and +wanted:
            key = max(sorted(wanted), key=lambda k: wanted[k])
            size = min(self.settings.group_size, wanted[key], left)
            yield Group(index, dict(zip(names, key, strict=True)), size)
            wanted[key] -= size
            left -= size
            index += 1

    def stored(self) -> list[Sample]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return [Sample.from_json(row) for file in sorted(self.folder.glob("[0-9]*.jsonl")) for row in read_jsonl(file)]

    def _blame(self, samples: Sequence[Sample], refused: Counter[Verdict]) -> str:
        gate, n = refused.most_common(1)[0]
        remedy = {
            "malformed": "raise sampling.max_new_tokens, lower sampling.temperature, or fine-tune longer",
            "unreadable": "fine-tune longer (finetune.epochs) or simplify task.example",
            "copy": "the model repeats its training texts: raise guidance.eta or lower finetune.epochs",
            "duplicate": "the model repeats itself: raise guidance.eta or sampling.temperature",
        }[gate]
        return (
            f"only {len(_accepted(samples))} of {self.settings.count} samples were accepted in {len(samples)} "
            f"attempts; the gate '{gate}' refused {n}: {remedy} (or raise generate.attempts)"
        )


def generate(
    pair: Pair,
    task: Task,
    real: Sequence[Record],
    guidance: Guidance | Stream,
    *,
    count: int = 200,
    sampling: Sampling | None = None,
    negatives: Negatives | None = None,
    seed: int = 0,
) -> list[Record]:
    """Draw `count` accepted samples by a guidance, pushed away from the `real` records and from each other.

    Raises BudgetError when too much is refused, and ValueError without real records.
    """
    if not real:
        raise ValueError("no real texts came: expected at least one, to show how long a text is and what to avoid")
    generator = Generator(
        pair,
        task,
        tuple(real),
        1.0 * guidance,
        sampling or Sampling(),
        negatives or Negatives(),
        Generation(count=count),
        seed=seed,
    )
    return [sample.record for sample in _accepted(generator.run())]


def convergence(samples: Sequence[Sample], real: Sequence[Record]) -> list[dict[str, float]]:
    """After each round: novelty and coverage, the curves that say whether more samples would still add anything.

    novelty: share of the round's word trigrams that no earlier round had. coverage: share of the real texts' words
    that some accepted sample uses. Both 0 to 1.
    """
    known = {word for record in real for word in record.text.casefold().split()}
    seen: set[tuple[str, ...]] = set()
    used: set[str] = set()
    curve = []
    for number in sorted({sample.round for sample in samples}):
        texts = [s.text.casefold().split() for s in _accepted(samples) if s.round == number]
        trigrams = {tuple(words[i : i + 3]) for words in texts for i in range(len(words) - 2)}
        used |= known & {word for words in texts for word in words}
        if trigrams:
            novelty, coverage = len(trigrams - seen) / len(trigrams), len(used) / max(1, len(known))
            curve.append({"round": number, "novelty": round(novelty, 4), "coverage": round(coverage, 4)})
        seen |= trigrams
    return curve


def converged(curve: Sequence[Mapping[str, float]]) -> bool:
    last = curve[-PATIENCE - 1 :]
    if len(last) <= PATIENCE:
        return False
    return all(max(p[name] for p in last) - min(p[name] for p in last) <= TOLERANCE for name in ("novelty", "coverage"))


def _accepted(samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.verdict == "accepted"]


def _divided(total: int, weights: Mapping[Labels, int]) -> dict[Labels, int]:
    """A whole number in proportion to whole weights: rounded down, and what is left to the largest remainders."""
    whole = sum(weights.values())
    parts = {key: total * weight // whole for key, weight in weights.items()}
    by_remainder = sorted(weights, key=lambda key: (-(total * weights[key] % whole), key))
    for key in by_remainder[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


def _seed(*parts: int) -> int:
    """A seed in [0, 2**63) from (run seed, round, group, index), the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
