"""Which dials, turned how far? A search on the validation split, confirmed on fresh samples, and one look at the test.

    trials = search(measuring, plan, store)  # points of γ, η, temperature, ...: killed or shared, it goes on
    found = conclude(measuring, plan, store)  # store/tune.json
    found.recommended.point

What draws the texts and measures them is given (`Bench`); what is decided here is where to look next, when to stop
looking at a point, what was chance, and what to recommend.
"""

from steer.tune.conclusion import conclude, concluded
from steer.tune.dials import DIALS, Dial, Point, is_plain
from steer.tune.plan import TEMPERATURES, WANT, Bench, Part, Plan, State, Trial
from steer.tune.result import Conclusion
from steer.tune.search import grid, measure_all, rivals, search, sweep

__all__ = [
    "DIALS",
    "TEMPERATURES",
    "WANT",
    "Bench",
    "Conclusion",
    "Dial",
    "Part",
    "Plan",
    "Point",
    "State",
    "Trial",
    "conclude",
    "concluded",
    "grid",
    "is_plain",
    "measure_all",
    "rivals",
    "search",
    "sweep",
]
