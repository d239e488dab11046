"""The pictures of a report: what details.json holds, drawn, and what to look for in each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import Any

from steer.records import write_text
from steer.report.figures import Figure, Point, bars, forest, histograms, lines, scatter, svg
from steer.report.judged import Judged, called
from steer.report.kinds import FIRST, direction
from steer.report.readings import Reading, measured
from steer.report.scores import places

METHODS = {
    "umap": (
        "Map of the texts (UMAP)",
        "Texts that share many neighbours lie close together; distances across the map mean little.",
    ),
    "pca": ("Map of the texts (PCA)", "The two directions in which the texts differ most."),
}
FEWEST, MOST = 8, 30  # bins of a histogram
FAR = 5  # times the median: numbers that spread wider are drawn by their logarithm


@dataclass(frozen=True)
class Picture:
    """name: of its file, without the ending."""

    name: str
    figure: Figure


def pictures(judged: Judged) -> list[Picture]:
    """Those for which there is something to draw."""
    metrics, details = judged.metrics or {}, judged.details or {}
    looks = _looks(judged)
    made = [
        *_maps(judged, details.get("maps", {}), looks),
        *_distances(judged, details.get("distances", {}), looks),
        *_lengths(details.get("lengths", {}), looks),
        *_labels(details.get("labels", {}), looks),
        *_novelty(details.get("novelty", {}), looks),
        *_learning(metrics.get("usefulness", {}), looks),
        *_scores(judged, looks),
    ]
    return [Picture(name, replace(figure, caption=caption)) for name, figure, caption in made]


def write_pictures(made: Sequence[Picture], folder: Path) -> None:
    """Each as NAME.svg, a file of its own; one that is there already, and the same, is left alone."""
    for picture in made:
        path, drawn = folder / f"{picture.name}.svg", svg(picture.figure) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            write_text(path, drawn)


Made = list[tuple[str, Figure, str]]


def _looks(judged: Judged) -> dict[str, int]:
    """By the names that the pictures use. Real texts have one colour, in whatever part they play."""
    found = {called(name): i for name, i in places(judged.rivals).items()}
    real = dict.fromkeys((*_sources(judged).values(), "real only"), 1)
    last = len(found)
    other = {_sources(judged)["training"]: last, "synthetic only": 0, "real and synthetic": last, "chance": last + 1}
    return {**found, **real, **other}


def _sources(judged: Judged) -> dict[str, str]:
    """How the sets that are no rivals are called among the distances."""
    if judged.trained:
        return {"training": "training, to each other", "held-out": "real, held out"}
    return {"training": "real, one half to each other", "held-out": "real, the other half"}


def _maps(judged: Judged, maps: Mapping[str, Any], looks: Mapping[str, int]) -> Made:
    made: Made = []
    for method, (title, about) in METHODS.items():
        if method not in maps:
            continue
        found = {of: maps[method].get(of, []) for of in ("synthetic", "real")}
        sets = {
            of: [Point(x, y, judged.texts[of][row] if row < len(judged.texts[of]) else "") for x, y, row in points]
            for of, points in found.items()
        }
        hulls = {of: outline([(x, y) for x, y, _ in points]) for of, points in found.items()}
        caption = (
            f"Each mark is a text; rest the mouse on one to read it. {about} The lines are the outlines (convex hulls) "
            "of the two sets. Look for places where one set is and the other is not: real texts that nothing synthetic "
            "lies near are left out, and synthetic ones far from all real texts are made up in another manner. A "
            "single text far out stretches an outline, so do not judge by the outlines alone."
        )
        made.append((f"map-{method}", scatter(title, sets, hulls, places=looks), caption))
    return made


def outline(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of the convex hull, in their order around it; none of fewer than three points, or of a line."""
    from scipy.spatial import ConvexHull, QhullError

    if len(points) < 3:
        return []
    try:
        return [points[int(i)] for i in ConvexHull(points).vertices]
    except QhullError:
        return []


def _distances(judged: Judged, distances: Mapping[str, Sequence[float | None]], looks: Mapping[str, int]) -> Made:
    if not distances:
        return []
    names = _sources(judged)
    order = ["synthetic", "held-out", *judged.rivals, "training"]
    found = {of: [v for v in distances[of] if v is not None] for of in order if of in distances}
    series = {names.get(of, called(of)): values for of, values in found.items()}
    what = "training text" if judged.trained else "text of one half of the real ones"
    caption = (
        f"How far each text lies from the nearest {what}, as the first embedder sees it. New texts of the same kind "
        f"are as far away as “{names['held-out']}”. Look at the left: synthetic texts that reach further left than "
        "those lie too near to what they were made from, and at 0 they are copies. Further right, they are of another "
        "kind."
    )
    title = f"Distance to the nearest {what}"
    return [
        (
            "distances",
            histograms(title, f"distance to the nearest {what}", series, _bins(series), places=looks),
            caption,
        )
    ]


