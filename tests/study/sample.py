"""Small studies made in code, a clock that is set by hand, and a page as a browser reads it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from steer.study.plan import Entry, Pair, Study, TextSet
from steer.study.score.rates import Answers
from steer.study.store import Annotator, Place, Store

# Words that stand on no page by themselves: where one is found, it has leaked.
SETS = ("zircon-set", "basalt-set")
SEED = 918273


def entry(name: str, number: int, text: str = "") -> Entry:
    texts = {
        SETS[0]: f"Do small moons sweep the edge of ring {number}?",
        SETS[1]: f"Is the gas of cloud {number} warmer than its dust?",
    }
    return Entry(set=name, id=f"{name}-entry-{number}", text=text or texts[name])


def study(pairs: int = 6, gold: int = 1, **fields) -> Study:
    """Pairs in earnest, each of a text of either set, and gold pairs."""
    made = [Pair(id=f"zp{i:03}", a=entry(SETS[0], i), b=entry(SETS[1], i)) for i in range(pairs)]
    for i in range(gold):
        better = entry(SETS[0], 100 + i, f"Do old stars near bulge {i} move faster than young ones?")
        worse = entry(SETS[0], 100 + i, f"Faster old do bulge ones {i} move near young stars than?")
        made.append(Pair(id=f"zg{i:03}", a=worse, b=better, better="b"))
    sets = tuple(TextSet(name=name, source="", texts=pairs) for name in SETS)
    return Study(**{"title": "Two texts", "sets": sets, "pairs": tuple(made), "seed": SEED, **fields})


def of_texts(*texts: str, **fields) -> Study:
    """A study whose texts are these, in pairs, and that shows each pair once."""
    made = [
        Pair(id=f"zp{i:03}", a=entry(SETS[0], i, one), b=entry(SETS[1], i, other))
        for i, (one, other) in enumerate(zip(texts[::2], texts[1::2], strict=True))
    ]
    return study(gold=0, repeats=0, **{"pairs": 1} | fields).model_copy(update={"pairs": tuple(made)})


class Clock:
    def __init__(self, at: float = 1_750_000_000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at

    def forward(self, seconds: float) -> None:
        self.at += seconds


def answer(store: Store, annotator: Annotator, chosen: Place = "first") -> bool:
    """Answer what an annotator is asked next; whether it counts."""
    step = store.progress(annotator.number).step
    assert step
    return store.vote(annotator.number, step.number, step.attempt, chosen, 2.0)


def swapped(answers: Answers) -> Answers:
    """The same votes with A called B, and B called A."""
    return Answers(answers.annotators, answers.items, 1 - answers.values)


def bytes_of(folder: Path) -> bytes:
    """Everything that a store has on the disk: the file and its log of what is not yet in it."""
    return b"".join(path.read_bytes() for path in sorted(folder.glob("votes.sqlite*")))


@dataclass
class Form:
    """buttons: what each sends, by the key that presses it."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, str] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return self.fields["token"]


class Page(HTMLParser):
    """forms: by action. words: what can be read on it. raw: as it came."""

    def __init__(self, raw: str) -> None:
        super().__init__()
        self.raw = raw
        self.forms: dict[str, Form] = {}
        self.links: list[str] = []
        self._form: Form | None = None
        self._words: list[str] = []
        self.feed(raw)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = self.forms[given["action"]] = Form(given["action"])
        elif tag == "input" and self._form and given.get("type") == "hidden":
            self._form.fields[given["name"]] = given["value"]
        elif tag == "input" and "readonly" in given:
            self._words.append(given["value"])
        elif tag == "button" and self._form and "value" in given:
            self._form.buttons[given["data-key"]] = given["value"]
        elif tag == "a":
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        self._words.append(data)

    @property
    def words(self) -> str:
        return "".join(self._words)
