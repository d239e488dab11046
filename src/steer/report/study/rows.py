"""How often one set is preferred to another, as scores.json has it: NaN for null."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any, Literal

from steer.report.readings import ALARM

EACH = ALARM / 2  # of either test, since a false alarm may come from both
# How the first set stands to the second: only what is beyond chance counts. "unknown": there is no test of it.
Standing = Literal["more", "less", "alike", "unknown"]
Sets = tuple[str, str]


@dataclass(frozen=True)
class Interval:
    """A value and its interval; NaN where undefined, with the reason."""

    value: float = nan
    low: float = nan
    high: float = nan
    reason: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any] | None) -> "Interval":
        row = row or {"reason": "not measured"}
        value, low, high = (number(row.get(key)) for key in ("value", "low", "high"))
        return cls(value, low, high, row.get("reason") or "")

    @property
    def known(self) -> bool:
        return not isnan(self.value)

    @property
    def ends(self) -> bool:
        """Whether it has both."""
        return not (isnan(self.value) or isnan(self.low) or isnan(self.high))

    def apart(self, other: "Interval") -> bool:
        """Whether the two do not overlap."""
        return self.ends and other.ends and (self.low > other.high or self.high < other.low)


@dataclass(frozen=True)
class Row:
    """How often a group prefers the texts of `a` to those of `b`.

    adjusted: the p of the null that the rate is one half or less, corrected over all comparisons of this question and
    group; less: the same of the null that it is one half or more. naive, z_p, binomial_p: as if all votes were
    independent. holds_for: "annotators" and "items", where the interval holds for others of these.
    """

    a: str
    b: str
    question: str
    group: str
    rate: Interval
    wins: int = 0
    ties: int = 0
    losses: int = 0
    undecided: int = 0
    annotators: int = 0
    pairs: int = 0
    longer: float = nan
    holds_for: tuple[str, ...] = ()
    design_effect: float = nan
    p: float = nan
    adjusted: float = nan
    less: float = nan
    stars: str = ""
    naive: Interval = Interval()
    z_p: float = nan
    binomial_p: float = nan
    agreement: Mapping[str, Interval] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Row":
        naive, agreement = row.get("naive") or {}, row.get("agreement") or {}
        rate = Interval.of(row.get("win_rate"))
        plain: dict[str, Any] = {key: str(row[key]) for key in ("a", "b", "question", "group")}
        plain |= {key: row.get(key) or 0 for key in ("wins", "ties", "losses", "undecided", "annotators", "pairs")}
        plain |= {key: number(row.get(key)) for key in ("longer", "design_effect", "p")}
        return cls(
            **plain,
            rate=rate,
            holds_for=tuple(row.get("holds_for") or ()),
            adjusted=number(row.get("adjusted_p")),
            less=number(row.get("adjusted_p_less")),
            stars=row.get("stars") or "",
            naive=Interval(rate.value, number(naive.get("low")), number(naive.get("high"))),
            z_p=number(naive.get("z_p")),
            binomial_p=number(naive.get("binomial_p")),
            agreement={name: Interval.of(one) for name, one in agreement.items()},
        )

    @property
    def sets(self) -> Sets:
        return self.a, self.b

    @property
    def votes(self) -> int:
        return self.wins + self.ties + self.losses

    @property
    def standing(self) -> Standing:
        if isnan(self.adjusted) or not self.rate.known:
            return "unknown"
        return "more" if self.adjusted < EACH else "less" if self.less < EACH else "alike"

    @property
    def down(self) -> bool:
        """What a star is, for the other side: of one test alone, as in the paper, where a standing is of two."""
        return self.less < ALARM

    @property
    def shown_p(self) -> float:
        """Of the side on which the rate lies."""
        return self.less if self.rate.value < 0.5 else self.adjusted


def number(value: Any) -> float:
    """NaN for what is none."""
    return float(value) if isinstance(value, int | float) else nan
