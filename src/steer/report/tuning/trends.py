"""How a score goes with a dial, from the cells of a grid: up, down, or in no direction that can be told."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from steer.report.answers import joined
from steer.report.comparison.compared import head
from steer.report.comparison.tables import counted
from steer.report.drawing import minus
from steer.report.readings import Reading
from steer.report.tuning.files import Grid, Row
from steer.report.tuning.words import dial

CLEAR = 0.5  # the rank correlation from which on there is a direction

Read = Callable[[Row], Reading]
Direction = Literal["rises", "falls", "leans up", "leans down", "none", "unknown"]
VERBS: dict[Direction, str] = {
    "rises": "rises with {}",
    "falls": "falls with {}",
    "leans up": "leans upwards with {}, though not beyond chance",
    "leans down": "leans downwards with {}, though not beyond chance",
    "none": "has no clear direction over {}",
    "unknown": "was not measured at two values of {}",
}


@dataclass(frozen=True)
class Trend:
    """correlation: Spearman's, of score and dial with the other dials fixed, the mean over `rows` of such cells.

    up, down: in how many rows the intervals at both ends of the dial lie apart, the last one higher, or lower.
    """

    correlation: float = 0.0
    up: int = 0
    down: int = 0
    rows: int = 0

    @property
    def direction(self) -> Direction:
        """It rises or falls where the ends lie apart in half of the rows, and in none the other way."""
        if not self.rows:
            return "unknown"
        if abs(self.correlation) < CLEAR:
            return "none"
        rising = self.correlation > 0
        with_it, against = (self.up, self.down) if rising else (self.down, self.up)
        sure = not against and 2 * with_it >= self.rows
        return ("rises" if rising else "falls") if sure else "leans up" if rising else "leans down"


def trend(grid: Grid, axis: str, read: Read) -> Trend:
    """Rows with fewer than two values say nothing."""
    rows = [row for row in _rows(grid, axis, read) if len(row) > 1]
    if not rows:
        return Trend()
    ends = [(row[0][1], row[-1][1]) for row in rows]
    return Trend(
        # Rounded, lest a half be a little less than half.
        round(float(np.mean([correlation(row) for row in rows])), 9),
        sum(first.interval and last.interval and last.low > first.high for first, last in ends),
        sum(first.interval and last.interval and last.high < first.low for first, last in ends),
        len(rows),
    )


def _rows(grid: Grid, axis: str, read: Read) -> list[list[tuple[float, Reading]]]:
    """By the values of the other dials: the value of this one and the score, ascending, where that is known."""
    here = list(grid.axes).index(axis)
    found = defaultdict(list)
    for at, row in grid.cells.items():
        reading = read(row)
        if reading.known:
            found[at[:here] + at[here + 1 :]].append((at[here], reading))
    return [sorted(row, key=lambda cell: cell[0]) for row in found.values()]


def clipped(score: str, reading: Reading) -> Reading:
    """Below a coin toss there is nothing to be gained, so an AUROC counts as at least 0.5."""
    value, low, high = (counted(score, x) for x in (reading.value, reading.low, reading.high))
    return Reading(value, low, high, reason=reading.reason)


def correlation(row: Sequence[tuple[float, Reading]]) -> float:
    """Spearman's; 0 where all values are one."""
    x, y = _ranks([at for at, _ in row]), _ranks([reading.value for _, reading in row])
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) and np.ptp(y) else 0.0


def _ranks(values: Sequence[float]) -> np.ndarray:
    """Of equal values their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: np.ndarray = np.cumsum(counts) - (counts - 1) / 2
    return means[place]


def of_score(score: str) -> Read:
    return lambda row: clipped(score, row.score(score))


def sentence(who: str, grid: Grid, read: Read) -> str:
    """What is read of each cell over each dial of a grid."""
    return f"{who} {joined([_words(grid, axis, read) for axis in grid.axes])}."


def _words(grid: Grid, axis: str, read: Read) -> str:
    found, name = trend(grid, axis, read), dial(axis)
    said = VERBS[found.direction].format(name)
    if not found.rows:
        return said
    apart, others = found.up + found.down, [other for other in grid.axes if other != axis]
    where = f"values of {dial(others[0])}" if len(others) == 1 else "rows"
    ends = f"lie apart at {apart} of {found.rows} {where}" if others else "lie apart" if apart else "overlap"
    return f"{said} (rank correlation {minus(f'{found.correlation:+.2f}')}; intervals at the ends {ends})"


def reversals(grids: Mapping[str, Grid], score: str) -> list[str]:
    """Where a score rises with a dial in one form, and falls in another."""
    said = []
    for axis in dict.fromkeys(axis for grid in grids.values() for axis in grid.axes):
        ways = {who: trend(grid, axis, of_score(score)).direction for who, grid in grids.items() if axis in grid.axes}
        up, down = (joined([who for who, way in ways.items() if way == side]) for side in ("rises", "falls"))
        if up and down:
            said.append(f"Over {dial(axis)} the forms part: {head(score)} rises {up}, and falls {down}.")
    return said
