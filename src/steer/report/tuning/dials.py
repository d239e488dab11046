"""Scores over one dial at a time, as in figure 4 of the STEER paper (arXiv:2308.07645)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan

from steer.report.comparison.compared import head
from steer.report.comparison.pictures import slug
from steer.report.drawing import Figure, short
from steer.report.kinds import kind
from steer.report.pictures import Picture
from steer.report.readings import Reading, two
from steer.report.tradeoffs import Score, Spot, dials
from steer.report.tuning.files import Grid, Row, Tuned
from steer.report.tuning.texts import GRID, Links
from steer.report.tuning.trends import Read, clipped, of_score, sentence
from steer.report.tuning.words import capitalised, dial, in_full, plural

DIVERSITY, AUROC, MAUVE = "ngram_diversity", "adversarial_auroc", "mauve"
# Of fidelity the first that is measured counts in the sum.
MEASURES = {"diversity": DIVERSITY, "fidelity": AUROC, "fidelity by MAUVE": MAUVE}
CLIPPED = " An AUROC below 0.5, a coin toss, counts as 0.5."
MAPPED = " Fidelity is 2 · (1 − AUROC): 1 at a coin toss (an AUROC of 0.5 or below), 0 where every text is told."


@dataclass(frozen=True)
class Told:
    """A picture and what it shows, in words. first: one of those to see first."""

    picture: Picture
    sentences: list[str]
    first: bool = True


def sweep_pictures(tuned: Tuned, links: Links) -> list[Told]:
    return [sweep_picture(axis, grid, links, axis) for axis, grid in tuned.sweeps.items()]


def sweep_picture(axis: str, grid: Grid, links: Links, file: str) -> Told:
    """Diversity and fidelity over a dial, and where their sum is greatest. file: the name of that of its texts."""
    reads = {name: scaled(score) for name, score in MEASURES.items() if score in grid.scores}
    curves = {
        name: [_spot(at, row, read(row), links.link(file, row.point)) for (at,), row in grid.cells.items()]
        for name, read in reads.items()
    }
    best, value = greatest(curves)
    made = dials(f"Over {dial(axis)}", dial(axis), curves, best, "from 0 to 1, higher is better")
    said = [*_fixed(grid, axis), *(sentence(capitalised(name), grid, read) for name, read in reads.items())]
    if best is not None:
        of = f"of {plural(len(grid.cells), 'value')} the best, and so flattered by chance"
        said.append(f"Diversity and fidelity add up to most at {dial(axis)} {short(best)} ({two(value)}): {of}.")
    figure = replace(made, caption=made.caption + MAPPED * (AUROC in grid.scores))
    return Told(Picture(slug(f"grid-{axis}" if file == GRID else f"dial-{axis}"), figure), said)


def single_picture(tuned: Tuned, axis: str, grid: Grid, score: str, links: Links) -> Told:
    """One score over a dial, on a scale of its own."""
    how = score_of(tuned, score)
    spots = [
        _spot(at, row, clipped(score, row.score(score)), links.link(GRID, row.point))
        for (at,), row in grid.cells.items()
    ]
    made = dials(f"{capitalised(how.name)} over {dial(axis)}", dial(axis), {how.name: spots}, y_name=how.words)
    picture = Picture(slug(f"grid-{score}"), explained(made, score))
    return Told(picture, [sentence(capitalised(how.name), grid, of_score(score))], first=False)


def greatest(curves: Mapping[str, Sequence[Spot]]) -> tuple[float | None, float]:
    """The value of the dial at which diversity and fidelity add up to most, and the sum; None where one is missing."""
    fidelity = next((name for name in curves if name != "diversity"), "")
    first, second = ({s.x: s.y for s in curves.get(name, ())} for name in ("diversity", fidelity))
    sums = {x: total for x, y in first.items() if not isnan(total := y + second.get(x, nan))}
    best = max(sums, key=lambda x: sums[x], default=None)
    return best, nan if best is None else sums[best]


def score_of(tuned: Tuned, name: str) -> Score:
    return Score(head(name), tuned.higher(name))


def explained(figure: Figure, score: str) -> Figure:
    return replace(figure, caption=figure.caption + CLIPPED) if kind(score).best == "half" else figure


def scaled(score: str) -> Read:
    """In [0, 1], higher is better: an AUROC by how near it is to a coin toss."""
    return of_score(score) if score != AUROC else _fidelity


def _fidelity(row: Row) -> Reading:
    one = clipped(AUROC, row.score(AUROC))
    return Reading(2 * (1 - one.value), 2 * (1 - one.high), 2 * (1 - one.low), reason=one.reason)


def _spot(at: float, row: Row, reading: Reading, link: str | None) -> Spot:
    return Spot(at, reading.value, y_low=reading.low, y_high=reading.high, words=row.reason, link=link)


def _fixed(grid: Grid, axis: str) -> list[str]:
    """What the other dials were, if that is known."""
    points = [row.point for row in grid.cells.values()]
    same = {
        name: value
        for name, value in (points[0] if points else {}).items()
        if name != axis and all(point.get(name) == value for point in points)
    }
    return [f"Held still: {in_full(same)}."] if same else []