def _lengths(lengths: Mapping[str, Sequence[int]], looks: Mapping[str, int]) -> Made:
    series = {called(of): lengths[of] for of in _ordered(lengths)}
    values = sorted(v for of in series.values() for v in of)
    if not values:
        return []
    far = values[-1] > FAR * max(1, values[len(values) // 2])
    caption = (
        "How long the texts are, counted in the same words as the scores. Look for lengths that only one set has: they "
        "alone give a set away, however good its texts are."
    )
    return [("lengths", histograms("Length of the texts", "words", series, _bins(series), far, looks), caption)]


def _labels(labels: Mapping[str, Mapping[str, float]], looks: Mapping[str, int]) -> Made:
    if not labels:
        return []
    series = {called(of): labels[of] for of in _ordered(labels)}
    caption = (
        "The share of each label in each set. Look for labels that are rarer or more common than among real texts."
    )
    return [("labels", bars("Labels", series, places=looks), caption)]


def _novelty(novelty: Mapping[str, Sequence[tuple[int, float]]], looks: Mapping[str, int]) -> Made:
    curves = {called(of): [tuple(point) for point in novelty[of]] for of in _ordered(novelty) if novelty[of]}
    if not curves:
        return []
    caption = (
        "In the order in which the texts stand in their files: of the three-word sequences in the latest texts, the "
        "share that none before had. It falls for any set, as less is left to say; a set that falls faster repeats "
        "itself sooner, and one that is flat near 1 could go on."
    )
    figure = lines("Novelty from first to last text", "texts so far", "share of new sequences", curves, looks)
    return [("novelty", figure, caption)]


def _learning(usefulness: Mapping[str, Any], looks: Mapping[str, int]) -> Made:
    mine = usefulness.get("synthetic")
    if not mine or not mine["curve"]:
        return []
    names = {"synthetic": "synthetic only", "real": "real only", "both": "real and synthetic"}
    curves = {name: _curve(mine["curve"], of) for of, name in names.items()}
    curves |= {
        called(rival): _curve(result["curve"], "synthetic")
        for rival, result in usefulness.items()
        if rival != "synthetic"
    }
    chance, sizes = mine["chance"], [size for size, _ in mine["curve"]]
    if chance is not None:
        curves["chance"] = [(size, chance) for size in (sizes[0], sizes[-1])]
    caption = (
        "How often a model is right about real texts after learning from so many texts; whiskers are one standard "
        "deviation over the splits. Look at where “synthetic only” ends beside “real only”: as high means as useful. "
        f"Below “chance” ({chance:.0%}: always saying the most common answer) nothing was learnt."
        if chance is not None
        else "How often a model is right about real texts after learning from so many texts, ± one standard deviation."
    )
    figure = lines("Accuracy by number of training texts", "texts to learn from", "share right", curves, looks)
    return [("learning", figure, caption)]


def _bins(series: Mapping[str, Sequence[float]]) -> int:
    """As many as the smallest set can fill (Rice's rule): with more, its outline shows nothing but chance."""
    smallest = min((len(values) for values in series.values() if len(values)), default=0)
    return int(min(MOST, max(FEWEST, 2 * smallest ** (1 / 3))))


def _curve(points: Sequence[Any], of: str) -> list[tuple[float, ...]]:
    found = [(size, sets[of]["mean"], sets[of]["sd"]) for size, sets in points]
    return [(size, nan if mean is None else mean, nan if sd is None else sd) for size, mean, sd in found]


def _scores(judged: Judged, looks: Mapping[str, int]) -> Made:
    found = (judged.metrics or {}).get("scores", {})
    rows: dict[str, dict[str, Reading]] = {}
    for name in (name for name in FIRST if name in found):
        score = measured(judged.metrics, name)
        named = f"{name} ({direction(name, found[name].get('higher_is_better', True))})"
        rows[named] = {"synthetic": score.mine, **{called(rival): of for rival, of in score.rivals.items()}}
    if not rows:
        return []
    caption = (
        "The most important scores of the table above with their 95% intervals, each on a scale of its own; the "
        "upright line is what real texts in their place get."
    )
    return [("scores", forest("Scores", rows, looks), caption)]


def _ordered(sets: Mapping[str, Any]) -> list[str]:
    """The synthetic texts first, then the real ones."""
    return sorted(sets, key=lambda of: ("synthetic", "real").index(of) if of in ("synthetic", "real") else 2)
