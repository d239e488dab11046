"""When is one text a copy of another? The one answer that de-duplication, gates and evaluation share.

A text is a **near copy** of a source where their normalised Indel similarity, 2·LCS / (len a + len b) over characters,
reaches the threshold, or where a single **shared run** of words, verbatim, covers at least half of the text or the
whole of a source of 8 words or more: a real text with a tail added has a low edit similarity, and is a copy all the
same. Both look at normalised text.
"""

import math
import unicodedata
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.85
RUN = 8  # words; shorter runs are shared by texts of one field that never saw each other
# A text that repeats itself meets a source that repeats the same words at every pair of their positions; a few
# positions per source and run are enough to find the copy, and keep such texts from taking minutes.
OCCURRENCES = 16

Indices: TypeAlias = Sequence[int] | NDArray[np.int64]


def normalise(text: str) -> str:
    """The text as comparisons see it: NFKC, casefolded, whitespace runs as one space, stripped. Idempotent."""
    # Casefolding can undo the composition (and the other way round), hence the second pass.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


@dataclass(frozen=True)
class Match:
    """A source that a text is close to.

    index: the source's position, in the order in which sources were given; -1 where there are none.
    similarity: in [0, 1]; of a "near copy" and a "nearest" source the edit similarity, of a "shared run" the share of
        the text's words that the run covers; NaN where there are no sources.
    reason: "near copy", "shared run", or "nearest" (which makes no claim).
    """

    index: int
    similarity: float
    reason: str


class CopyFinder:
    """Finds the sources that a text is a near copy of. Sources can be added as they come.

    Edit similarity is compared only with sources whose length allows the threshold; what remains is quadratic: about a
    million pairs a second at 200 characters, 30,000 at 1,400 (one core). Raises ValueError on a threshold outside
    (0, 1].
    """

    def __init__(self, sources: Sequence[str], threshold: float = THRESHOLD) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the similarity threshold is {threshold}; expected (0, 1]")
        self.threshold = threshold
        self._sources: list[str] = []
        self._words: list[list[str]] = []
        self._by_length: list[tuple[int, int]] = []  # (characters, index), sorted
        self._runs: dict[int, list[tuple[int, int]]] = {}  # hash of RUN words -> (index, position of the first word)
        self._openings: dict[int, list[int]] = {}  # hash of a source's first RUN words -> its index
        self.add(sources)

    def __len__(self) -> int:
        return len(self._sources)

    def add(self, texts: Iterable[str]) -> None:
        """Append sources; their indices continue the count."""
        for text in map(normalise, texts):
            index, words = len(self._sources), text.split()
            self._sources.append(text)
            self._words.append(words)
            insort(self._by_length, (len(text), index))
            if len(words) >= RUN:
                self._openings.setdefault(hash(tuple(words[:RUN])), []).append(index)
            seen: dict[int, int] = {}
            for position in range(len(words) - RUN + 1):
                key = hash(tuple(words[position : position + RUN]))
                seen[key] = seen.get(key, 0) + 1
                if seen[key] <= OCCURRENCES:
                    self._runs.setdefault(key, []).append((index, position))

    def find(self, texts: Iterable[str], among: Iterable[Indices] | None = None) -> list[Match | None]:
        """Per text, the nearest source that it is a near copy of, or None.

        Edit similarity goes before a shared run, and of equals the source that was given first.
        among: per text, the sources to compare its characters with, where all would take too long; runs of words are
            looked up in every source all the same.
        """
        return [
            min(self._matches(normalise(text), some), key=lambda m: (m.reason, -m.similarity, m.index), default=None)
            for text, some in zip(texts, repeat(None) if among is None else among, strict=among is not None)
        ]

    def nearest(self, texts: Iterable[str]) -> list[Match]:
        """Per text, the source of the highest edit similarity, however low that is."""
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        best = (
            process.extractOne(normalise(text), self._sources, scorer=Indel.normalized_similarity) for text in texts
        )
        return [Match(-1, math.nan, "nearest") if hit is None else Match(hit[2], hit[1], "nearest") for hit in best]

    def _matches(self, text: str, among: Indices | None = None) -> list[Match]:
        """Every source that the normalised text is a near copy of, once."""
        edits = self._near_copies(text, self._of_like_length(text) if among is None else among)
        found = {match.index for match in edits}
        return edits + [match for match in self._shared_runs(text) if match.index not in found]

    def _of_like_length(self, text: str) -> list[int]:
        # The longest common subsequence is at most the shorter text, so 2·min(a, b) / (a + b) >= threshold. The slack
        # of one character keeps rounding from excluding a length that the exact comparison would admit.
        stretch = (2 - self.threshold) / self.threshold
        first = bisect_left(self._by_length, (math.floor(len(text) / stretch) - 1, -1))
        last = bisect_right(self._by_length, (math.ceil(len(text) * stretch) + 1, len(self)))
        return [index for _, index in self._by_length[first:last]]

    def _near_copies(self, text: str, indices: Indices) -> list[Match]:
        from rapidfuzz import process
        from rapidfuzz.distance import Indel

        hits = process.extract(
            text,
            [self._sources[index] for index in indices],
            scorer=Indel.normalized_similarity,
            score_cutoff=self.threshold,
            limit=None,
        )
        return [Match(int(indices[position]), similarity, "near copy") for _, similarity, position in hits]

    def _shared_runs(self, text: str) -> list[Match]:
        words = text.split()
        enough = max(RUN, math.ceil(len(words) / 2))
        longest: dict[int, int] = {}
        # A run of `enough` words has enough - RUN + 1 windows of RUN words, one of which begins at a multiple of that
        # number: so a handful of look-ups finds every run that is long enough, in a text of any length.
        for here in range(0, len(words) - RUN + 1, enough - RUN + 1):
            for index, there in self._runs.get(hash(tuple(words[here : here + RUN])), ()):
                if longest.get(index, 0) < len(words):
                    longest[index] = max(longest.get(index, 0), _run(words, here, self._words[index], there))
        copied = {index: length for index, length in longest.items() if length >= enough}
        # A source that stands in the text whole was copied, however much was added to it.
        windows = {hash(tuple(words[i : i + RUN])) for i in range(len(words) - RUN + 1)}
        for index in {index for window in windows for index in self._openings.get(window, ())}:
            if f" {self._sources[index]} " in f" {text} ":
                copied[index] = max(copied.get(index, 0), len(self._words[index]))
        return [Match(index, length / len(words), "shared run") for index, length in copied.items()]


