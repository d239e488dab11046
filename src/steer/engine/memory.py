"""How many texts can be in flight at once: what they need of a device's memory, and what it has free."""

from collections.abc import Sequence
from dataclasses import dataclass

from steer.engine.contexts import Contexts
from steer.engine.models import Pair
from steer.engine.streams import Flight
from steer.guidance import Guidance

LANES = 32  # a round of 64 refills as many once; 64 gain 15% a step on two cores (LOG.md), and then run empty
SPARE = 0.2  # of the free memory is left to everything else


@dataclass(frozen=True)
class Plan:
    """lanes: texts in flight. needed: bytes beside the weights. free: bytes of the device's memory."""

    lanes: int
    needed: int
    free: int

    def __str__(self) -> str:
        needed, free = self.needed / 2**30, self.free / 2**30
        return f"{self.lanes} texts in flight need {needed:.2f} GiB beside the model, {free:.1f} are free"


def plan(pair: Pair, guidance: Guidance, shown: Sequence[Contexts], room: int, lanes: int | None = None) -> Plan:
    """The lanes for texts of up to `room` tokens: as asked, or up to LANES and as many as fit, at least one."""
    free = pair.base.free_memory()
    chosen = min(lanes or LANES, max(1, len(shown)))
    while True:
        needed = Flight(pair, guidance, shown, chosen, room).nbytes
        if lanes or chosen == 1 or needed <= (1 - SPARE) * free:
            return Plan(chosen, needed, free)
        chosen //= 2
