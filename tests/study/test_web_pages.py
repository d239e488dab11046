"""What a page holds, and what it does not tell."""

import base64
import json
import re
from pathlib import Path

import pytest
import sample
from markupsafe import escape
from visiting import ADMIN, Browser, form_of, seen

from steer.study.plan import CREATIVE, Question
from steer.study.store import Store

# -- what a page holds -------------------------------------------------------------------------------------------------

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "apostrophe": "' onfocus='alert(1)' autofocus='",
    "template": "{{ 7*7 }}{% for x in range(9) %}49{% endfor %}${7*7}#{7*7}",
    "closing": "</div></article></main><!-- --></textarea></title>",
    "entity": "&lt;b&gt; &amp;amp; &#60;i&#62;",
    "right to left": "\u202eאבג\u202c \u2067left\u2069 \u200f",
    "NUL": "before\x00after",
    "lines": "one\n\n  two\tthree",
    "long": "abcdefghi " * 999 + "abcdefghi.",
    "one word": "x" * 10_000,
    "emoji": "👩\u200d🚀 ☄\ufe0f e\u0301",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_stands_on_its_page_once_as_it_is(sited, text):
    plain = "A text of no interest, to stand beside the other."
    site = sited(sample.of_texts(text, plain))
    page = Browser(site).join(site.store.invite("expert")).get("/study")
    assert page.raw.count(str(escape(text))) == 1
    assert page.words.count(text) == 1  # read back, it is the very text
    assert page.words.count(plain) == 1
    clean = sited(sample.of_texts("Another one, just as dull.", plain))
    tags = re.compile(r"<[a-zA-Z/!][^>]*>")
    other = Browser(clean).join(clean.store.invite("expert")).get("/study")
    assert re.sub(r'value="[^"]*"', "", str(tags.findall(page.raw))) == re.sub(
        r'value="[^"]*"', "", str(tags.findall(other.raw))
    )


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_words_of_the_study_itself_are_escaped(sited, text):
    study = sample.study(title=text, prompt=text, questions=(Question(name="odd", asks=text),))
    sets = (study.sets[0].model_copy(update={"name": text}), study.sets[1])
    pairs = [p if p.gold else p.model_copy(update={"a": p.a.model_copy(update={"set": text})}) for p in study.pairs]
    site = sited(study.model_copy(update={"sets": sets, "pairs": tuple(pairs)}))
    invitation = site.store.invite("expert")
    browser = Browser(site)
    shown = [browser.get(f"/i/{invitation}"), browser.join(invitation).get("/study"), browser.get("/elsewhere")]
    browser.ask("GET", f"/a/{ADMIN}")
    shown.append(browser.get("/admin"))
    for page in shown:
        assert text in page.words
        if str(escape(text)) != text:
            assert text not in page.raw


def payload(token: str) -> object:
    part = token.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_no_page_and_no_header_tells_what_an_annotator_must_not_know(sited):
    study = sample.study(8, gold=2, repeats=3, per_annotator=7)
    site = sited(study)
    invitation = site.store.invite("expert")
    browser = Browser(site)
    answers = [browser.ask("GET", f"/i/{invitation}")]
    browser.join(invitation)
    while "/answer" in browser.get("/study").forms:
        form = browser.get("/study").forms["/answer"]
        answers += [browser.ask("GET", "/study"), browser.send(form, answer=form.buttons["1"])]
    answers += [browser.ask("GET", path) for path in ("/study", "/elsewhere", "/none", "/static/style.css")]
    assert len(answers) > 2 * 2 * (7 + 2 + 3)
    hidden = [*sample.SETS, str(study.seed), study.digest, "gold", "repeat", "earnest", "again", "expected"]
    hidden += [one for pair in study.pairs for one in (pair.id, pair.a.id, pair.b.id)]
    for answer in answers:
        found = answer.text + str(dict(answer.headers)) + str(dict(browser.client.cookies))
        if "text/css" in answer.headers.get("content-type", ""):
            hidden = hidden[:4]  # its words are about looks
        assert [one for one in hidden if one in found] == []


def test_a_token_holds_step_attempt_and_time_and_nothing_of_the_pair(site, annotator, clock):
    for attempt in range(3):
        form = annotator.get("/study").forms["/answer"]
        assert payload(form.token) == [0, attempt, clock.at]
        annotator.press("1")
        undo = annotator.get("/study").forms["/undo"]
        assert payload(undo.token) == site.store.progress(1).last
        annotator.undo()
    shown = annotator.get("/study").raw
    assert len(re.findall(r'type="hidden"', shown)) == 1


