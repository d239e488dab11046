"""What a run refused: how many texts each gate stopped, and some of them beside what they copy."""

from dataclasses import dataclass

from steer.report.stored import Stored
from steer.report.texts import Side, refusal, spread

SHOWN = 3
GATES = {
    "malformed": ("Malformed", "empty, cut off before its end, or with broken characters"),
    "unreadable": ("Out of form", "does not read back by the template of an example"),
    "copy": ("Copy", "too like a real text"),
    "duplicate": ("Duplicate", "too like a synthetic text accepted before it"),
}


@dataclass(frozen=True)
class Gate:
    """A gate's counts; a bar's width is in percent of the widest, None where the decoder drew nothing."""

    name: str
    about: str
    steer: tuple[int, str, float] | None
    nucleus: tuple[int, str, float] | None
    examples: list[Side]


@dataclass(frozen=True)
class RefusedView:
    gates: list[Gate]
    drawn: dict[str, int]
    accepted: dict[str, int]
    surplus: dict[str, int]
    listed: bool


def refused_view(stored: Stored) -> RefusedView | None:
    drawn = stored.drawn
    if not drawn:
        return None
    totals = {decoder: sum(counts.values()) for decoder, counts in drawn.items()}
    shares = [n / totals[d] for d, counts in drawn.items() for v, n in counts.items() if v in GATES and n]
    widest = max(shares, default=1.0)

    def bar(decoder: str, verdict: str) -> tuple[int, str, float] | None:
        if decoder not in drawn:
            return None
        n, share = drawn[decoder].get(verdict, 0), drawn[decoder].get(verdict, 0) / max(1, totals[decoder])
        return n, f"{share:.0%}" if share >= 0.1 or not share else f"{share:.1%}", round(100 * share / widest, 2)

    gates = []
    for verdict, (name, about) in GATES.items():
        rows = [row for row in stored.rejected or [] if row["verdict"] == verdict]
        # The likest first: they show how far a refusal goes.
        rows.sort(key=lambda row: (-(row["similarity"] or 0), row["id"]))
        examples = [refusal(row) for row in spread(rows, SHOWN)]
        gates.append(Gate(name, about, bar("steer", verdict), bar("nucleus", verdict), examples))
    return RefusedView(
        gates=gates,
        drawn=totals,
        accepted={decoder: counts.get("accepted", 0) for decoder, counts in drawn.items()},
        surplus={decoder: counts.get("surplus", 0) for decoder, counts in drawn.items()},
        listed=stored.rejected is not None,
    )
