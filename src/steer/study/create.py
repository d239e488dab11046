"""A study from sets of texts: which pairs are shown.

    read the sets -> match -> draw pairs of each comparison -> gold pairs for attention

The same sets, options and seed give the same study.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

from steer.config import UsageError
from steer.progress import say
from steer.records import Record
from steer.rows import located_rows, nearest
from steer.similarity import normalise
from steer.study.plan import FILE, Entry, Pair, Question, Side, Study
from steer.study.sources import Source, matched
from steer.study.store import FILE as VOTES
from steer.study.store import Store

RIVALS = ("nucleus", "baseline", "plain")  # what other sets are held against, where one of them has such a name
FEWEST_WORDS = 5  # of a text that is scrambled


def comparisons(names: Sequence[str], against: str | None = None) -> list[tuple[str, str]]:
    """Which sets are held against which: each against one, or, where there is none, each against each.

    Raises UsageError where `against` is none of the names.
    """
    if against is not None and against not in names:
        known = ", ".join(names)
        raise UsageError(f"--against {against}: there is no such set among {known}.{nearest(against, names)}")
    rival = against or next((name for name in RIVALS if name in names), None)
    return [(name, rival) for name in names if name != rival] if rival else list(combinations(names, 2))


def create(
    sources: Sequence[Source],
    title: str,
    pairs: int = 30,
    against: str | None = None,
    match: Sequence[str] = (),
    gold: int | Path = 2,
    seed: int = 0,
    **asked: Any,
) -> Study:
    """A study of `pairs` pairs for each comparison. asked: fields of `Study`, such as questions and ties.

    The texts of a pair have the same values in the columns `match` (`steer.study.sources.matched`), of which each has
    as many pairs as another while there are texts; a text is shown in one pair of a comparison. gold: how many gold
    pairs, of a text and its words in another order, or a file of them with columns `better` and `worse`.
    Raises ValueError where a comparison has no two texts that match.
    """
    random, columns = Random(f"study {seed}"), matched(sources, match)
    by_name = {source.set.name: source for source in sources}
    for one, other in combinations(sources, 2):
        if {normalise(r.text) for r in one.records} == {normalise(r.text) for r in other.records}:
            say(f"warning: {one.set.name} and {other.set.name} hold the same texts")
    made: list[Pair] = []
    # A text that is met again gives itself away as of the set that all others are held against.
    used: Counter[tuple[str, str]] = Counter()
    for first, second in comparisons(list(by_name), against):
        drawn = _pairs(by_name[first], by_name[second], columns, pairs, random, used)
        if not drawn:
            by = f" in {', '.join(columns)}" if columns else ""
            raise ValueError(f"{first} and {second} have no two texts that match{by} and differ")
        if len(drawn) < pairs:
            say(f"{first} and {second}: {len(drawn)} pairs, since there are no more texts that match")
        made += [one.model_copy(update={"id": f"p{len(made) + i:04}"}) for i, one in enumerate(drawn, 1)]
    for name in sorted({name for (name, _), count in used.items() if count > 1}):
        say(f"{name} has fewer texts than it stands in pairs: some are shown in several, which tells whose they are")
    golden = _scrambled(sources, gold, random, used) if isinstance(gold, int) else _gold(gold)
    sets = tuple(source.set for source in sources)
    return Study(title=title, seed=seed, sets=sets, pairs=(*made, *golden), **asked)


def questions(given: Sequence[str]) -> dict[str, Any]:
    """["funny=Which is funnier?", ...] -> the field of `Study`; none for none. Raises UsageError."""
    made: list[Question] = []
    for one in given:
        name, _, asks = one.partition("=")
        if not (re.fullmatch(r"[\w-]+", name) and asks.strip()):
            raise UsageError(f"--question {one!r}: expected NAME=TEXT, as in 'funny=Which is funnier?'")
        if name in [other.name for other in made]:
            raise UsageError(f"--question {name!r} came twice: give each question a name of its own")
        made.append(Question(name=name, asks=asks.strip()))
    return {"questions": tuple(made)} if made else {}


def write(study: Study, folder: Path) -> Path:
    """Write study.json. Raises ValueError where the folder holds another study that has begun: one that a judge has
    answered, or, as `Store` tells, somebody has joined."""
    judged = (folder / "judges").exists()
    if judged and (folder / FILE).is_file() and Study.read(folder).digest != study.digest:
        raise UsageError(f"{folder} holds another study, which has begun: choose another --out")
    if (folder / VOTES).exists():
        Store(folder, study).close()
    return study.write(folder)


def gold_of(given: str) -> int | Path:
    """A number, or a file. Raises UsageError for what is neither."""
    if re.fullmatch(r"\d+", given):
        return int(given)
    if not Path(given).is_file():
        raise UsageError(f"--gold {given}: expected a number, or a file with columns better and worse")
    return Path(given)


def _pairs(
    a: Source, b: Source, columns: Sequence[str], count: int, random: Random, used: Counter[tuple[str, str]]
) -> list[Pair]:
    """used: how often each text of a set stands in a pair already; those that stand in the fewest come first."""
    sides = [_by_value(source, columns, random, used) for source in (a, b)]
    values = sorted(sides[0].keys() & sides[1].keys())
    random.shuffle(values)
    queues = {value: _couples(sides[0][value], sides[1][value]) for value in values}
    made: list[Pair] = []
    while queues and len(made) < count:
        for value in list(queues):
            couple = next(queues[value], None)
            if couple is None:
                del queues[value]
            elif len(made) < count:
                entries = [
                    Entry(set=source.set.name, id=record.id, text=record.text)
                    for source, record in zip((a, b), couple, strict=True)
                ]
                match = dict(zip(columns, value, strict=True))
                used.update((entry.set, normalise(entry.text)) for entry in entries)
                made.append(Pair(id=f"{len(made)}", a=entries[0], b=entries[1], match=match))
    return made


def _by_value(
    source: Source, columns: Sequence[str], random: Random, used: Counter[tuple[str, str]]
) -> Mapping[tuple[str, ...], list[Record]]:
    """The distinct texts by their values in the columns, in an order of chance."""
    found: defaultdict[tuple[str, ...], list[Record]] = defaultdict(list)
    seen = set()
    for record in source.records:
        if record.text.strip() and (key := normalise(record.text)) not in seen:
            seen.add(key)
            found[tuple(record.fields.get(name, "") for name in columns)].append(record)
    for some in found.values():
        random.shuffle(some)
        some.sort(key=lambda record: used[source.set.name, normalise(record.text)])
    return found


def _couples(first: Sequence[Record], second: Sequence[Record]) -> Iterator[tuple[Record, Record]]:
    """One of each, all of them once, never the same text twice."""
    left = list(second)
    for one in first:
        other = next((record for record in left if normalise(record.text) != normalise(one.text)), None)
        if other is not None:
            left.remove(other)
            yield one, other


def _scrambled(sources: Sequence[Source], count: int, random: Random, used: Counter[tuple[str, str]]) -> list[Pair]:
    """Of so many texts each against its own words in another order, which is neither plausible nor a creation."""
    long = [(s.set.name, r) for s in sources for r in s.records if len(set(r.text.split())) >= FEWEST_WORDS]
    random.shuffle(long)
    long.sort(key=lambda one: used[one[0], normalise(one[1].text)])
    made: list[Pair] = []
    for i, (name, record) in enumerate(long[:count], 1):
        words = record.text.split()
        while words == record.text.split():
            random.shuffle(words)
        texts = [record.text, " ".join(words)]
        made.append(_golden(f"g{i}", (name, name), (record.id, f"{record.id}, scrambled"), texts, random))
    if len(made) < count:
        say(f"{len(made)} of {count} gold pairs: too few texts of {FEWEST_WORDS} words or more")
    return made


def _gold(path: Path) -> list[Pair]:
    random = Random(path.name)
    made: list[Pair] = []
    for place, row in located_rows(str(path), None, None):
        texts = [row.get("better"), row.get("worse")]
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError(f'{path} {place}: expected texts in the columns "better" and "worse"')
        made.append(_golden(f"g{len(made) + 1}", (path.name, path.name), (place, place), list(map(str, texts)), random))
    return made


def _golden(id: str, sets: tuple[str, str], ids: tuple[str, str], texts: Sequence[str], random: Random) -> Pair:
    """texts: the better and the worse one. Which of them is `a` says nothing."""
    entries = [Entry(set=sets[i], id=ids[i], text=texts[i]) for i in (0, 1)]
    better: Side = random.choice(["a", "b"])
    first, second = entries if better == "a" else reversed(entries)
    return Pair(id=id, a=first, b=second, better=better)
