"""Who draws what: units of work that wait, are held by a worker, or are done. It knows no clock and no network.

A unit is a group of texts, and what it comes to depends on nothing but the unit. So it may be handed out again whenever
a worker is lost or late, and only the first answer counts: at least once, without doubles.
"""

from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

SHARE = 0.75  # of its part of a large round a worker takes so much at once
Worker = TypeVar("Worker", bound=Hashable)


@dataclass(frozen=True)
class Unit:
    """Texts that are drawn together. id: the same for the same texts, in every process."""

    id: str
    size: int


@dataclass
class Board(Generic[Worker]):
    """lanes: how many texts a worker draws at once."""

    lanes: int
    waiting: dict[str, Unit] = field(default_factory=dict)  # in the order in which they are handed out
    held: dict[Worker, dict[str, Unit]] = field(default_factory=dict)

    def post(self, units: Iterable[Unit]) -> None:
        """Add what is to be drawn."""
        self.waiting |= {unit.id: unit for unit in units}

    def deal(self, idle: Sequence[Worker], workers: int) -> dict[Worker, list[Unit]]:
        """What each idle worker, out of so many, is to draw now.

        A round that fills all lanes no more than twice is shared at once. Of a larger one each takes most of its share,
        as it fills its own lanes again while they last; the rest goes in full lanes to whoever is done. Smaller parcels
        would end together, but take as many steps as full ones (benchmarks/rounds.py).
        """
        if not idle:
            return {}
        whole = len(idle) == workers and self._texts() <= 2 * self.lanes * workers
        most = max(self.lanes, round(SHARE * self._texts() / workers))
        return {
            worker: parcel
            for i, worker in enumerate(idle)
            if (parcel := self._take(worker, -(-self._texts() // (len(idle) - i)) if whole else most))
        }

    def copy(self, idle: Worker, late: Collection[Worker]) -> list[Unit]:
        """What an idle worker draws too, as only late ones hold it (a backup task, Dean and Ghemawat 2004)."""
        in_time = {unit_id for worker, units in self.held.items() if worker not in late for unit_id in units}
        held = (self.held.get(worker, {}) for worker in late)
        parcel = next((left for units in held if (left := {i: u for i, u in units.items() if i not in in_time})), {})
        if parcel:
            self.held[idle] = dict(parcel)
        return list(parcel.values())

    def done(self, worker: Worker, units: Iterable[str]) -> list[str]:
        """A worker's answer: the units of it that were still open, which nobody has to draw any more."""
        first = [unit_id for unit_id in units if self._open(unit_id)]
        self.held.pop(worker, None)
        self.drop(first)
        return first

    def lost(self, worker: Worker) -> list[Unit]:
        """A worker is gone: what nobody else holds waits again, before everything else."""
        units = self.held.pop(worker, {})
        orphans = {unit_id: unit for unit_id, unit in units.items() if not self._open(unit_id)}
        self.waiting = {**orphans, **self.waiting}
        return list(orphans.values())

    def drop(self, units: Collection[str]) -> None:
        """These need no answer any more."""
        for unit_id in units:
            self.waiting.pop(unit_id, None)
            for parcel in self.held.values():
                parcel.pop(unit_id, None)

    def _open(self, unit_id: str) -> bool:
        return unit_id in self.waiting or any(unit_id in units for units in self.held.values())

    def _texts(self) -> int:
        return sum(unit.size for unit in self.waiting.values())

    def _take(self, worker: Worker, texts: int) -> list[Unit]:
        """Whole units of at most so many texts, at least one unit."""
        parcel: list[Unit] = []
        for unit in self.waiting.values():
            if parcel and sum(one.size for one in parcel) + unit.size > texts:
                break
            parcel.append(unit)
        for unit in parcel:
            del self.waiting[unit.id]
        if parcel:
            self.held[worker] = {unit.id: unit for unit in parcel}
        return parcel
