"""The report of any two files: three sentences, each score in plain words, and a leak that nobody can overlook."""

import re
import sys
from math import nan
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from test_report import Page, score

from steer.evaluate import evaluate
from steer.evaluate.catalogue import NAMES
from steer.report import write_evaluation
from steer.report.kinds import FIRST, KINDS, OTHER, kind
from steer.report.pictures import outline

WORDS = ["gas", "disc", "star", "moon", "ring", "dust", "halo", "wind", "jet", "cloud", "orbit", "tide"]
TEXTS = {
    "real": [f"The {a} of the {b} cools." for a in WORDS for b in WORDS if a < b],
    "synthetic": [f"A {a} meets a {b}." for a in WORDS for b in WORDS if a < b],
    "train": [f"Why does the {a} heat the {b}?" for a in WORDS for b in WORDS if a < b],
}
FILES = {name: f"{name}.jsonl" for name in TEXTS}
GOOD = {
    "adversarial_auroc": score(0.5, 0.45, 0.55, 0.51, better=False),
    "coverage": score(0.98, 0.95, 1.0, 0.97),
    "ngram_diversity": score(0.6, 0.58, 0.62, 0.6),
    "hull_f": score(0.4, 0.35, 0.45, 0.41),
    "copied_share": score(0.0, 0.0, 0.02, 0.0, better=False),
    "calibrated_authenticity": score(0.95, 0.92, 0.97, 0.94),
    "membership_auroc": score(0.5, 0.46, 0.54, 0.5, better=False),
}
DETAILS = {
    "maps": {"pca": {"synthetic": [[0, 0, 0], [1, 0, 1], [0, 1, 2]], "real": [[0.1, 0, 3], [1, 1, 4], [2, 0, 5]]}},
    "distances": {"training": [0.5, 0.6], "held-out": [0.5, 0.7], "synthetic": [0.4, 0.8]},
    "lengths": {"real": [5, 5], "synthetic": [5, 6]},
    "labels": {"real": {"toxic": 0.4, "kind": 0.6}, "synthetic": {"toxic": 0.5, "kind": 0.5}},
    "novelty": {"synthetic": [[10, 1.0], [20, 0.9]]},
    "picks": {
        kind: [[row, 10 + row, value]]
        for kind, row, value in (("best", 0, -2.0), ("worst", 1, 2.0), ("copied", 2, 0.1), ("novel", 3, 3.0))
    },
}


def evaluation(scores=None, rivals=None, details=DETAILS, **more):
    """What `evaluate` returns, as far as a report asks: scores on top of good ones. rivals: name -> (scores, p)."""
    changed = {**GOOD, **(scores or {})}
    others = {
        name: {
            "scores": {**GOOD, **theirs},
            "differences": {
                of: {"value": (changed[of]["value"] or 0) - (row["value"] or 0), "adjusted": p}
                for of, row in {**GOOD, **theirs}.items()
            },
        }
        for name, (theirs, p) in (rivals or {}).items()
    }
    made = {"scores": changed, "rivals": others, "notes": ["words are counted as: whitespace"], **more}
    return SimpleNamespace(
        to_json=lambda: made, details=None if details is None else SimpleNamespace(to_json=lambda: details)
    )


def write(folder: Path, made, texts=TEXTS, files=FILES) -> str:
    write_evaluation(made, texts, files, folder / "page.html", folder / "figures")
    return (folder / "page.html").read_text(encoding="utf-8")


def summary(page: str) -> list[str]:
    (found,) = re.findall(r'<div class="summary">(.*?)</div>', page, re.DOTALL)
    return [Page(f"<p>{words}</p>").text for words in re.findall(r"<p[^>]*>(.*?)</p>", found, re.DOTALL)]


# -- the page --------------------------------------------------------------------------------------------------------


def test_verdict_table_pictures_texts_and_method_come_in_this_order(tmp_path: Path) -> None:
    page = write(tmp_path, evaluation())
    ids = [name for name in Page(page).attributes("id") if name in ("verdict", "scores", "pictures", "texts", "method")]
    assert ids == ["verdict", "scores", "pictures", "texts", "method"]
    assert not {"formula", "refused", "training", "settings", "growth"} & set(Page(page).attributes("id"))
    assert {"#scores", "#pictures", "#texts", "#method"} == set(Page(page).attributes("href")) - {"data:,"}


