"""Token buckets: so many at once, then so many a second, for each key."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

MOST_KEYS = 10_000  # kept; beyond that, those that are full again are forgotten


@dataclass
class Limit:
    """`burst` at once, refilled by `rate` a second; in this process's memory."""

    burst: float
    rate: float
    now: Callable[[], float] = time.monotonic
    _left: dict[Hashable, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, key: Hashable) -> bool:
        """Whether there is one, which then is gone."""
        with self._lock:
            at = self.now()
            left = self._filled(key, at)
            if left < 1:
                return False
            if len(self._left) >= MOST_KEYS:
                full = [known for known in self._left if self._filled(known, at) >= self.burst]
                for known in full:
                    del self._left[known]
            self._left[key] = (left - 1, at)
            return True

    def _filled(self, key: Hashable, at: float) -> float:
        left, since = self._left.get(key, (self.burst, at))
        return min(self.burst, left + self.rate * (at - since))
