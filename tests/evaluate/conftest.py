"""Real-looking texts for statistics: English words in random order, no two near copies of each other."""

import random
from collections.abc import Callable

import pytest

VOCABULARY = """
the a of in near under kettle harbour bread lantern river paper stone garden winter morning engine ladder window
bridge orchard candle meadow copper basket whistle carpet thunder pebble mirror clock ribbon turns holds breaks
carries warms crosses paints follows lifts mends opens remembers slowly again tomorrow together always quietly never
old blue heavy narrow gentle bright hollow patient
"""
WORDS = VOCABULARY.split()


@pytest.fixture(scope="session")
def write() -> Callable[..., list[str]]:
    def texts(count: int, seed: int, *, length: int = 20, words: list[str] = WORDS) -> list[str]:
        rng = random.Random(seed)
        return [" ".join(rng.choices(words, k=rng.randint(length - 4, length + 4))) + "." for _ in range(count)]

    return texts
