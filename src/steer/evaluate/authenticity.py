"""Is the text anybody's already? Share of texts that are near copies of a training text (`steer.similarity`).

Range [0, 1], lower is better; held-out real texts give the share that chance and boilerplate explain. Together with
the distance to the nearest source, this is what catches memorising: every other score rewards it.
"""

from collections.abc import Sequence
from math import nan

from steer.evaluate.intervals import Estimate, proportion
from steer.similarity import THRESHOLD, CopyFinder


def copied_share(texts: Sequence[str], training_texts: Sequence[str], threshold: float = THRESHOLD) -> float:
    """Share of the texts that are near copies of a training text, in [0, 1]; NaN where either side is empty."""
    return estimate(texts, CopyFinder(training_texts, threshold)).value


def estimate(texts: Sequence[str], sources: CopyFinder) -> Estimate:
    """The share of near copies of a source, with its Wilson interval."""
    if not len(sources):
        return Estimate(nan, reason="no real texts to compare with")
    if not len(texts):
        return Estimate(nan, reason="no texts to measure")
    return proportion(sum(match is not None for match in sources.find(texts)), len(texts))
