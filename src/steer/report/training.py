"""How the model learnt, and whether the texts kept bringing something new: two curves."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp
from typing import Any

from steer.report.figures import Figure, lines
from steer.report.pictures import Picture


@dataclass(frozen=True)
class Curve:
    """What to say, and the picture if there is enough to draw."""

    words: str
    picture: Picture | None = None


def training_view(manifest: Mapping[str, Any], adapter: str | None) -> Curve:
    facts = manifest.get("finetune")
    if adapter:
        return Curve(f"Nothing was fine-tuned in this run: the domain model {adapter} was used as it is.")
    if facts is None:
        return Curve("The model was not fine-tuned: the run stopped before that.")
    training, validation = facts["training_loss"], facts["validation_loss"]
    at = facts["evaluated_at"]
    if not validation:
        return Curve("The model was fine-tuned, and no loss was written down.")
    best = min(range(len(validation)), key=validation.__getitem__)
    rounds = {1: "once", 2: "twice"}.get(facts["epochs"], f"{facts['epochs']:g} times")
    words = (
        f"The model went through the training texts {rounds}. The version kept is the one after step {at[best]:,}, "
        f"where the loss on the validation texts was lowest: {validation[best]:.3f} nats a token, as unsure as a "
        f"choice between {exp(validation[best]):,.0f} equally likely tokens each time."
    )
    if best == len(validation) - 1 and best:
        words += " That was the last measurement, so longer training might have helped."
    if facts.get("too_long"):
        words += f" {facts['too_long']:,} texts were too long for the model and left out."
    if len(validation) < 2 or len(training) != len(validation):
        return Curve(words)
    losses = {"training loss": training, "validation loss": validation}
    curves = {name: list(zip(at, loss, strict=True)) for name, loss in losses.items()}
    return Curve(words, _picture("training", lines("Loss by step", "step", "nats a token", curves)))


def growth_view(manifest: Mapping[str, Any]) -> Curve:
    rounds = manifest.get("convergence")
    if rounds is None:
        return Curve("There is nothing to show: the run stopped before any synthetic texts were written.")
    if len(rounds) < 2:
        return Curve("Growth shows from round to round, and there were fewer than two.")
    first, last = rounds[0], rounds[-1]
    words = (
        f"The texts came in {len(rounds)} rounds; in each, earlier ones could serve as examples of what not to repeat. "
        "Novelty is the share of a round's three-word sequences that no earlier round had: "
        f"{last['novelty']:.0%} in the last round. Coverage is the share of the training texts' words that some "
        f"accepted text uses: it went from {first['coverage']:.0%} to {last['coverage']:.0%}. "
        "Where both lie flat, more texts add little."
    )
    curves = {name: [(row["round"] + 1, row[name]) for row in rounds] for name in ("novelty", "coverage")}
    return Curve(words, _picture("growth", lines("Novelty and coverage by round", "round", "share", curves)))


def course_view(manifest: Mapping[str, Any]) -> list[Curve]:
    """Where η was set anew for each round: what it held, and its course."""
    loop = manifest.get("closed_loop")
    if not loop:
        return []
    rounds = loop["rounds"]
    caught = "that repeat an earlier one" if "duplicates" in loop["target"] else "that are refused"
    words = (
        f"η was set anew before each round, to hold the share of texts {caught} at {rounds[0]['target']:.1%}: it went "
        f"from {rounds[0]['eta']:g} to {rounds[-1]['eta']:g} in {len(rounds)} rounds."
    )
    if loop["missed"]:
        words += f" {loop['missed']}"
    elif rounds[-1]["smoothed"] is not None:
        words += f" At the end {rounds[-1]['smoothed']:.1%} were, by a running mean, no further off than by chance."
    shares = {
        name: [(row["round"] + 1, row[key]) for row in rounds if row[key] is not None]
        for name, key in (("in the round", "share"), ("smoothed", "smoothed"), ("target", "target"))
    }
    etas = {"η": [(row["round"] + 1, row["eta"]) for row in rounds]}
    return [
        Curve(words, _picture("eta", lines("η by round", "round", "η", etas))),
        Curve("", _picture("held", lines("The share that is held, by round", "round", "share", shares))),
    ]


def _picture(name: str, figure: Figure) -> Picture:
    """Without a caption, as the words stand above."""
    return Picture(name, replace(figure, caption=""))
