"""How a study was made, how to read it, and what it does not show."""

import shlex
from math import isnan

from steer.report.answers import joined
from steer.report.study.rows import Row
from steer.report.study.voted import PEOPLE, Voted
from steer.report.study.words import called, level, name, rate
from steer.report.tuning.words import capitalised, plural

FAR, FEW_VOTES = 0.1, 20  # from one half, of the share of votes for the longer text; of fewer votes nothing is said
FEW_PEOPLE = 5
CONSISTENT, EVEN = 0.7, 0.1  # below and beyond which a judge depends on the order


def about(found: Voted) -> str:
    """For someone who was sent the page and has never heard of us."""
    people = sum(one.annotators for one in found.people if one.name != PEOPLE or not found.parts)
    asked = [plural(people, "person", "people")] if people else []
    asked += [f"{len(found.judging)} judges, which are language models,"] if len(found.judging) > 1 else []
    asked += ["a judge, which is a language model,"] if len(found.judging) == 1 else []
    many = "were" if people + len(found.judging) != 1 else "was"
    return (
        f"{capitalised(joined(asked)) or 'Nobody'} {many} shown pairs of texts, one from each of two sets, without a "
        "word on where they come from, and chose. A win rate is the share of votes for the first set, a tie counting "
        f"half; 50% is no preference. {_whom(found)} Only what is beyond chance counts as a preference: p below .025 "
        "for the one set or for the other, corrected for the number of comparisons."
    )


def _whom(found: Voted) -> str:
    return (
        f"In brackets its {level(found)} interval: where it would lie had other annotators judged other pairs, as far "
        "as there were several of them."
    )


def method(found: Voted) -> dict[str, str]:
    plan = found.plan
    groups = [
        f"{called(found, one)}: {'' if one.judges else plural(one.annotators, 'annotator') + ', '}"
        f"{plural(one.votes, 'answer')}"
        for one in found.ordered
    ]
    repeats, most = plan.get("repeats"), plan.get("per_annotator")
    return {
        "questions": "; ".join(f"{one.asks} ({one.name})" for one in found.questions),
        "told beside": str(plan.get("prompt") or "").strip() or "nothing",
        "who answered": f"{'; '.join(groups)}; gold and repeated pairs included",
        "pairs": f"{plural(found.pairs, 'pair')} in {plural(len(found.comparisons), 'comparison')}, drawn by chance "
        f"(seed {plan.get('seed', 'not known')}); the texts of a pair "
        + (f"have the same {joined(list(found.matched))}" if found.matched else "were matched by nothing"),
        "shown to": f"{plural(found.per_pair, 'annotator')} of each group a pair"
        + (f", at most {plural(most, 'pair')} an annotator" if most else ""),
        "blind": "neither sets nor decoders were named. Which text stood first was drawn for each annotator, so that "
        "each set stood first in half of an annotator's pairs; a judge saw each pair in both orders, and what it did "
        "not choose in both is a tie",
        "attention": f"{plural(found.gold, 'gold pair')} of which one text is plainly worse"
        + (f", and {plural(repeats, 'pair')} shown twice, sides exchanged" if repeats else "")
        + "; neither counts in a win rate. "
        + _left_out(found),
        "ties": "“no difference” was an answer, and counts half" if found.ties else "“no difference” was no answer",
        "test": "one-sided; its null is that the win rate is one half or less, so that a small p speaks for the first "
        "set. (The STEER paper prints its null the other way round.) Whether the second set is preferred is asked by "
        "the same test with the sets exchanged. The verdict takes each at .025, which "
        "together is .05; stars and ▼ are of one test alone, as in the paper, so that * may stand where the verdict "
        "cannot tell",
        "correction": "Holm's, over all comparisons of one question and group",
        "interval": f"{level(found)}; the votes of one annotator go together, and so do those on one pair. What "
        "annotators, pairs and single votes add is taken one by one and put into a Wilson interval with Student's t. "
        "The design effect says how many votes count as much as one independent vote",
        "naive": "the Wilson interval, the z-test (that of the paper) and the exact sign test without ties take every "
        "vote for independent: too sure, and here for comparison only",
    }


