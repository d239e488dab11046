"""More data or more steering? The verdict of a comparison over training sizes.

Steering is judged at each size by the test against plain nucleus sampling. Two sizes are told apart only where their
intervals do not overlap, which takes more than a difference beyond chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steer.report.answers import Answer, joined
from steer.report.comparison.compared import NUCLEUS, Compared, Row, Standing
from steer.report.comparison.tables import counted
from steer.report.comparison.verdict import (
    DIVERSITY,
    FIDELITY,
    QUESTIONS,
    UNITS,
    Sentence,
    apart,
    asked,
    predicates,
)
from steer.report.readings import percent, two

# They hold texts against the training texts, of which an adapter of a smaller size has seen a part only.
UNSEEN = ("copied_share", "authenticity", "calibrated_authenticity", "membership_auroc")
BY_INTERVALS = "Sizes are told apart only where their 95% intervals do not overlap."
LEFT_ASIDE = (
    "Scores of authenticity are left out here: they would hold the texts against training texts that the models of the "
    "smaller sizes never saw."
)


@dataclass(frozen=True)
class Growth:
    """A score over the training sizes.

    data: how plain sampling from the most texts stands to that from the fewest. steering: by size, how STEER stands to
    plain sampling, without those where there is no test of it.
    """

    name: str
    data: Standing
    steering: Mapping[int, Standing]

    def at(self, side: Standing) -> list[int]:
        return [size for size, one in self.steering.items() if one == side]

    @property
    def reply(self) -> str:
        if not self.steering and self.data == "unknown":
            return "It cannot be said"
        helps = [*(["data"] if self.data == "better" else [])]
        helps += ["steering"] if self.at("better") and not self.at("worse") else []
        return f"More {joined(helps)}" if helps else "Neither, at these sizes"


def growths(found: Compared) -> list[Growth]:
    """Of the scores that stand for the questions, downstream accuracy first."""
    names = found.known(fair(found, asked(found)))
    return [_growth(found, name) for name in sorted(names, key=lambda name: name != "downstream_accuracy")]


def fair(found: Compared, names: Sequence[str]) -> list[str]:
    """Without the scores that would be unfair to training sizes, where these are what is compared."""
    return [name for name in names if not found.sizes or name.partition("[")[0] not in UNSEEN]


def by_size(found: Compared, steered: bool) -> dict[int, Row]:
    """Training size -> the row of STEER, or of plain nucleus sampling; ascending."""
    rows = {row.train_size: row for row in found.compared if (row.family == "steer") == steered}
    return {size: rows[size] for size in found.sizes if size in rows}


def _growth(found: Compared, name: str) -> Growth:
    standings = {size: found.standing(row, name, "nucleus") for size, row in by_size(found, True).items()}
    tested = {size: one for size, one in standings.items() if one != "unknown"}
    rows = list(by_size(found, False).values())
    return Growth(name, beside(found, name, rows[-1], rows[0]) if len(rows) > 1 else "unknown", tested)


def beside(found: Compared, name: str, row: Row, other: Row) -> Standing:
    """How a row stands to one from other texts, by intervals that lie apart."""
    mine, theirs = row.score(name), other.score(name)
    if not (mine.interval and theirs.interval):
        return "unknown"
    if not apart(mine, theirs):
        return "alike"
    above = counted(name, mine.value) > counted(name, theirs.value)
    return "better" if above == found.about[name].higher else "worse"


def growth_verdict(found: Compared) -> list[Sentence]:
    every = growths(found)
    if not every or len(found.sizes) < 2:
        return [Sentence("More data or more steering? It takes two training sizes, and scores of both, to tell.")]
    small, large = found.sizes[0], found.sizes[-1]
    said = [
        Sentence(
            f"More data ({large:,} training texts, not {small:,}): {NUCLEUS} {_told({e.name: e.data for e in every})}."
        ),
        Sentence(f"More steering (the same training texts): {_steering(every)}."),
    ]
    steered, plain = by_size(found, True).get(small), by_size(found, False).get(large)
    if steered and plain:
        told = _told({one.name: beside(found, one.name, steered, plain) for one in every})
        said.append(Sentence(f"STEER from {small:,} training texts, beside {NUCLEUS} from {large:,}: it {told}."))
    every_score = list(found.about)
    aside = found.known(every_score) != found.known(fair(found, every_score))
    return [*said, Sentence(BY_INTERVALS), *[Sentence(LEFT_ASIDE)] * aside]


def _told(standings: Mapping[str, Standing]) -> str:
    """A predicate."""
    by = {side: [QUESTIONS[name] for name, one in standings.items() if one == side] for side in standings.values()}
    good, bad = predicates(by.get("better", []), "more", "better"), predicates(by.get("worse", []), "less", "worse")
    said = [f"is {', but '.join(filter(None, [good, bad]))}"] if good or bad else []
    said += [f"shows no difference in {joined(by['alike'])}"] if "alike" in by else []
    said += [f"cannot be judged in {joined(by['unknown'])}"] if "unknown" in by else []
    return joined(said)


def _steering(every: Sequence[Growth]) -> str:
    differs = [f"STEER is {_sides(one)}" for one in every if one.at("better") or one.at("worse")]
    alike = [QUESTIONS[one.name] for one in every if one.steering and not (one.at("better") or one.at("worse"))]
    if alike:
        differs.append(f"in {joined(alike)} it cannot be told apart from {NUCLEUS} at any size")
    return "; ".join(differs) or "nothing was tested"


def _sides(one: Growth) -> str:
    question = [QUESTIONS[one.name]]
    good = [f"{predicates(question, 'more', 'better')} at {_sizes(one, 'better')}"] * bool(one.at("better"))
    bad = [f"{predicates(question, 'less', 'worse')} at {_sizes(one, 'worse')}"] * bool(one.at("worse"))
    return joined([*good, *bad])


def _sizes(one: Growth, side: Standing) -> str:
    at = one.at(side)
    return "every size" if len(at) == len(one.steering) > 1 else f"{joined([f'{size:,}' for size in at])} texts"


def growth_cards(found: Compared) -> list[Answer]:
    return [_card(found, one) for one in growths(found)]


def _card(found: Compared, one: Growth) -> Answer:
    form = two if one.name in (DIVERSITY, FIDELITY) else percent
    plain, steered = by_size(found, False), by_size(found, True)

    def value(rows: dict[int, Row], size: int) -> str:
        known = size in rows and rows[size].score(one.name).known
        return form(rows[size].score(one.name).value) if known else "none"

    largest = found.sizes[-1]
    data = {"alike": "no difference can be seen", "unknown": "it cannot be said"}
    sides = _sides(one) or ("it cannot be told apart at any size" if one.steering else "it cannot be said")
    return Answer(
        QUESTIONS[one.name].capitalize(),
        "",
        one.reply,
        value(steered, largest),
        f"STEER at {largest:,} training texts; {UNITS[one.name]}",
        [(f"{size:,} texts", f"STEER {value(steered, size)}, nucleus {value(plain, size)}") for size in found.sizes],
        [f"More data: {data.get(one.data) or f'{NUCLEUS} {_told({one.name: one.data})}'}.", f"Steering: {sides}."],
    )
