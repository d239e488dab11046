"""Would more samples still add anything? Novelty and coverage, round by round."""

from collections.abc import Mapping, Sequence

from steer.records import Record, Sample

PATIENCE, TOLERANCE = 3, 0.01  # "converged": neither curve moves by more than TOLERANCE over PATIENCE rounds


def convergence(samples: Sequence[Sample], real: Sequence[Record]) -> list[dict[str, float]]:
    """After each round: novelty and coverage, the curves that say whether more samples would still add anything.

    novelty: share of the round's word trigrams that no earlier round had. coverage: share of the real texts' words
    that some accepted sample uses. Both 0 to 1.
    """
    known = {word for record in real for word in record.text.casefold().split()}
    seen: set[tuple[str, ...]] = set()
    used: set[str] = set()
    curve = []
    for number in sorted({sample.round for sample in samples}):
        texts = [s.text.casefold().split() for s in samples if s.verdict == "accepted" and s.round == number]
        trigrams = {tuple(words[i : i + 3]) for words in texts for i in range(len(words) - 2)}
        used |= known & {word for words in texts for word in words}
        if trigrams:
            novelty, coverage = len(trigrams - seen) / len(trigrams), len(used) / max(1, len(known))
            curve.append({"round": number, "novelty": round(novelty, 4), "coverage": round(coverage, 4)})
        seen |= trigrams
    return curve


def converged(curve: Sequence[Mapping[str, float]]) -> bool:
    last = curve[-PATIENCE - 1 :]
    if len(last) <= PATIENCE:
        return False
    return all(max(p[name] for p in last) - min(p[name] for p in last) <= TOLERANCE for name in ("novelty", "coverage"))