def _left_out(found: Voted) -> str:
    if found.attention is None:
        return "Nobody was left out for attention"
    said = f"Who was right on less than {rate(found.attention)} of them was left out: "
    return said + (joined([name(one) for one in found.left_out]) if found.left_out else "nobody")


def cautions(found: Voted) -> list[str]:
    """Of judges, where their answers depend on the order."""
    said = []
    for one in found.judges:
        if one.consistency < CONSISTENT:
            said.append(
                f"{name(one.name)} gave one answer in both orders for only {rate(one.consistency)} of pairs. What it "
                "answered differently counts as a tie, which draws its win rate towards 50%."
            )
        if abs(one.share_first - 0.5) > EVEN:
            place = "first" if one.share_first > 0.5 else "second"
            chosen = max(one.share_first, 1 - one.share_first)
            said.append(
                f"{name(one.name)} favours a place: {rate(chosen)} of its choices are the text that stood {place}."
            )
    return said


def limits(found: Voted) -> list[str]:
    people = sum(one.annotators for one in found.people if one.name != PEOPLE or not found.parts)
    said = [
        "A win says that a text is liked better, and nothing of whether the set is true to life, varied or copied: the "
        "report of the run and the page of the comparison tell that.",
        "“It cannot be told” is said of these votes; it does not mean “no difference”.",
        "Each of two sets may turn out to be the preferred one, with a test of its own at .025: where people have no "
        "preference at all, one is told in up to one of twenty cases.",
    ]
    if 0 < people < FEW_PEOPLE:
        said.append(f"There were {plural(people, 'annotator')}: how far annotators differ is hardly known from so few.")
    told = "what the texts are" if str(found.plan.get("prompt") or "").strip() else "nothing"
    said.append(
        f"Annotators were told {told} beside the question, and each understands “{_example(found)}” in their own way."
    )
    said += _longer(found)
    said.append("Sets were drawn once: no interval covers another fine-tuning, another seed or other dials.")
    if found.judging:
        said.append("A judge stands for itself: its interval holds for other pairs, and for no other model.")
    return said


def _example(found: Voted) -> str:
    return name(found.questions[0].name) if found.questions else "better"


def _longer(found: Voted) -> list[str]:
    """Of each question and of those who are spoken of first, where the longer text is chosen far from half the time."""
    said = []
    for group in dict.fromkeys([*found.ordered[:1], *found.judging]):
        for question in found.questions:
            rows = [row for row in found.of(question.name, group.name) if row.votes and not isnan(row.longer)]
            votes, share = _mean(rows)
            if votes >= FEW_VOTES and abs(share - 0.5) > FAR:
                said.append(
                    f"Asked “{name(question.asks)}”, {called(found, group)} chose the longer text of a pair in "
                    f"{rate(share)} of votes: part of a preference may be one for "
                    f"{'length' if share > 0.5 else 'brevity'}."
                )
    return list(dict.fromkeys(said))


def _mean(rows: list[Row]) -> tuple[int, float]:
    votes = sum(row.votes for row in rows)
    return votes, sum(row.votes * row.longer for row in rows) / votes if votes else 0.5


def commands(found: Voted) -> list[tuple[str, str]]:
    """In the study's folder: what each does, and the line."""
    again = ["steer", "study", "score", "."]
    again += ["--attention", f"{found.attention:g}"] if found.attention is not None else []
    again += ["--level", f"{found.level:g}"] if found.level != 0.95 else []
    parts = found.parts or found.people
    serve = ["steer", "study", "serve", "."]
    serve += [word for one in parts for word in ("--invite", f"{one.name}={one.annotators}")]
    made = [("The same numbers and this page, from the votes that lie there", again)]
    made += [("More people on the same pairs, after which the line above counts them in", serve)] if parts else []
    made += [("A language model on the same pairs", ["steer", "study", "judge", ".", "openai:MODEL"])]
    return [(does, " ".join(map(shlex.quote, words))) for does, words in made]