@pytest.mark.parametrize(
    "made",
    [
        evaluation(),
        evaluation({"membership_auroc": score(0.75, 0.7, 0.8)}),
        evaluation(dict.fromkeys(GOOD, score(nan, reason="too few texts"))),
        evaluation({"ngram_diversity": score(0.2, 0.1, 0.3, 0.6)}, {"a": ({}, 0.01), "b": ({}, 1.0)}),
    ],
    ids=["good", "leak", "unknown", "rivals"],
)
def test_the_verdict_is_three_sentences(tmp_path: Path, made) -> None:
    said = summary(write(tmp_path, made))
    assert len(said) == 3
    assert all(words.endswith(".") and not re.search(r"[.!?]\s", words) for words in said)


def test_nothing_is_fetched_and_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = {**TEXTS, "synthetic": [f"See http://example.org/{i} //x" for i in range(66)]}
    made = evaluation(rivals={"baseline": ({}, 0.5)})
    first = write(tmp_path / "a", made, texts)
    assert write(tmp_path / "b", made, texts) == first
    page = Page(first)
    assert not {"script", "img", "iframe", "object", "embed", "base", "form", "use", "image"} & {
        t for t, _ in page.tags
    }
    for name in ("src", "srcset", "href", "xlink:href", "action"):
        assert all(value.startswith(("#", "data:")) for value in page.attributes(name))
    assert not any(word in page.style for word in ("url(", "@import", "http:", "https:", "//"))
    assert "default-src 'none'" in " ".join(page.attributes("content"))
    for one, other in zip(*(sorted((tmp_path / run / "figures").iterdir()) for run in "ab"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_only_what_is_asked_for_is_written(tmp_path: Path) -> None:
    write_evaluation(evaluation(), TEXTS, FILES, tmp_path / "page.html", None)
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    write_evaluation(evaluation(), TEXTS, FILES, None, tmp_path / "deep" / "figures")
    assert (tmp_path / "deep" / "figures" / "map-pca.svg").is_file()


HOSTILE = [
    "<script>alert('x')</script> & {{ 1 }} {% raw %} ]]>",
    "NUL \0 escape \x1b half \ud800 none \uffff",
    "x" * 100_000,
    "‮שלום עולם‬ مرحبا",
    "",
]


def test_hostile_texts_are_shown_and_do_nothing(tmp_path: Path) -> None:
    texts = {name: [*HOSTILE, *some] for name, some in TEXTS.items()} | {HOSTILE[0]: HOSTILE}
    files = {**FILES, "synthetic": HOSTILE[0], HOSTILE[0]: HOSTILE[3]}
    labels = {HOSTILE[0]: 0.5, HOSTILE[1]: 0.5}
    details = {
        **DETAILS,
        "labels": {"synthetic": labels, "real": labels},
        "maps": {"pca": {of: [[i, i * i, i] for i in range(5)] for of in ("synthetic", "real")}},
        "lengths": {"synthetic": [0, 1, 100_000], "real": [0]},
        "distances": {"synthetic": [None, 0.0], "training": [], "held-out": [None]},
        "picks": {"worst": [[i, i, 0.0] for i in range(5)], "copied": [[10**6, 0, 0.0], [0, 10**6, 0.0], [0, 0, None]]},
    }
    by_label = {label: {"scores": GOOD} for label in HOSTILE}
    made = evaluation(rivals={HOSTILE[0]: ({}, 0.5)}, details=details, labels=by_label)
    page = write(tmp_path, made, texts, files)
    assert not re.search("[\0\x1b\ud800\uffff]", page)
    assert HOSTILE[2][:1501] not in page
    shown = Page(page)
    assert "script" not in {tag for tag, _ in shown.tags}
    assert HOSTILE[0] in shown.text
    assert "NUL � escape � half �" in shown.text
    assert "and 98,500 more characters" in shown.text
    assert "distance without end" in shown.text
    for path in (tmp_path / "figures").iterdir():
        ElementTree.parse(path)


# -- the verdict -----------------------------------------------------------------------------------------------------

LEAKS = {
    "copies": (
        {"copied_share": score(0.25, 0.2, 0.3, 0.01, better=False)},
        ["25% of them (20% to 30%) are near copies of a training text, and 1.0% of real texts in their place"],
    ),
    "members": (
        {"membership_auroc": score(0.75, 0.7, 0.8, better=False)},
        ["in 75 of 100 pairs (70 to 80) a training text lies closer to them than a held-out one, and chance is 50"],
    ),
    "near": (
        {"calibrated_authenticity": score(0.74, 0.68, 0.8)},
        ["only 74% of them (68% to 80%) keep the distance from training texts that 95% of other real texts keep"],
    ),
    "not calibrated": (
        {"calibrated_authenticity": score(nan, reason="few"), "authenticity": score(0.2, 0.15, 0.25, 0.55)},
        ["only 20% of them (15% to 25%) lie further from the nearest training text", "as do 55% of other real texts"],
    ),
    "as another embedder sees it": (
        {"membership_auroc[minilm]": score(0.75, 0.7, 0.8, better=False)},
        ["a training text lies closer to them than a held-out one, seen through minilm"],
    ),
}
RIVAL = {"adversarial_auroc": score(0.9, 0.85, 0.95), "coverage": score(0.5, 0.4, 0.6)}


@pytest.mark.parametrize(("scores", "said"), LEAKS.values(), ids=LEAKS)
def test_a_leak_cannot_be_overlooked_however_good_the_rest_is(tmp_path: Path, scores, said) -> None:
    page = write(tmp_path, evaluation(scores, {"rival": (RIVAL, 0.001)}))
    faithful, varied, authentic = summary(page)
    assert authentic.startswith("They leak: ")
    assert [words for words in said if words not in authentic] == []
    assert re.search(r'<p class="alarm">They leak', page)
    assert '<div class="answer alarm">' in page
    assert "no merit" in faithful
    assert "no merit" in varied
    # Among the scores of copying it may still do better or worse; nowhere else.
    before = page[: page.index("<h3>Not copied?</h3>")]
    assert not re.search("(better|worse) than|synthetic is (better|worse)", before)
    assert "synthetic is higher" in before


def test_what_is_no_leak_is_not_called_one(tmp_path: Path) -> None:
    page = write(tmp_path, evaluation(rivals={"rival": (RIVAL, 0.001)}))
    faithful, _, authentic = summary(page)
    assert authentic.startswith("No leak was found at this size: none of the 66 texts is a near copy of a training one")
    assert "(up to 2.0% is not ruled out)" in authentic
    assert "is better than rival" in faithful
    assert 'class="alarm"' not in page
    assert "answer alarm" not in page


def test_copies_that_real_texts_hold_as_well_are_told_and_are_no_leak(tmp_path: Path) -> None:
    scores = {"copied_share": score(0.05, 0.02, 0.09, 0.04, better=False)}
    _, _, authentic = summary(write(tmp_path, evaluation(scores)))
    assert authentic.startswith("No leak beyond chance was found at this size: 5.0% of them (2.0% to 9.0%)")
    assert "and 4.0% of real texts in their place" in authentic


def test_what_the_generators_own_model_sees_proves_no_leak_and_is_told(tmp_path: Path) -> None:
    page = write(tmp_path, evaluation({"membership_auroc[domain]": score(0.65, 0.57, 0.73, better=False)}))
    assert summary(page)[2].startswith("No leak was found")
    assert "Seen through the fine-tuned model itself it is 65 (57 to 73) of 100 pairs. That proves nothing" in page


def test_a_rival_that_leaks_is_no_model(tmp_path: Path) -> None:
    leaky = {**LEAKS["copies"][0], "adversarial_auroc": score(0.4, 0.38, 0.42), "coverage": score(1.0, 0.99, 1.0)}
    made = evaluation({"adversarial_auroc": score(0.7, 0.65, 0.75)}, {"thief": (leaky, 0.001), "other": (RIVAL, 0.001)})
    page = write(tmp_path, made)
    faithful, *_ = summary(page)
    assert "is better than other." in faithful
    assert "thief" not in faithful
    assert "The rival “thief” leaks: 25% of them" in page
    assert "synthetic is higher" in page


def test_without_training_texts_memorising_cannot_be_judged(tmp_path: Path) -> None:
    texts = {name: some for name, some in TEXTS.items() if name != "train"}
    unknown = {"membership_auroc": score(nan, reason="it takes the training texts (--train)")}
    _, _, clean = summary(write(tmp_path, evaluation(unknown), texts))
    assert clean.startswith(
        "No copying was found at this size: none of the 66 texts is a near copy of a given real one"
    )
    assert clean.endswith("whether anything was memorised cannot be judged without the training texts.")
    page = write(tmp_path, evaluation({**unknown, **LEAKS["copies"][0]}), texts)
    copied = summary(page)[2]
    assert copied.startswith("They copy the real texts that were given: 25% of them (20% to 30%) are near copies of a")
    assert "They leak" not in page
    assert "Nothing is known of what they were made from." in Page(page).text
    assert "near copies of a given real text" in Page(page).text


def test_what_is_undefined_is_none_with_its_reason(tmp_path: Path) -> None:
    made = evaluation(dict.fromkeys(GOOD, score(nan, reason="fewer than two texts")), {"a": ({}, None)})
    page = write(tmp_path, made)
    assert summary(page) == [
        "Whether the synthetic texts can be told from real ones cannot be said: fewer than two texts.",
        "Whether they are as varied as real texts cannot be said: fewer than two texts.",
        "Whether anything was copied or memorised cannot be said: fewer than two texts.",
    ]
    shown = Page(page).text
    assert len(re.findall("none fewer than two texts", shown)) >= len(GOOD)
    assert "nan" not in shown.casefold().split()


# -- the table -------------------------------------------------------------------------------------------------------


def test_every_score_there_is_has_plain_words() -> None:
    assert set(NAMES) == set(KINDS)
    assert set(FIRST) <= set(NAMES)
    assert all(KINDS[name].question and KINDS[name].group != OTHER for name in NAMES)
    assert all("few far-out texts" in KINDS[name].caution for name in NAMES if name.startswith("hull_"))
    assert kind("adversarial_auroc[domain]").best == kind("membership_auroc").best == "half"


def test_three_rivals_stand_beside_the_synthetic_texts(tmp_path: Path) -> None:
    worse = {"coverage": score(0.5, 0.4, 0.6), "adversarial_auroc": score(0.8, 0.7, 0.9)}
    rivals = {"nucleus": (worse, 0.001), "second": (worse, 0.2), "third": ({"coverage": score(nan, reason="x")}, None)}
    texts = {**TEXTS, "baseline": TEXTS["real"], "second": TEXTS["real"], "third": []}
    page = write(tmp_path, evaluation(rivals=rivals), texts, {**FILES, "baseline": "rival.jsonl"})
    coverage = page[page.index("<code>coverage</code>") :].partition("</article>")[0]
    assert [Page(part + "</dd>").text for part in re.findall(r"<dd><span.*?(?=</dd>)", coverage)][1:] == [
        "nucleus 0.500 (0.400 to 0.600)synthetic is better",
        "second 0.500 (0.400 to 0.600)cannot be told apart",
        "third none",
    ]
    # A mark for each that has a value, and each set has its own.
    marks = re.findall(r'<path class="mark \w+ (c\d)"', coverage.partition("</svg>\n    <div")[0])
    assert marks == ["c0", "c2", "c3"]
    assert "is better than plain nucleus sampling" in summary(page)[0]
    assert "rival.jsonl" in page


def test_further_scores_are_folded_away_and_hulls_come_with_a_warning(tmp_path: Path) -> None:
    page = write(tmp_path, evaluation({"mauve": score(0.9, 0.8, 1.0), "mauve[minilm]": score(0.9, 0.8, 1.0)}))
    folded = "".join(re.findall(r'<details class="rest">.*?</details>\s*(?=<h3|</div>)', page, re.DOTALL))
    assert "<code>hull_f</code>" in folded
    assert "<code>mauve[minilm]</code>" in folded
    assert not any(f"<code>{name}</code>" in folded for name in FIRST)
    hull = page[page.index("<code>hull_f</code>") :].partition("</article>")[0]
    assert "a few far-out texts can make this look good: do not read it alone" in hull


def test_p_signature_and_files_are_told(tmp_path: Path) -> None:
    page = Page(write(tmp_path, evaluation({"mmd": {**score(0.1, 0.0, 0.2, better=False), "p": 0.005}}))).text
    for words in (
        "p 0.005",
        "embedder tfidf+svd",
        "synthetic.jsonl",
        "train.jsonl",
        "words are counted as: whitespace",
    ):
        assert words.replace(" ", "") in page.replace(" ", "")


def test_labels_have_a_table_of_their_own(tmp_path: Path) -> None:
    by_label = {f"label {i}": {"scores": {"coverage": score(i / 100, 0.0, 1.0, 0.9)}} for i in range(45)}
    page = Page(write(tmp_path, evaluation(labels=by_label))).text
    assert "label 390.390(0.000 to 1.000)real 0.900" in page
    assert "label 400.400" not in page
    assert "5 more labels" in page


# -- pictures and texts ----------------------------------------------------------------------------------------------


def test_every_picture_is_a_file_and_stands_in_the_page(tmp_path: Path) -> None:
    of_size = {name: {"mean": 0.8, "sd": 0.05} for name in ("synthetic", "real", "both")}
    learnt = {"curve": [[10, of_size], [20, of_size]], "chance": 0.5, "signature": "learner", "reason": None}
    page = write(tmp_path, evaluation(usefulness={"synthetic": learnt, "other": {**learnt, "curve": [[15, of_size]]}}))
    names = {"map-pca", "distances", "lengths", "labels", "novelty", "learning", "scores"}
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == names
    assert {f"picture-{name}" for name in names} <= set(Page(page).attributes("id"))
    assert len(re.findall('<figure class="drawn">', page)) == len(names)
    for path in (tmp_path / "figures").iterdir():
        assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    learning = (tmp_path / "figures" / "learning.svg").read_text()
    assert all(f">{name}<" in learning for name in ("synthetic only", "real only", "real and synthetic", "chance"))
    hover = (tmp_path / "figures" / "map-pca.svg").read_text()
    assert f"synthetic\n{TEXTS['synthetic'][2]}" in hover
    assert f"real\n{TEXTS['real'][4]}" in hover


def test_an_outline_goes_around_its_points() -> None:
    square = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
    around = outline([(0.5, 0.5), *square, (0.2, 0.7)])
    start = around.index((0.0, 0.0))
    assert around[start:] + around[:start] in (square, [square[0], *square[:0:-1]])
    assert outline([(0.0, 0.0), (1.0, 1.0)]) == outline([(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)]) == []


def test_picks_stand_beside_their_nearest_training_text(tmp_path: Path) -> None:
    page = Page(write(tmp_path, evaluation())).text
    picks = ("Best", "log-odds −2.00"), ("Worst", "log-odds +2.00"), ("Most copied", "0.10"), ("Most novel", "3.00")
    for row, (title, number) in enumerate(picks):
        part = page[page.index(number, page.index(title)) :]
        mine, source = TEXTS["synthetic"][row], TEXTS["train"][10 + row]
        assert part.index(f"no. {row + 1}") < part.index(mine) < part.index(source)


def test_suspects_are_counted_and_of_many_the_first_are_shown(tmp_path: Path) -> None:
    copies = [{"row": i, "source": i, "reason": "near copy", "similarity": 0.9 + i / 1000} for i in range(12)]
    near = [{"row": 20, "source": 7, "reason": "distance", "similarity": 0.61}]
    page = write(tmp_path, evaluation(LEAKS["copies"][0], suspects=[*near, *copies]))
    shown = Page(page).text
    assert "Copies: 12 of 66" in shown
    assert "The first 10 are shown." in shown
    assert shown.index("no. 12") < shown.index("no. 11")  # the likest first
    assert "Suspects by their distance alone: 1 of 66" in shown
    assert "Of 66 texts, about 3 (5%) are expected here by chance." in shown
    assert '<div class="gate alarm">' in page


def test_without_details_the_rest_is_still_told(tmp_path: Path) -> None:
    page = Page(write(tmp_path, evaluation(details=None))).text
    assert "There are few pictures" in page
    assert "were not noted down" in page
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["scores.svg"]


@pytest.mark.parametrize("sizes", [(0, 0, 0), (0, 3, 3), (3, 0, 0), (1, 1, 1), (30, 1, 2)], ids=str)
def test_however_few_texts_there_are_there_is_a_report(tmp_path: Path, monkeypatch, sizes) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    texts = {name: TEXTS[name][:size] for name, size in zip(("real", "synthetic", "train"), sizes, strict=True)}
    texts["other"] = TEXTS["synthetic"][:2]
    rivals, metrics = {"other": texts["other"]}, ["adversarial_auroc", "vendi", "copied_share", "authenticity"]
    made = evaluate(
        texts["real"], texts["synthetic"], train=texts["train"], rivals=rivals, metrics=metrics, details=True
    )
    assert len(summary(write(tmp_path, made, texts))) == 3


def test_what_evaluate_returns_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)  # which takes seconds to load
    metrics = ["adversarial_auroc", "ngram_diversity", "vendi", "precision", "copied_share", "membership_auroc"]
    real, train = TEXTS["real"], TEXTS["train"]
    texts = {"real": real, "synthetic": train[:50], "train": train, "rival": real[:50], "baseline": TEXTS["synthetic"]}
    made = evaluate(
        real,
        texts["synthetic"],
        train=train,
        baseline=texts["baseline"],
        rivals={"rival": texts["rival"]},
        metrics=metrics,
        details=True,
    )
    page = write(tmp_path, made, texts, {**FILES, "rival": "rival.jsonl", "baseline": "nucleus.jsonl"})
    assert summary(page)[2].startswith("They leak: 100% of them")
    assert "distances.svg" in {path.name for path in (tmp_path / "figures").iterdir()}