def test_gold_and_repeated_pairs_look_as_all_others(sited):
    """All pages of a question are the same but for texts, tokens and the count of answers."""
    study = sample.study(6, gold=2, repeats=3)
    site = sited(study)
    browser = Browser(site).join(site.store.invite("expert"))
    bare: dict[int, set[str]] = {0: set(), 1: set()}
    headers = set()
    for step in range(2 * (6 + 2 + 3)):
        answer = browser.ask("GET", "/study")
        page = sample.Page(answer.text)
        raw = page.raw
        for text in seen(study, page):
            raw = raw.replace(str(escape(text)), "TEXT")
        for form in page.forms.values():
            raw = raw.replace(form.token, "TOKEN")
        raw = re.sub(rf"\b({step}|{step + 1}) of 22", "N of 22", raw).replace(f'value="{step}"', 'value="N"')
        if step:  # the first has nothing to undo
            bare[step % 2].add(raw)
        headers.add(str({name: value for name, value in answer.headers.items() if name != "content-length"}))
        browser.press("1")
    assert {question: len(pages) for question, pages in bare.items()} == {0: 1, 1: 1}
    assert len(headers) == 1


def test_annotators_meet_other_sides_in_other_orders(sited):
    study = sample.study(8, gold=0, repeats=0, annotators=20, questions=(CREATIVE,))
    site = sited(study)
    met, firsts = set(), 0
    a = {pair.a.text for pair in study.pairs}
    for _ in range(20):
        browser = Browser(site).join(site.store.invite("expert"))
        order = []
        while "/answer" in (page := browser.get("/study")).forms:
            order.append(seen(study, page))
            browser.press("1")
        firsts += sum(first in a for first, _ in order)
        met.add(tuple(order))
    assert len(met) == 20
    assert firsts == 20 * 8 / 2


# -- words -------------------------------------------------------------------------------------------------------------


def test_a_notice_stands_on_every_page(sited):
    notice = "This page is served without encryption."
    for wanted, given in ((True, {"notice": notice}), (False, {})):
        site = sited(**given)
        browser, invitation = Browser(site), site.store.invite("expert")
        pages = [browser.get(f"/i/{invitation}"), browser.join(invitation).get("/study"), browser.get("/elsewhere")]
        pages.append(sample.Page(browser.ask("GET", "/none").text))
        browser.ask("GET", f"/a/{ADMIN}")
        pages.append(browser.get("/admin"))
        assert [notice in page.words for page in pages] == [wanted] * len(pages)


ERRORS = {
    "no such page": ("GET", "/none", 404, "There is nothing here. Open the link from your invitation.", []),
    "a wrong link": ("GET", "/i/wrong", 404, "There is nothing here. Open the link from your invitation.", []),
    "a stranger": ("GET", "/study", 403, "Open the link from your invitation, or your link to go on elsewhere.", []),
    "a stranger's answer": ("POST", "/answer", 403, "Open the link from your invitation, or your link", []),
}


@pytest.mark.parametrize(("method", "path", "status", "words", "back"), ERRORS.values(), ids=ERRORS)
def test_an_error_says_what_to_do(site, method, path, status, words, back):
    options = {"data": {"token": "x", "answer": "first"}} if method == "POST" else {}
    answer = Browser(site).ask(method, path, **options)
    page = sample.Page(answer.text)
    assert answer.status_code == status
    assert words in page.words
    assert page.links == back


def test_the_errors_of_annotators_lead_back(site, annotator, monkeypatch):
    form = form_of(annotator)
    asked = {
        "Please choose one of the answers.": ({**form, "answer": "x"}, 400, "/study"),
        "The form came incomplete. Please go back and try again.": ({"answer": "first"}, 400, "/"),
        "This form is not from this page. Please try again.": ({**form, "token": "x"}, 403, "/"),
    }
    for words, (sent, status, back) in asked.items():
        answer = annotator.ask("POST", "/answer", data=sent)
        page = sample.Page(answer.text)
        assert (answer.status_code, page.links) == (status, [back])
        assert words in page.words
        assert annotator.get(back).forms["/answer"]
    monkeypatch.setattr(Store, "vote", lambda *_: 1 / 0)
    answer = annotator.ask("POST", "/answer", data=form)
    assert answer.status_code == 500
    assert "Something failed on our side. Your answers so far are stored" in sample.Page(answer.text).words
    assert "ZeroDivisionError" not in answer.text
    assert sample.Page(answer.text).links == ["/study"]


def test_pages_load_nothing_from_elsewhere(site, annotator, admin):
    pages = [annotator.get("/study"), annotator.get("/elsewhere"), admin.get("/admin")]
    for page in pages:
        loaded = re.findall(r'(?:src|href|action)="([^"]*)"', page.raw)
        assert loaded
        assert all(one.startswith(("/", "data:")) and not one.startswith("//") for one in loaded)
        assert "style=" not in page.raw  # the policy would not let it
        assert not re.search(r"<script(?! src)|\son\w+=", page.raw)
    static = Path(__file__).parents[2] / "src" / "steer" / "study" / "web" / "static"
    for path in static.iterdir():
        assert not re.search(r"https?://|@import|url\((?!data:)", path.read_text(encoding="utf-8")), path.name
