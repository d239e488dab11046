"""What a decoding cost, in counts that do not depend on the machine."""

from dataclasses import dataclass


@dataclass
class Tally:
    """computed: lanes times steps. live: those that held a text. full_sorts: tokens for which a row was sorted."""

    computed: int = 0
    live: int = 0
    full_sorts: int = 0

    def add(self, other: "Tally") -> None:
        """Count what another decoding cost too."""
        self.computed += other.computed
        self.live += other.live
        self.full_sorts += other.full_sorts

    @property
    def occupancy(self) -> float:
        """The share of what was computed that served a text, 0 to 1; 1 where nothing was."""
        return self.live / self.computed if self.computed else 1.0
