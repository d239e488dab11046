"""How often does the interval of a preference rate miss the true rate, and its test cry wolf?

    python benchmarks/study_coverage.py [--studies 2000] [--conditions "crossed; few"] [--out FILE]

Studies are simulated of which the true rate is known: each annotator and each item has an effect of its own on the
logit of the chance that A is preferred, or each annotator a rate from a beta distribution. Every study draws other
annotators and other items. Of 95% intervals 5% should miss, and of tests at a rate of 0.5 5% should reject. Beside
`preference`, the Wilson interval and the z-test that take all votes for independent.

Prints a table, and writes benchmarks/results/study-coverage.json.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from steer.study.score.bootstrap import preference
from steer.study.score.rates import Answers, wilson, z_test

RESULT = Path(__file__).parent / "results" / "study-coverage.json"
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True)
class Condition:
    """What is true, and who votes on what.

    annotator_sd, item_sd: of their effects, in logits. spread_rates: annotators' rates are beta-distributed instead,
        with this as standard deviation.
    per_item: annotators who see an item, chosen by chance; all, if not given. uneven: how much likelier some of them
        are chosen than others, in logits from the least to the most busy.
    """

    annotators: int
    items: int
    rate: float = 0.5
    annotator_sd: float = 0.8
    item_sd: float = 0.8
    ties: float = 0.0
    per_item: int | None = None
    uneven: float = 0.0
    spread_rates: float = 0.0


CROSSED = Condition(8, 30)
CONDITIONS = {
    "crossed": CROSSED,
    "crossed, rate .6, ties": replace(CROSSED, rate=0.6, ties=0.2),
    "crossed, rate .85": replace(CROSSED, rate=0.85),
    "little variance": replace(CROSSED, annotator_sd=0.4, item_sd=0.4),
    "much variance": replace(CROSSED, annotator_sd=1.2, item_sd=1.2),
    "annotators alike": replace(CROSSED, annotator_sd=0.0),
    "items alike": replace(CROSSED, item_sd=0.0),
    "all alike": replace(CROSSED, annotator_sd=0.0, item_sd=0.0),
    "beta annotators": replace(CROSSED, annotator_sd=0.0, item_sd=0.0, spread_rates=0.2),
    "beta annotators, rate .6": replace(CROSSED, rate=0.6, annotator_sd=0.0, item_sd=0.0, spread_rates=0.2),
    "few": Condition(5, 40),
    "few, rate .6": Condition(5, 40, rate=0.6),
    "three": Condition(3, 40),
    "incomplete": Condition(12, 25, per_item=6),
    "incomplete, rate .6": Condition(12, 25, rate=0.6, per_item=6),
    "sparse": Condition(12, 25, per_item=3),
    "uneven": Condition(12, 40, per_item=4, uneven=2.5),
    "uneven, rate .6": Condition(12, 40, rate=0.6, per_item=4, uneven=2.5),
    "many": Condition(30, 100, per_item=5),
}


def simulator(of: Condition) -> Callable[[np.random.Generator], Answers]:
    """Draws studies whose expected rate is that of the condition, over annotators and items."""
    wins = (of.rate - of.ties / 2) / (1 - of.ties)
    middle = _middle(wins, float(np.hypot(of.annotator_sd, of.item_sd)))
    shape = wins * (1 - wins) / of.spread_rates**2 - 1 if of.spread_rates else 0.0
    busy = np.linspace(0, of.uneven, of.annotators)[:, None]

    def draw(rng: np.random.Generator) -> Answers:
        size = (of.annotators, of.items)
        effects = of.annotator_sd * rng.normal(size=(size[0], 1)) + of.item_sd * rng.normal(size=(1, size[1]))
        chance = expit(middle + effects)
        if shape:
            chance = np.broadcast_to(rng.beta(wins * shape, (1 - wins) * shape, size=(size[0], 1)), size)
        values = np.where(rng.random(size) < of.ties, 0.5, rng.random(size) < chance)
        # The largest of Gumbel noise added to logits are a draw without replacement (Vieira 2014).
        order = np.argsort(-(busy + rng.gumbel(size=size)), axis=0)
        seen = np.argsort(order, axis=0) < (of.per_item or of.annotators)
        annotators, items = np.nonzero(seen)
        return Answers(annotators, items, values[seen])

    return draw


def _middle(rate: float, sd: float) -> float:
    """The m at which sigmoid(m + sd z) is on average the rate, z being standard normal."""

    def excess(m: float) -> float:
        return float(WEIGHTS @ expit(m + sd * NODES) / WEIGHTS.sum() - rate)

    return float(brentq(excess, -50, 50))


def measured(of: Condition, studies: int) -> dict[str, float | None]:
    """Shares of studies whose 95% interval misses the rate, and whose test at 5% rejects a null that is true."""
    draw, rng = simulator(of), np.random.default_rng(0)
    found: NDArray[np.float64] = np.empty((studies, 5))
    for row in found:
        answers = draw(rng)
        made, wins, n = preference(answers), float(answers.values.sum()), len(answers)
        low, high = wilson(wins, n)
        row[:] = (
            not made.rate.low <= of.rate <= made.rate.high,
            not low <= of.rate <= high,
            made.rate.p < 0.05,
            z_test(wins, n) < 0.05,
            made.rate.high - made.rate.low,
        )
    names = ("misses", "naive_misses", "rejects", "naive_rejects", "width")
    shares: dict[str, float | None] = {name: round(float(x), 4) for name, x in zip(names, found.mean(0), strict=True)}
    return shares if of.rate == 0.5 else {**shares, "rejects": None, "naive_rejects": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--conditions", help="names, joined by ';'; all if not given")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    names = [name.strip() for name in arguments.conditions.split(";")] if arguments.conditions else list(CONDITIONS)
    unknown = [name for name in names if name not in CONDITIONS]
    if unknown:
        parser.error(f"no conditions called {', '.join(unknown)}: there are {'; '.join(CONDITIONS)}")
    print("| condition | missed | naive: missed | rejected | naive: rejected |\n|---|---:|---:|---:|---:|")
    rows: dict[str, dict[str, Any]] = {}
    started = time.perf_counter()
    for name in names:
        rows[name] = shares = {**asdict(CONDITIONS[name]), **measured(CONDITIONS[name], arguments.studies)}
        cells = (shares[of] for of in ("misses", "naive_misses", "rejects", "naive_rejects"))
        print(f"| {name} | " + " | ".join("" if x is None else f"{x:.1%}" for x in cells) + " |", flush=True)
    seconds = time.perf_counter() - started
    result = {
        "studies": arguments.studies,
        "seconds": round(seconds, 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "conditions": rows,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