def _run(a: list[str], i: int, b: list[str], j: int) -> int:
    """The number of words of the longest run common to `a` and `b` in which a[i] stands over b[j]; 0 if they differ."""
    # They can: the look-up goes by hash.
    if a[i] != b[j]:
        return 0
    left, right = 0, 1
    while left < min(i, j) and a[i - left - 1] == b[j - left - 1]:
        left += 1
    while right < min(len(a) - i, len(b) - j) and a[i + right] == b[j + right]:
        right += 1
    return left + right


# Texts -> for each, the positions of the others that are worth comparing with it.
Shortlist = Callable[[Sequence[str]], Sequence[NDArray[np.int64]]]


def clusters(
    texts: Sequence[str], threshold: float = THRESHOLD, shortlist: Shortlist | None = None
) -> NDArray[np.int64]:
    """Label texts (N,) so that near copies, and near copies of near copies, share a label, whatever the texts' order.

    Labels count from 0. They are the connected components of the near-copy
    relation, where a shared run has to cover half of the text of fewer words.
    shortlist: finds the texts to compare with each other, where comparing all pairs would take too long.
    """
    if not len(texts):
        return np.empty(0, dtype=np.int64)
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    normalised = [normalise(text) for text in texts]
    # Texts of more words first: then each text meets, as sources, exactly those of which it can be the shorter half.
    distinct = sorted(set(normalised), key=lambda text: (-len(text.split()), text))
    finder, links = CopyFinder([], threshold), []
    among = None if shortlist is None else _earlier(shortlist(distinct))
    for node, text in enumerate(distinct):
        links += [(node, match.index) for match in finder._matches(text, None if among is None else among[node])]
        finder.add([text])
    rows, columns = np.array(links, dtype=np.int64).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(links)), (rows, columns)), shape=(len(distinct), len(distinct)))
    labels = dict(zip(distinct, connected_components(graph, directed=False)[1], strict=True))
    return np.array([labels[text] for text in normalised], dtype=np.int64)


def _earlier(shortlists: Sequence[NDArray[np.int64]]) -> list[list[int]]:
    """Per position, the earlier ones that are on its list or have it on theirs."""
    pairs = [set[int]() for _ in shortlists]
    for one, others in enumerate(shortlists):
        for other in map(int, others):
            if one != other:
                pairs[max(one, other)].add(min(one, other))
    return [sorted(earlier) for earlier in pairs]
