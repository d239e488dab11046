"""How the model learnt, and whether the texts kept bringing something new: two curves."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp
from typing import Any

from steer.report.charts import LineChart, line_chart


@dataclass(frozen=True)
class Curve:
    """What to say, and the chart if there is enough to draw."""

    words: str
    chart: LineChart | None = None


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
    curves = {"training loss": training, "validation loss": validation}
    return Curve(words, line_chart("Loss by step", "step", at, curves))


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
    curves = {name: [row[name] for row in rounds] for name in ("novelty", "coverage")}
    numbers = [row["round"] + 1 for row in rounds]
    return Curve(words, line_chart("Novelty and coverage by round", "round", numbers, curves, (0.0, 1.0)))
