"""The report of a run: it stands alone, says what the numbers say, and says what is missing."""

import json
import math
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from steer.config import Settings
from steer.explain import Explanation
from steer.records import write_json, write_jsonl, write_text
from steer.report import explanation_page, write_report
from steer.report.axis import Axis
from steer.report.readings import Measured, Reading, is_told
from steer.report.texts import shared

REAL = [
    "Cold gas falls onto the disc along <b>narrow</b> streams & heats up only at its edge.",
    "The moon's orbit widens because the tides lag behind it, see http://example.org/tides.",
    "Faint stars in the halo came from a small galaxy that was torn apart long ago.",
    "A dust ring this wide cannot last unless colliding rocks keep feeding it.",
]
SYNTHETIC = [
    "Cold gas falls onto the disc along wide streams & cools down only at its edge.",
    "<script>alert('new')</script> Pulsars slow down.",
    "Rocks keep feeding a dust ring.",
]
VOID = {"meta", "link", "br", "wbr", "line", "rect"}


class Page(HTMLParser):
    """Attributes and text of a page; fails on tags that are not closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.style = ""
        self.feed(page)
        self.close()
        assert not self.open
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def attributes(self, name: str) -> Iterator[str]:
        return (attributes[name] or "" for _, attributes in self.tags if name in attributes)


def score(value, low=math.nan, high=math.nan, ceiling=0.5, better=True, reason=None):
    def strict(number):
        return None if math.isnan(number) else number

    row = {"value": value, "low": low, "high": high, "ceiling": ceiling, "baseline": math.nan}
    extra = {"higher_is_better": better, "signature": "definition:a test|embedder:tfidf+svd|seed:0"}
    return {name: strict(number) for name, number in row.items()} | extra | ({"reason": reason} if reason else {})


def metrics(auroc, rival=None, diversity=(0.5, 0.45, 0.55), copied=(0.0, 0.0, 0.02), ceiling=0.5, others=()):
    """The object of metrics.json; scores as (value, low, high). others: name -> (steer's, the rival's)."""
    mine = {
        "adversarial_auroc": score(*auroc, better=False),
        "ngram_diversity": score(*diversity, ceiling=ceiling),
        "copied_share": score(*copied, ceiling=0.0, better=False),
        **{name: score(*steer) for name, (steer, _) in dict(others).items()},
    }
    theirs = {"adversarial_auroc": score(*rival)} if rival else {}
    theirs |= {name: score(*nucleus) for name, (_, nucleus) in dict(others).items()}
    return {"scores": mine, "rivals": {"nucleus": {"scores": theirs}} if rival else {}, "notes": ["made up"]}


def make_run(folder: Path, *, synthetic=SYNTHETIC, measured=None, **settings) -> Path:
    """A run folder, as far as the arguments say."""
    task = {"data": "notes.jsonl", "instruction": "Write a {tone} note.", "example": "{text}"}
    chosen = Settings.model_validate({"task": task, "generate": {"count": len(synthetic or [0])}, **settings})
    write_text(folder / "config.yaml", chosen.to_yaml())
    for part, texts in {"train": REAL[:2], "validation": REAL[2:3], "test": REAL[3:]}.items():
        rows = [{"id": f"{part}{i}", "text": t, "fields": {"text": t, "tone": "dry"}} for i, t in enumerate(texts)]
        write_jsonl(folder / "data" / f"{part}.jsonl", rows)
    manifest = {
        "data": {"sha256": "ab" * 32, "dropped": {"empty": 3, "duplicate": 0}, "train": 2, "validation": 1, "test": 1},
        "versions": {"python": "3.12.0", "steer-text": "0.1.0"},
        "timings": {"data": 0.1, "domain": 85.2},
        "finetune": {
            "epochs": 2.5,
            "evaluated_at": [10, 20, 25],
            "training_loss": [3.0, 2.5, 2.2],
            "validation_loss": [2.9, 2.6, 2.7],
            "too_long": 1,
        },
    }
    if synthetic is not None:
        write_jsonl(
            folder / "synthetic.jsonl",
            ({"id": f"s{i}", "text": text, "tone": "<i>dry</i>"} for i, text in enumerate(synthetic)),
        )
        write_jsonl(folder / "provenance.jsonl", ({"id": f"s{i}"} for i in range(len(synthetic))))
        write_jsonl(folder / "rejected.jsonl", REJECTED)
        manifest["gates"] = {
            "steer": {"accepted": len(synthetic), "copy": 2, "malformed": 1, "surplus": 4},
            "nucleus": {"accepted": len(synthetic), "duplicate": 1},
        }
        manifest["convergence"] = [{"round": r, "novelty": 1 - r / 10, "coverage": r / 5} for r in range(3)]
    if measured is not None:
        write_jsonl(folder / "baseline.jsonl", ({"id": "b0", "text": "Stars.", "tone": "dry"},))
        write_json(folder / "metrics.json", measured)
    write_json(folder / "manifest.json", manifest)
    return folder


REJECTED = [
    {"id": "x0", "verdict": "copy", "reason": "near copy, a real text", "text": REAL[0].replace("heats", "warms")}
    | {"labels": {"tone": "dry"}, "source": "train0", "similarity": 0.95, "source_text": REAL[0]},
    {"id": "x1", "verdict": "copy", "reason": "shared run, a real text", "text": REAL[2] + " <hr> And so on."}
    | {"labels": {"tone": "dry"}, "source": "validation0", "similarity": 0.7, "source_text": REAL[2]},
    {"id": "x2", "verdict": "malformed", "reason": "empty", "text": ""}
    | {"labels": {"tone": "dry"}, "source": None, "similarity": None, "source_text": None},
]
FULL = metrics((0.7, 0.6, 0.8), (0.9, 0.85, 0.95))


def read(folder: Path) -> Page:
    return Page(write_report(folder).read_text(encoding="utf-8"))


def explanation(**changes) -> Explanation:
    parts = {
        "formula": "1.6*domain - 0.2*base - 0.4*domain[negatives]",
        "weights": {"domain": 1.6, "base": -0.2, "domain[negatives]": -0.4},
        "total": 1.0,
        "prompt": "Write <a> note.",
        "negatives": ["Not <this> again."],
        "tokens": ["The", " <b>", "\n", " end"],
        "logprobs": {
            "domain": [-1.0, -2.0, -3.0, -1.0],
            "base": [-1.5, -2.0, -3.0, -4.0],
            "domain[negatives]": [-1.0, -1.0, -3.0, -1.0],
        },
        "combined": [-0.5, -4.0, -3.01, -1.0],
    }
    return Explanation(**{**parts, **changes})


# -- it stands alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["report", "explanation"])
def test_a_page_asks_for_nothing_from_elsewhere(tmp_path: Path, page: str) -> None:
    made = read(make_run(tmp_path, measured=FULL)) if page == "report" else Page(explanation_page(explanation()))
    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in made.tags}
    for name in ("src", "srcset", "href", "xlink:href", "action"):
        assert all(value.startswith(("#", "data:")) for value in made.attributes(name))
    styles = [made.style, *made.attributes("style")]
    assert made.style
    assert not any(word in style for style in styles for word in ("url(", "@import", "http:", "https:", "//"))
    assert "default-src 'none'" in next(made.attributes("content"), "") + " ".join(made.attributes("content"))


def test_links_within_the_page_lead_somewhere(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    targets = {value[1:] for value in page.attributes("href") if value.startswith("#")}
    ids = list(page.attributes("id"))
    assert targets
    assert targets <= set(ids)
    assert len(ids) == len(set(ids))


def test_texts_are_shown_as_they_are(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    assert not {"b", "i", "hr", "script"} & {tag for tag, _ in page.tags}
    for text in [*SYNTHETIC, "<i>dry</i>", REAL[0], "<hr> And so on."]:
        assert text in page.text


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path, measured=FULL)
    before = write_report(folder).read_bytes()
    assert write_report(folder).read_bytes() == before


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run"):
        write_report(tmp_path)


# -- what it says ----------------------------------------------------------------------------------------------------

TOLD = [
    # steer's (value, low, high), the rival's, what must be said, what must not
    ((0.70, 0.60, 0.80), (0.90, 0.85, 0.95), ["more often than chance", "70 of 100", "is better than"], ["worse"]),
    ((0.90, 0.85, 0.95), (0.70, 0.60, 0.80), ["mostly tell", "is worse than plain nucleus sampling"], ["is better"]),
    ((0.97, 0.95, 0.99), (0.96, 0.93, 0.98), ["almost always", "cannot be told apart from plain"], ["is better"]),
    ((0.55, 0.48, 0.62), (0.60, 0.54, 0.66), ["cannot tell the synthetic", "coin's 50", "62 is not"], ["is better"]),
    ((0.50, 0.44, 0.56), (0.90, 0.85, 0.95), ["cannot tell the synthetic", "is better than plain"], ["is worse"]),
    ((0.60, 0.54, 0.66), (0.55, 0.48, 0.62), ["cannot be told apart from plain"], ["is better", "is worse"]),
    # On which side of a coin toss the interval ends must not be lost in rounding.
    ((0.56, 0.501, 0.61), (0.56, 0.501, 0.61), ["more often than chance", "50.1 to 61"], ["cannot tell the syn"]),
    # Below a coin toss is no better than a coin toss: 0.2 against 0.5 is no win.
    ((0.20, 0.15, 0.25), (0.50, 0.45, 0.55), ["Less often than a coin", "cannot be told apart"], ["is better"]),
    ((0.60, math.nan, math.nan), (0.90, 0.85, 0.95), ["is not clear", "Nothing follows"], ["is better", "more often"]),
    ((0.70, 0.60, 0.80), None, ["more often than chance"], ["plain nucleus sampling", "is better", "is worse"]),
]


@pytest.mark.parametrize(("mine", "rival", "said", "unsaid"), TOLD)
def test_the_verdict_follows_the_classifier(tmp_path: Path, mine, rival, said, unsaid) -> None:
    page = read(make_run(tmp_path, measured=metrics(mine, rival)))
    verdict = page.text[: page.text.index("How often a classifier")]
    assert [words for words in said if words not in verdict] == []
    assert [words for words in unsaid if words in verdict] == []


@pytest.mark.parametrize(
    ("p", "told"), [(0.01, True), (0.30, None), (math.nan, True)], ids=["agrees", "does not", "is not there"]
)
def test_a_classifier_wins_only_where_the_permutations_agree(p, told) -> None:
    assert is_told(Reading(0.6, 0.51, 0.7, p=p)) is told


def test_a_corrected_difference_goes_before_intervals() -> None:
    mine, rival = Reading(0.5, 0.4, 0.6), {"a": Reading(0.7, 0.65, 0.75)}
    assert Measured("mauve", mine, rival).standing("a") == "below"
    assert Measured("mauve", mine, rival, {"a": (-0.2, 0.2)}).standing("a") == "overlap"
    assert Measured("mauve", mine, rival, {"a": (-0.2, 0.01)}).standing("a") == "below"
    assert Measured("mauve", mine, rival, {"a": (math.nan, math.nan)}).standing("a") == "unknown"


def test_a_score_that_is_undefined_is_none_with_its_reason(tmp_path: Path) -> None:
    measured = metrics((math.nan,), (0.9, 0.85, 0.95))
    measured["scores"]["adversarial_auroc"]["reason"] = "fewer than two distinct <synthetic> texts"
    page = read(make_run(tmp_path, measured=measured))
    assert "cannot be said: fewer than two distinct <synthetic> texts." in page.text
    assert "none fewer than two distinct <synthetic> texts" in page.text
    assert "nan" not in page.text.casefold().split()


def test_the_less_kind_of_two_classifiers_is_heard(tmp_path: Path) -> None:
    others = {"adversarial_auroc[domain]": ((0.9, 0.85, 0.95), (0.7, 0.6, 0.8))}
    page = read(make_run(tmp_path, measured=metrics((0.5, 0.45, 0.55), (0.52, 0.47, 0.57), others=others)))
    second = "a second one, which looks through the fine-tuned model itself, can (90 of 100, 85 to 95)"
    assert f"{second}, and is worse than plain nucleus sampling." in page.text
    assert "By one of the classifiers, yes" in page.text


@pytest.mark.parametrize(
    ("diversity", "ceiling", "said"),
    [
        ((0.50, 0.45, 0.55), 0.52, "no difference from real texts can be seen at this size"),
        ((0.50, 0.48, 0.52), 0.60, "less varied than real ones: they repeat sequences of words more"),
        ((0.90, 0.88, 0.92), 0.60, "more varied than real ones, which can be a sign of noise"),
        # The ceiling is as uncertain as the value: just outside the interval is not apart.
        ((0.50, 0.48, 0.52), 0.53, "no difference from real texts can be seen at this size"),
    ],
)
def test_the_verdict_follows_the_variety(tmp_path: Path, diversity, ceiling, said) -> None:
    measured = metrics((0.5, 0.4, 0.6), diversity=diversity, ceiling=ceiling)
    assert said in read(make_run(tmp_path, measured=measured)).text


def test_a_set_that_says_much_about_little_is_less_varied(tmp_path: Path) -> None:
    others = {"coverage": ((0.4, 0.35, 0.45), (0.9, 0.85, 0.95)), "vendi": ((9.0, 8.0, 10.0), (40.0, 39.0, 41.0))}
    measured = metrics((0.5, 0.4, 0.6), others=others)
    measured["scores"]["coverage"]["ceiling"], measured["scores"]["vendi"]["ceiling"] = 0.95, 41.0
    said = read(make_run(tmp_path, measured=measured)).text
    assert "they amount to fewer different texts (9.00, real texts 41)" in said
    assert "they leave more of the real texts without a like (40%, real texts 95%)" in said


@pytest.mark.parametrize(
    ("copied", "said"),
    [
        ((0.0, 0.0, 0.02), ["No leak was found", "none of the 3 texts is a near copy", "up to 2.0% is not ruled out"]),
        ((1 / 3, 0.06, 0.79), ["They leak: 33% of them (6.0% to 79%) are near copies of a training text", "1 of 3"]),
    ],
)
def test_the_verdict_follows_the_copies(tmp_path: Path, copied, said) -> None:
    page = read(make_run(tmp_path, measured=metrics((0.5, 0.4, 0.6), copied=copied)))
    said = [*said, "by the same notion of a copy: 2 of the 10 texts drawn by steering"]
    assert [words for words in said if words not in page.text] == []


def test_samples_stand_beside_the_training_text_of_the_most_like_wording(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    samples = page.text[page.text.index("Some of them all") : page.text.index("All 3 synthetic texts")]
    assert samples.index(SYNTHETIC[0]) < samples.index(REAL[0]) < samples.index(SYNTHETIC[2])
    assert REAL[3] not in samples


def test_many_samples_are_not_all_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steer.report.texts.LISTED", 2)
    monkeypatch.setattr("steer.report.texts.SPREAD", 2)
    monkeypatch.setattr("steer.report.texts.AMONG", 1)
    page = read(make_run(tmp_path))
    assert "All 3 stand in synthetic.jsonl" in page.text
    assert "Only the first 1 training texts were looked at" in page.text
    assert SYNTHETIC[1] not in page.text


def test_a_run_measured_before_there_were_details_says_what_is_left_out(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    assert "There are few pictures: what they are made of was not stored" in page.text
    assert "The best, worst, most copied and most novel texts were not noted down" in page.text


def test_pictures_of_a_run_stand_beside_its_report(tmp_path: Path) -> None:
    folder = make_run(tmp_path, measured=FULL)
    maps = {"pca": {"synthetic": [[0, 0, 0], [1, 0, 1], [0, 1, 2]], "real": [[0, 0, 0]]}}
    details = {"maps": maps, "picks": {"worst": [[1, 0, 2.5]]}}
    write_json(folder / "details.json", details)
    page = read(folder)
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{name}.svg" for name in ("map-pca", "scores", "growth", "training")
    }
    worst = page.text[page.text.index("log-odds +2.50") :]
    assert 0 < worst.index("s1") < worst.index(SYNTHETIC[1]) < worst.index(REAL[0])
    assert f"real\n{REAL[3]}" in "".join((folder / "figures" / "map-pca.svg").read_text().replace("&amp;", "&"))


def test_refused_texts_are_counted_and_shown_with_their_source(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    refused = page.text[page.text.index("What was refused Every") :]
    for words in ("steering 2 (20%)", "nucleus 1 (25%)", "95% alike", "70% of the words are one run", "(empty)"):
        assert words in refused
    assert "Steering drew 10 texts, of which it accepted 3 and had no need of 4 more." in refused


def test_the_weights_are_shown_and_their_sum(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    assert "1.5*domain − 0.1*base − 0.4*domain[negatives]" in page.text
    for words in ("+1.5", "−0.1", "−0.4", "Sum of the weights 1 Adding up to 1", "steer(gamma, eta), with gamma 0.1"):
        assert words in page.text


def test_a_sum_of_nothing_is_warned_of(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, guidance="steer_authors(0.2, 1.5)"))
    assert "Sum of the weights −0.5" in page.text
    assert "Warning: the weights of" in page.text


def test_curves_and_settings_are_there(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, measured=FULL))
    for words in (
        "went through the training texts 2.5 times",
        "after step 20",
        "1 texts were too long",
        "in 3 rounds",
        "3 empty",
        "1 min 25 s",
        "ab" * 32,
        "copy_threshold: 0.85",
    ):
        assert words in page.text
    assert {"Loss by step", "Novelty and coverage by round"} <= set(page.attributes("aria-label"))


# -- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        (["metrics.json"], "the run stopped before the texts were measured"),
        (["synthetic.jsonl", "metrics.json"], "This run stopped before any synthetic texts were written"),
        (["rejected.jsonl"], "The refused texts themselves were not written down"),
        (["manifest.json"], "The model was not fine-tuned: the run stopped before that."),
        (["baseline.jsonl", "metrics.json"], "Still to do: drawing the rival's texts, measuring."),
        (["data/train.jsonl", "data/validation.jsonl", "data/test.jsonl"], "Still to do: dividing the real texts."),
        (
            ["manifest.json", "synthetic.jsonl", "baseline.jsonl", "metrics.json", "rejected.jsonl", "provenance.jsonl"]
            + [f"data/{part}.jsonl" for part in ("train", "validation", "test")],
            "there is nothing to judge",
        ),
    ],
)
def test_what_is_missing_is_said(tmp_path: Path, missing: list[str], said: str) -> None:
    folder = make_run(tmp_path, measured=FULL)
    for name in missing:
        (folder / name).unlink()
    assert said in read(folder).text


def test_a_finished_run_has_nothing_to_do(tmp_path: Path) -> None:
    assert "Still to do" not in read(make_run(tmp_path, measured=FULL)).text


def test_a_run_that_fell_short_says_so_and_shows_what_there_is(tmp_path: Path) -> None:
    folder = make_run(tmp_path, generate={"count": 50})
    (folder / "synthetic.jsonl").rename(folder / "synthetic.partial.jsonl")
    page = read(folder)
    assert "It was to write 50, and had 3 accepted when its attempts were used up" in page.text
    assert SYNTHETIC[2] in page.text


def test_nothing_refused_is_said_as_well(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    # Counts of zero are left out; one round, one measurement.
    manifest |= {"gates": {"steer": {"accepted": 3}}, "convergence": manifest["convergence"][:1]}
    manifest["finetune"] |= {"evaluated_at": [5], "training_loss": [2.0], "validation_loss": [2.0]}
    write_json(folder / "manifest.json", manifest)
    page = read(folder)
    for words in (
        "Steering drew 3 texts, of which it accepted 3.",
        "steering 0 (0%)",
        "fewer than two",
        "after step 5",
    ):
        assert words in page.text
    assert not {"Loss by step", "Novelty and coverage by round"} & set(page.attributes("aria-label"))


def test_no_text_accepted_is_said(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    write_jsonl(folder / "synthetic.jsonl", [])
    assert "There is no synthetic text: none was accepted." in read(folder).text


# -- the parts -------------------------------------------------------------------------------------------------------


def test_shared_words_are_marked_in_both_texts_and_nothing_is_lost() -> None:
    text, source = "Old  stars of the halo\nfade, slowly.", "Faint stars of the Halo fade at once."
    mine, theirs = shared(text, source)
    assert "".join(piece for piece, _ in mine) == text
    assert "".join(piece for piece, _ in theirs) == source
    assert [piece for piece, marked in mine if marked] == ["stars of the halo\nfade,"]
    assert [piece for piece, marked in theirs if marked] == ["stars of the Halo fade"]


@pytest.mark.parametrize("values", [[0.5], [0.0, 0.0], [0.981, 0.999], [-3.0, 7.0], [1e-6, 2e-6], [math.nan, 0.3]])
def test_an_axis_holds_its_values(values: list[float]) -> None:
    axis = Axis.around(values)
    assert all(0 <= axis.percent(value) <= 100 for value in values if not math.isnan(value))
    assert axis.label(axis.low) != axis.label(axis.high)
    assert (axis.low >= 0 and axis.high <= 1) == all(math.isnan(value) or 0 <= value <= 1 for value in values)


def test_a_token_is_shaded_by_how_far_it_was_moved() -> None:
    page = Page(explanation_page(explanation()))
    shades = [attributes for _, attributes in page.tags if "title" in attributes]
    assert [shade["class"] for shade in shades] == ["token raised", "token lowered", "token still", "token still"]
    raised, lowered, *still = (float((shade["style"] or "").removeprefix("--shade: ")) for shade in shades)
    assert 0 < raised < lowered < 1
    assert still == [0, 0]
    assert "moved +0.50 nats" in page.attributes("title")


def test_an_explanation_shows_weights_numbers_and_negatives() -> None:
    page = Page(explanation_page(explanation()))
    for words in (
        "+1.6",
        "Sum of the weights 1",
        "Not <this> again.",
        "Write <a> note.",
        "·<b>",
        "−4.00",
        "−2.00",
        "↵",
    ):
        assert words in page.text
    assert "No negatives." in Page(explanation_page(explanation(negatives=[]))).text


def test_a_formula_of_other_streams_is_put_into_words() -> None:
    weights = {"domain": 2.0, 'expert("big")': -0.5, "domain[tail(8)]": -0.5}
    formula = '2*domain - 0.5*expert("big") - 0.5*domain[tail(8)] | mask(domain, alpha=0.1)'
    logprobs = {name: [-1.0] for name in weights}
    page = Page(
        explanation_page(
            explanation(formula=formula, weights=weights, tokens=["A"], logprobs=logprobs, combined=[-1.0])
        )
    )
    for words in ("another model (big), shown the prompt", "shown only the last 8 tokens", "at least 0.1 times as"):
        assert words in page.text


def test_metrics_of_evaluate_are_understood(tmp_path: Path) -> None:
    """What `steer.evaluate` writes today is read without a score that speaks only by its name."""
    from steer.evaluate import evaluate

    real = [f"{text} Case {i}." for i in range(3) for text in REAL]
    metrics = ["ngram_diversity", "vendi", "adversarial_auroc", "precision", "copied_share", "membership_auroc"]
    measured = evaluate(real, real[:6], train=real[6:], metrics=metrics).to_json()
    page = read(make_run(tmp_path, measured=json.loads(json.dumps(measured, allow_nan=False))))
    assert "Further scores" not in page.text
    assert all(name in page.text for name in measured["scores"])
