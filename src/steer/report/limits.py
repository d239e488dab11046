"""What the numbers of a report do and do not show, in a few sentences."""

from steer.report.stored import Stored


def limits(stored: Stored) -> list[str]:
    held_out = len(stored.real["test"])
    gates = stored.settings.gates
    said = [
        f"The yardstick is {held_out:,} real texts that were held out. At this size a small difference cannot be "
        "seen: “cannot be told apart at this size” does not mean “the same”.",
        "Real texts in the place of synthetic ones were measured once, without an interval. To tell them from the "
        "synthetic texts, they are taken to be as uncertain as those.",
        "An interval says how far a number would move with other texts from the same source. It does not cover another "
        "fine-tuning, another seed or another model.",
        f"A near copy is a text that is {gates.copy_threshold:.0%} alike, character by character, or at least half of "
        "whose words are one run that stands in a real text. Borrowed ideas and paraphrases are not caught, and none "
        "of this is a guarantee of privacy.",
        "Nobody has checked whether the texts are true, sensible or safe. The samples are there to be read.",
    ]
    if "tfidf" in stored.settings.evaluate.embedders:
        said.append(
            "Scores seen by words alone know which words texts share, and nothing of what they mean: they miss "
            "whatever is wrong beyond the choice of words."
        )
    if "domain" in stored.settings.evaluate.embedders:
        said.append(
            "Scores seen through the domain model use the model that wrote the texts, so it is no independent judge."
        )
    if stored.settings.evaluate.baseline:
        said.append(
            "The rival, plain nucleus sampling (top-p 0.9, temperature 1), draws from the same fine-tuned model and "
            "passes the same gates. It was not tuned, and neither decoder is compared at the temperature that suits it "
            "best."
        )
    return said
