"""The pages: what annotators and who runs the study can do, what nobody else can, and that no page tells too much."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pytest
import sample
from markupsafe import escape
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from steer.study.plan import CREATIVE, PLAUSIBLE, Question, Study
from steer.study.store import Store, fresh, hashed
from steer.study.votes import COLUMNS, exported
from steer.study.web.app import application
from steer.study.web.guard import HEADERS, LONGEST
from steer.study.web.limits import MOST_KEYS, Limit
from steer.study.web.site import Site

URL = "http://127.0.0.1:8000"
ADMIN = fresh()
KEYS = ("1", "2", "0")  # first, second, no difference


class Served(Site):
    """A site with its application, which takes a while to put together."""

    @cached_property
    def app(self) -> ASGIApp:
        return application(self)


class Browser:
    """A client that keeps cookies, and follows redirections by itself."""

    def __init__(self, site: Served, url: str = URL) -> None:
        self.client = TestClient(site.app, base_url=url, follow_redirects=False, raise_server_exceptions=False)

    def ask(self, method: str, path: str, **options):
        return self.client.request(method, path, **options)

    def get(self, path: str) -> sample.Page:
        answer = self.client.get(path, follow_redirects=True)
        assert answer.status_code == 200, (path, answer.status_code)
        return sample.Page(answer.text)

    def join(self, invitation: str) -> "Browser":
        page = self.get(f"/i/{invitation}")
        answer = self.send(page.forms[f"/i/{invitation}"], agree="yes")
        assert (answer.status_code, answer.headers["location"]) == (303, "/study")
        return self

    def send(self, form: sample.Form, **more: str):
        return self.ask("POST", form.action, data={**form.fields, **more})

    def press(self, key: str) -> None:
        """Answer as the button does that has this key."""
        form = self.get("/study").forms["/answer"]
        answer = self.send(form, answer=form.buttons[key])
        assert (answer.status_code, answer.headers["location"]) == (303, "/study")

    def undo(self) -> None:
        assert self.send(self.get("/study").forms["/undo"]).status_code == 303

    @property
    def token(self) -> str:
        return self.get("/study").forms["/answer"].token

    def cookie(self, value: str | bytes) -> dict[str, str | bytes]:
        """Headers with another cookie than its own."""
        name = b"steer_annotator=" if isinstance(value, bytes) else "steer_annotator="
        return {"Cookie": name + value}


@pytest.fixture
def sited(opened, clock) -> Callable[..., Served]:
    """A site for a study, where no limit is met unless it is given."""

    def made(study: Study | None = None, url: str = URL, **options) -> Served:
        free = {name: Limit(1e9, 1e9) for name in ("unknown", "answers")}
        return Served(opened(study or sample.study()), url, hashed(ADMIN), now=clock, **free | options)

    return made


@pytest.fixture
def site(sited) -> Served:
    return sited()


@pytest.fixture
def annotator(site) -> Browser:
    return Browser(site).join(site.store.invite("expert"))


@pytest.fixture
def admin(site) -> Browser:
    browser = Browser(site)
    assert browser.ask("GET", f"/a/{ADMIN}").headers["location"] == "/admin"
    return browser


def seen(study: Study, page: sample.Page) -> tuple[str, str]:
    """-> the texts of the pair on a page, in their order."""
    texts = {text for pair in study.pairs for text in (pair.a.text, pair.b.text)}
    found = sorted((page.words.index(text), text) for text in texts if text in page.words)
    assert len(found) == 2
    return found[0][1], found[1][1]


# -- the whole study ---------------------------------------------------------------------------------------------------


def test_from_the_invitation_to_the_thanks(sited):
    study = sample.study(5, gold=1, repeats=2, prompt="Questions about the sky.")
    site = sited(study)
    browser = Browser(site).join(site.store.invite("expert"))
    total = (5 + 1 + 2) * 2
    chosen = []
    for step in range(total):
        page = browser.get("/study")
        assert f"{step} of {total}" in page.words
        question = (CREATIVE, PLAUSIBLE)[step % 2]
        assert question.asks in page.words
        assert study.prompt in page.words
        first, second = seen(study, page)
        key = KEYS[step % 3]
        chosen.append((question.name, {first, second}, {"1": first, "2": second, "0": None}[key]))
        browser.press(key)
    page = browser.get("/study")
    assert "Thank you" in page.words
    assert f"{total} of {total}" in page.words
    assert set(page.forms) == {"/undo"}

    voted = []
    for vote in site.store.votes():
        pair = study.by_id[vote.pair]
        winner = None if vote.winner == "tie" else pair.text(vote.winner)
        voted.append((vote.question, {pair.a.text, pair.b.text}, winner))
    assert voted == chosen


def test_undo_leads_back_to_the_question_and_its_new_answer_counts(site, annotator):
    annotator.press("1")
    before = seen(site.store.study, annotator.get("/study"))
    annotator.press("1")
    annotator.undo()
    assert seen(site.store.study, annotator.get("/study")) == before
    annotator.press("2")
    first, second = site.store.votes()
    assert (first.winner, second.winner) == (first.first, {"a": "b", "b": "a"}[second.first])
    for _ in range(2):
        annotator.undo()
    page = annotator.get("/study")
    assert "/undo" not in page.forms  # nothing is left
    assert site.store.votes() == []


def test_undo_after_the_last_answer(site, annotator):
    while "/answer" in annotator.get("/study").forms:
        annotator.press("1")
    annotator.undo()
    assert "/answer" in annotator.get("/study").forms


def test_a_study_without_ties_takes_none(sited):
    site = sited(sample.study(ties=False))
    browser = Browser(site).join(site.store.invite("expert"))
    form = browser.get("/study").forms["/answer"]
    assert set(form.buttons) == {"1", "2"}
    for sent in ("tie", "neither", "0", "", "a", "first "):
        assert browser.send(form, answer=sent).status_code == 400
    assert site.store.votes() == []


def test_every_button_of_a_study_with_ties_is_taken(site, annotator):
    form = annotator.get("/study").forms["/answer"]
    assert set(form.buttons) == set(KEYS)
    for key in KEYS:
        annotator.press(key)
    assert len(site.store.votes()) == 3


def test_the_time_of_an_answer_is_from_its_page_to_its_coming(site, annotator, clock):
    form = annotator.get("/study").forms["/answer"]
    clock.forward(12.5)
    annotator.send(form, answer=form.buttons["1"])
    form = annotator.get("/study").forms["/answer"]
    clock.forward(-3600)  # a clock that is set back
    annotator.send(form, answer=form.buttons["1"])
    assert [vote.seconds for vote in site.store.votes()] == [12.5, 0.0]


# -- who comes by a link -----------------------------------------------------------------------------------------------


def test_who_does_not_consent_does_not_join(site):
    invitation = site.store.invite("expert")
    browser = Browser(site)
    form = browser.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
    for agree in ({}, {"agree": ""}, {"agree": "no"}):
        answer = browser.send(form, **agree)
        assert answer.status_code == 400
        page = sample.Page(answer.text)
        assert "Please tick the box to take part." in page.words
        assert page.forms[form.action].token  # to try again
        assert "set-cookie" not in answer.headers
    assert site.store.annotators() == []


def test_a_look_at_a_link_uses_nothing_up(site):
    invitation = site.store.invite("expert")
    for method in ("GET", "HEAD", "GET", "HEAD", "OPTIONS"):
        answer = Browser(site).ask(method, f"/i/{invitation}")
        assert "set-cookie" not in answer.headers
    assert site.store.invitations()[0].used == 0
    Browser(site).join(invitation)


def test_a_link_for_one_is_used_by_one(site):
    invitation = site.store.invite("expert")
    first, second = Browser(site), Browser(site)
    form = second.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
    first.join(invitation)
    answer = second.send(form, agree="yes")
    assert answer.status_code == 410
    assert "This invitation has been used. If it was you who used it, go on where you began" in answer.text
    assert "set-cookie" not in answer.headers
    assert second.ask("GET", "/study").status_code == 403
    assert len(site.store.annotators()) == 1


def test_a_consent_that_is_sent_twice_joins_once(site):
    """As browsers do where the answer, and the cookie with it, was lost on the way."""
    browser, again = Browser(site), Browser(site)
    invitation = site.store.invite("expert", 2)
    form = browser.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
    cookies = {one.send(form, agree="yes").headers["set-cookie"] for one in (browser, again)}
    assert len(cookies) == 1
    assert len(site.store.annotators()) == 1
    assert again.get("/study").forms["/answer"]


def test_who_opens_their_link_again_goes_on_and_takes_no_second_seat(site):
    invitation = site.store.invite("expert", 3)
    browser = Browser(site)
    form = browser.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
    browser.send(form, agree="yes")
    browser.press("1")
    assert browser.ask("GET", f"/i/{invitation}").headers["location"] == "/study"
    again = browser.send(form, agree="yes")  # from a page in another tab
    assert (again.status_code, again.headers["location"]) == (303, "/study")
    assert "set-cookie" not in again.headers
    assert site.store.progress(1).done == 1
    assert len(site.store.annotators()) == 1


def test_who_was_here_before_joins_by_another_link_as_someone_else(site):
    browser = Browser(site).join(site.store.invite("expert"))
    browser.press("1")
    browser.join(site.store.invite("lay"))
    assert [one.group for one, _ in site.store.annotators()] == ["expert", "lay"]
    browser.press("1")
    assert [vote.group for vote in site.store.votes()] == ["expert", "lay"]


def test_the_link_to_another_device_goes_on_there(site, annotator):
    annotator.press("1")
    page = annotator.get("/elsewhere")
    link = re.search(rf"{URL}(/r/[\w-]+)", page.words)[1]
    second = Browser(site)
    answer = second.ask("GET", link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/study")
    assert seen(site.store.study, second.get("/study")) == seen(site.store.study, annotator.get("/study"))
    one, other = annotator.get("/study").forms["/answer"], second.get("/study").forms["/answer"]
    second.send(other, answer=other.buttons["2"])
    annotator.send(one, answer=one.buttons["1"])  # a page that is old by now
    assert len(site.store.votes()) == 2
    assert len(site.store.annotators()) == 1
    annotator.press("1")
    assert site.store.progress(1).done == 3


def test_the_links_of_another_study_open_nothing_here(sited):
    here, there = sited(), sited(sample.study(title="Another"))
    invitation = there.store.invite("expert")
    elsewhere = Browser(there).join(invitation)
    secret = elsewhere.client.cookies["steer_annotator"]
    browser = Browser(here).join(here.store.invite("expert"))  # its number is 1, as that of the other
    for path in (f"/i/{invitation}", f"/r/{secret}"):
        assert browser.ask("GET", path).status_code == 404
    assert Browser(here).ask("GET", "/study", headers=browser.cookie(secret)).status_code == 403
    form = elsewhere.get("/study").forms["/answer"]
    assert browser.send(form, answer=form.buttons["1"]).status_code == 403
    assert here.store.votes() == []


def wrong(secret: str) -> list[str]:
    """A secret or a token, damaged in ways that may be tried."""
    middle = len(secret) // 2
    other = "A" if secret[middle] != "A" else "B"
    return [
        "",
        " ",
        "x",
        "1",
        secret[:-1],
        secret[1:],
        secret + "A",
        secret.swapcase(),
        secret[::-1],
        f".{secret}",
        f"{secret[:middle]}{other}{secret[middle + 1 :]}",
        "W10.",
        ".",
        "é" * 20,
        "' OR 1=1 --",
        "x" * 5000,
    ]


def test_forged_truncated_and_empty_tokens_are_refused(site, annotator):
    form = annotator.get("/study").forms["/answer"]
    annotator.press("1")
    undo = annotator.get("/study").forms["/undo"]
    for good, more in ((form, {"answer": form.buttons["1"]}), (undo, {})):
        other = undo.token if good is form else form.token  # made for another purpose
        for token in [*wrong(good.token), other]:
            answer = annotator.ask("POST", good.action, data={"token": token, **more})
            assert answer.status_code == (403 if token else 400), token
    assert len(site.store.votes()) == 1


def test_a_token_in_an_odd_encoding_is_refused(site, annotator):
    body = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    parts = body % (b"token", rb"\ud800.x") + body % (b"answer", b"first") + b"--b--\r\n"
    kind = "multipart/form-data; boundary=b; charset=raw_unicode_escape"
    assert annotator.ask("POST", "/answer", content=parts, headers={"Content-Type": kind}).status_code == 403


def test_the_token_of_another_annotator_is_refused(site, annotator):
    other = Browser(site).join(site.store.invite("expert"))
    form = other.get("/study").forms["/answer"]
    assert annotator.send(form, answer=form.buttons["1"]).status_code == 403
    other.press("1")
    assert annotator.send(other.get("/study").forms["/undo"]).status_code == 403
    assert [vote.annotator for vote in site.store.votes()] == ["2"]


def test_a_consent_by_the_token_of_another_invitation_is_refused(site):
    one, other = site.store.invite("expert"), site.store.invite("expert")
    browser = Browser(site)
    token = browser.get(f"/i/{one}").forms[f"/i/{one}"].token
    assert browser.ask("POST", f"/i/{other}", data={"token": token, "agree": "yes"}).status_code == 403
    assert browser.ask("POST", f"/i/{other}", data={"agree": "yes"}).status_code == 400
    assert site.store.annotators() == []


def test_forged_truncated_and_empty_cookies_are_nobodys(site, annotator):
    secret = annotator.client.cookies["steer_annotator"]
    assert Browser(site).ask("GET", "/study", headers=annotator.cookie(secret)).status_code == 200
    for value in [*wrong(secret), ADMIN, "0", hashed(secret).hex()]:
        sent = annotator.cookie(value.encode())
        assert Browser(site).ask("GET", "/study", headers=sent).status_code == 403, value
        assert Browser(site).ask("GET", "/", headers=sent).status_code == 404, value
        answer = Browser(site).ask("POST", "/answer", headers=sent, data={"token": annotator.token, "answer": "first"})
        assert answer.status_code == 403
    assert site.store.votes() == []


@pytest.mark.parametrize("door", ["/i/", "/r/", "/a/"])
def test_forged_links_open_nothing(site, annotator, door):
    secret = {"/i/": site.store.invite("expert"), "/r/": annotator.client.cookies["steer_annotator"], "/a/": ADMIN}
    opens = [other for other in secret if Browser(site).ask("GET", other + secret[door]).status_code != 404]
    assert opens == [door]
    for value in wrong(secret[door]):
        answer = Browser(site).ask("GET", f"{door}{value}")
        assert answer.status_code in (404, 307), value
        assert "set-cookie" not in answer.headers


# -- doors that are not there ------------------------------------------------------------------------------------------

PATHS = """
/ /admin /admin/ /admin/votes.csv /admin/votes.jsonl /admin/votes.json /admin/votes /admin/invite /admin/revoke /a
/a/ /a/admin /i /i/ /i/1 /r /r/ /r/1 /study /study/ /study/1 /answer /undo /elsewhere /docs /docs/oauth2-redirect
/redoc /openapi.json /static /static/ /static/.. /static/../study.json /static/%2e%2e/study.json /static/..%2fapp.py
/static/%2e%2e/app.py /static/%2e%2e%2fapp.py /static/..%5capp.py /static//etc/passwd /static/%00 /static/pages
/votes.sqlite /votes.sqlite-wal /study.json /votes.csv /pages/admin.html.j2 /pages /web /store.py /.env /.git/config
/login /health /metrics /debug /judges /robots.txt /favicon.ico //admin /admin%2f /ADMIN /%61dmin%20 /admin;x=1
/admin?secret= /i/../admin /i/%2e%2e/admin /r/%2e%2e /i/%00 /i/%ff
"""


def tells(study: Study, answer) -> list[str]:
    """What of a study is in an answer's body or headers that only its annotators may read."""
    found = answer.text + str(dict(answer.headers))
    kept = [text for pair in study.pairs for text in (pair.a.text, pair.b.text, pair.id, pair.a.id, pair.b.id)]
    return [one for one in (*kept, *sample.SETS, study.digest) if one in found]


@pytest.mark.parametrize("path", PATHS.split())
def test_without_a_cookie_no_path_gives_anything(site, annotator, path):
    annotator.press("1")
    for method in ("GET", "POST"):
        options = {"data": {"token": annotator.token, "answer": "first", "group": "x"}} if method == "POST" else {}
        answer = Browser(site).ask(method, path, **options)
        assert answer.status_code in (303, 307, 403, 404, 405), answer.status_code
        assert answer.headers.get("location", URL).startswith((URL, "/"))
        assert tells(site.store.study, answer) == []
        assert "set-cookie" not in answer.headers
    assert len(site.store.votes()) == 1


def test_an_annotator_opens_no_page_of_who_runs_the_study(site, annotator):
    annotator.press("1")
    for path in ("/admin", "/admin/votes.csv", "/admin/votes.jsonl"):
        answer = annotator.ask("GET", path)
        assert answer.status_code == 404
        assert tells(site.store.study, answer) == []
    for token in (annotator.token, site.sign("invite", "invite")):
        for path in ("/admin/invite", "/admin/revoke"):
            form = {"token": token, "group": "expert", "links": 1, "seats": 1, "number": 1}
            assert annotator.ask("POST", path, data=form).status_code == 404
            assert annotator.ask("POST", path).status_code == 404  # as if it were not there, whatever is sent
    secret = annotator.client.cookies["steer_annotator"]
    for value in (secret, "", *wrong(ADMIN)):
        sent = {"Cookie": b"steer_admin=" + value.encode()}
        assert Browser(site).ask("GET", "/admin", headers=sent).status_code == 404
    assert len(site.store.invitations()) == 1
    assert not site.store.invitations()[0].revoked


def test_who_runs_the_study_is_no_annotator(admin):
    assert admin.ask("GET", "/study").status_code == 403
    assert admin.ask("GET", "/").status_code == 404


# -- what the guard stops ----------------------------------------------------------------------------------------------


def form_of(browser: Browser) -> dict[str, str]:
    form = browser.get("/study").forms["/answer"]
    return {**form.fields, "answer": form.buttons["1"]}


@pytest.mark.parametrize("site_of", ["cross-site", "same-site", "nonsense"])
def test_a_form_that_another_site_sends_is_refused(site, annotator, site_of):
    form = form_of(annotator)
    answer = annotator.ask("POST", "/answer", data=form, headers={"Sec-Fetch-Site": site_of})
    assert (answer.status_code, answer.text) == (403, "The request came from another site.")
    assert site.store.votes() == []
    for own in ("same-origin", "none"):
        assert annotator.ask("POST", "/answer", data=form, headers={"Sec-Fetch-Site": own}).status_code == 303
    assert len(site.store.votes()) == 1


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil.example:8000", "127.0.0.2", "*"])
def test_another_host_is_refused(site, annotator, host):
    form = form_of(annotator)
    for method, path, more in (("GET", "/study", {}), ("POST", "/answer", {"data": form}), ("GET", "/static/x", {})):
        answer = annotator.ask(method, path, headers={"Host": host, **annotator.cookie("x")}, **more)
        assert answer.status_code == 400
        assert tells(site.store.study, answer) == []
    assert site.store.votes() == []


@pytest.mark.parametrize("url", ["https://study.example.org", "http://[2001:db8::5]:8000", "http://192.0.2.7:9000"])
def test_the_host_of_the_address_that_annotators_use_is_known(sited, url):
    site = sited(url=url)
    browser = Browser(site, url)
    assert f"{url}/i/" in f"{site.url}/i/"
    browser.join(site.store.invite("expert"))
    browser.press("1")
    assert f"{url}/r/" in browser.get("/elsewhere").words


def test_a_long_body_is_refused_before_it_is_read(site, annotator):
    form = form_of(annotator)
    short = len("&".join(f"{name}={value}" for name, value in {**form, "more": ""}.items()))
    answer = annotator.ask("POST", "/answer", data={**form, "more": "x" * LONGEST})
    assert (answer.status_code, answer.text) == (413, "The request is too long.")
    assert site.store.votes() == []
    assert annotator.ask("POST", "/answer", data={**form, "more": "x" * (LONGEST - short - 50)}).status_code == 303


def test_a_body_that_does_not_tell_its_length_is_refused(site, annotator):
    form = "&".join(f"{name}={value}" for name, value in form_of(annotator).items()).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    chunks = {"Transfer-Encoding": "chunked", "Content-Length": "10"}  # of which the chunks would hold
    for more in ({}, chunks, {"Content-Length": "-1"}, {"Content-Length": "ten"}):
        answer = annotator.ask("POST", "/answer", content=iter([form]), headers={**kind, **more})
        assert (answer.status_code, answer.text) == (411, "The request does not tell its length.")
    assert site.store.votes() == []


MALFORMED = {
    "nothing": ("application/x-www-form-urlencoded", b""),
    "no token": ("application/x-www-form-urlencoded", b"answer=first"),
    "json": ("application/json", b'{"token": "x", "answer": "first"}'),
    "no boundary": ("multipart/form-data", b"--b\r\n"),
    "not ended": ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\nx'),
    "a file": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="token"; filename="x"\r\n\r\nx\r\n--b--\r\n',
    ),
    "many fields": ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(3000))),
    "no kind": ("", b"token=x&answer=first"),
    "not text": ("application/x-www-form-urlencoded", bytes(range(256))),
}


@pytest.mark.parametrize(("kind", "body"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_form_is_refused(site, annotator, kind, body):
    for path in ("/answer", "/undo", f"/i/{site.store.invite('expert')}"):
        answer = annotator.ask("POST", path, content=body, headers={"Content-Type": kind})
        assert answer.status_code == 400
    assert site.store.votes() == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY"])
def test_other_methods_do_nothing(site, annotator, method):
    form = form_of(annotator)
    for path in ("/study", "/answer", "/undo", "/static/style.css", f"/i/{site.store.invite('expert')}"):
        answer = annotator.ask(method, path, data=form)
        assert answer.status_code == 405, (method, path)
        assert "set-cookie" not in answer.headers
    assert annotator.ask(method, "/study", data=form).headers["allow"] == "GET"
    assert annotator.ask("GET", "/answer").status_code == 405
    assert site.store.votes() == []


def answers_of_all_kinds(site: Served, annotator: Browser, admin: Browser, monkeypatch) -> dict[str, object]:
    form = form_of(annotator)
    invitation = site.store.invite("expert")

    def stranger() -> Browser:
        return Browser(site, site.url)

    def joining():
        return stranger().send(stranger().get(f"/i/{invitation}").forms[f"/i/{invitation}"], agree="yes")

    asked = {
        "consent": stranger().ask("GET", f"/i/{invitation}"),
        "join": joining(),
        "used": joining(),
        "question": annotator.ask("GET", "/study"),
        "answer": annotator.ask("POST", "/answer", data=form),
        "elsewhere": annotator.ask("GET", "/elsewhere"),
        "style": annotator.ask("GET", "/static/style.css"),
        "script": annotator.ask("GET", "/static/keys.js"),
        "no such file": annotator.ask("GET", "/static/none.css"),
        "no such page": annotator.ask("GET", "/none"),
        "with a slash": annotator.ask("GET", "/study/"),
        "a stranger": stranger().ask("GET", "/study"),
        "HEAD": annotator.ask("HEAD", "/study"),
        "method": annotator.ask("PUT", "/study", data=form),
        "form": annotator.ask("POST", "/answer"),
        "token": annotator.ask("POST", "/answer", data={**form, "token": "x"}),
        "cross-site": annotator.ask("POST", "/answer", data=form, headers={"Sec-Fetch-Site": "cross-site"}),
        "length": annotator.ask("POST", "/answer", content=iter([b"x"])),
        "long": annotator.ask("POST", "/answer", content=b"x" * (LONGEST + 1)),
        "host": annotator.ask("GET", "/study", headers={"Host": "evil.example"}),
        "overview": admin.ask("GET", "/admin"),
        "csv": admin.ask("GET", "/admin/votes.csv"),
    }
    monkeypatch.setattr(Store, "progress", lambda *_: 1 / 0)
    return asked | {"failure": annotator.ask("GET", "/study")}


STATUS = {"join": 303, "used": 410, "answer": 303, "no such file": 404, "no such page": 404, "with a slash": 307}
STATUS |= {"a stranger": 403, "HEAD": 405, "method": 405, "form": 400, "token": 403, "cross-site": 403}
STATUS |= {"length": 411, "long": 413, "host": 400, "failure": 500}


def test_every_answer_tells_browsers_what_they_may_do_with_it(site, annotator, admin, monkeypatch):
    for name, answer in answers_of_all_kinds(site, annotator, admin, monkeypatch).items():
        assert answer.status_code == STATUS.get(name, 200), name
        assert {header: answer.headers.get(header) for header in HEADERS} == HEADERS, name
        assert all(len(answer.headers.get_list(header)) == 1 for header in HEADERS), name
        assert "server" not in answer.headers
        assert "strict-transport-security" not in answer.headers
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def test_by_tls_browsers_are_told_to_keep_to_it(sited, monkeypatch):
    url = "https://study.example.org"
    site = sited(url=url)
    annotator, admin = Browser(site, url).join(site.store.invite("expert")), Browser(site, url)
    admin.ask("GET", f"/a/{ADMIN}")
    for name, answer in answers_of_all_kinds(site, annotator, admin, monkeypatch).items():
        assert answer.headers["strict-transport-security"] == "max-age=31536000", name


def cookie_of(answer) -> set[str]:
    """The attributes of the one cookie that an answer sets."""
    (header,) = answer.headers.get_list("set-cookie")
    return {part.strip().lower() for part in header.split(";")[1:]}


def test_a_cookie_is_out_of_the_reach_of_scripts_and_other_sites(site, sited):
    there = sited(url="https://study.example.org")
    plain = {"httponly", "samesite=lax", "path=/", "max-age=2592000"}
    for one, url, wanted in ((site, URL, plain), (there, there.url, plain | {"secure"})):
        browser, invitation = Browser(one, url), one.store.invite("expert")
        form = browser.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
        joined = browser.send(form, agree="yes")
        secret = browser.client.cookies["steer_annotator"]
        for answer in (joined, browser.ask("GET", f"/r/{secret}"), browser.ask("GET", f"/a/{ADMIN}")):
            assert cookie_of(answer) == wanted


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


# -- for who runs the study --------------------------------------------------------------------------------------------


def invite(admin: Browser, **fields):
    form = admin.get("/admin").forms["/admin/invite"]
    return admin.send(form, **{"group": "expert", "links": 1, "seats": 1} | fields)


def test_links_that_are_made_work(sited):
    site = sited(sample.study(annotators=6))
    admin = Browser(site)
    admin.ask("GET", f"/a/{ADMIN}")
    answer = invite(admin, group="Fach_leute-2", links=3, seats=2)
    links = re.findall(rf"{URL}(/i/[\w-]+)", sample.Page(answer.text).words)
    assert len(set(links)) == 3
    for link in links:
        for _ in range(2):
            Browser(site).join(link.removeprefix("/i/"))
    assert {one.group for one, _ in site.store.annotators()} == {"Fach_leute-2"}
    assert [(one.used, one.seats) for one in site.store.invitations()] == [(2, 2)] * 3
    overview = admin.get("/admin")
    assert "2 of 2" in overview.words
    assert not any(link in overview.raw for link in links)  # they are told once


@pytest.mark.parametrize(
    "fields",
    [
        *({"group": name} for name in ("", " ", "a b", "<b>", "a" * 41, "a\n", "a,b", "=1+1", "../x", "a\x00", "'")),
        *({"links": count} for count in (0, -1, 201, 10**9, "x", "1.5", "")),
        *({"seats": count} for count in (0, -1, 1001, "x")),
    ],
    ids=str,
)
def test_an_invitation_that_makes_no_sense_is_refused(site, admin, fields):
    assert invite(admin, **fields).status_code == 400
    assert site.store.invitations() == []


def test_a_revoked_link_opens_no_longer_and_its_annotators_go_on(site, admin):
    kept, gone = site.store.invite("expert", 2), site.store.invite("expert", 2)
    annotator = Browser(site).join(gone)
    waiting = Browser(site)
    form = waiting.get(f"/i/{gone}").forms[f"/i/{gone}"]
    page = admin.ask("GET", "/admin").text
    tokens = re.findall(r'name="token" value="([^"]+)"><input type="hidden" name="number" value="(\d+)"', page)
    assert [number for _, number in tokens] == ["1", "2"]
    assert admin.ask("POST", "/admin/revoke", data={"token": tokens[0][0], "number": 2}).status_code == 303
    assert not any(one.revoked for one in site.store.invitations())  # by the token of another it is not
    assert admin.ask("POST", "/admin/revoke", data={"token": tokens[1][0], "number": 2}).status_code == 303
    answer = waiting.send(form, agree="yes")
    assert answer.status_code == 410
    assert "This invitation is not valid." in answer.text
    annotator.press("1")
    Browser(site).join(kept)
    assert "revoked" in admin.get("/admin").words


def test_forms_of_who_runs_the_study_need_their_tokens(site, admin):
    site.store.invite("expert")
    form = {"group": "expert", "links": 1, "seats": 1, "number": 1}
    other = Browser(site).join(site.store.invite("expert"))
    for token in ("x", "", other.token, site.sign("answer 1", "invite"), site.sign("revoke", 1)):
        assert admin.ask("POST", "/admin/invite", data={**form, "token": token}).status_code in (400, 403)
    for token in ("x", "", other.token, site.sign("invite", "invite")):
        assert admin.ask("POST", "/admin/revoke", data={**form, "token": token}).status_code in (400, 403)
    for path in ("/admin/invite", "/admin/revoke"):
        assert admin.ask("POST", path, data=form).status_code == 400
    good = {**form, "token": site.sign("invite", "invite")}
    crossing = admin.ask("POST", "/admin/invite", data=good, headers={"Sec-Fetch-Site": "cross-site"})
    assert crossing.status_code == 403
    assert len(site.store.invitations()) == 2
    assert not any(one.revoked for one in site.store.invitations())


def test_exports_are_the_votes(sited):
    study = sample.study(3, gold=1, repeats=1)
    site = sited(study)
    admin = Browser(site)
    admin.ask("GET", f"/a/{ADMIN}")
    for group in ("expert", "lay"):
        browser = Browser(site).join(site.store.invite(group))
        for step in range(7):
            browser.press(KEYS[step % 3])
        browser.undo()
    rows = exported(study, site.store.votes())
    assert len(rows) == 2 * 6
    answer = admin.ask("GET", "/admin/votes.csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=votes.csv"
    read = list(csv.DictReader(io.StringIO(answer.text)))
    assert tuple(read[0]) == COLUMNS
    assert read == [{name: str(value) for name, value in row.items()} for row in rows]
    answer = admin.ask("GET", "/admin/votes.jsonl")
    assert answer.headers["content-disposition"] == "attachment; filename=votes.jsonl"
    assert [json.loads(line) for line in answer.text.splitlines()] == rows


def test_exports_before_the_first_vote(admin):
    assert admin.ask("GET", "/admin/votes.csv").text == ",".join(COLUMNS) + "\n"
    assert admin.ask("GET", "/admin/votes.jsonl").text == ""


def test_the_overview_counts_answers_in_earnest(sited):
    study = sample.study(2, gold=1, repeats=1, annotators=3)
    site = sited(study)
    admin = Browser(site)
    admin.ask("GET", f"/a/{ADMIN}")
    assert "Nobody has joined yet." in admin.get("/admin").words
    for done in (8, 3):
        browser = Browser(site).join(site.store.invite("expert"))
        for _ in range(done):
            browser.press("1")
    earnest = [v for v in site.store.votes() if not v.repeat and not study.by_id[v.pair].gold]
    words = admin.get("/admin").words
    assert "8 of 8" in words
    assert "3 of 8" in words
    assert f'value="{len(earnest)}" max="{2 * 3 * 2}"' in admin.get("/admin").raw


# -- limits ------------------------------------------------------------------------------------------------------------


def test_a_limit_gives_its_burst_then_its_rate(clock):
    limit = Limit(burst=3, rate=0.5, now=clock)
    assert [limit.take("one") for _ in range(5)] == [True, True, True, False, False]
    assert limit.take("other")
    clock.forward(1.9)
    assert not limit.take("one")
    clock.forward(0.1)
    assert [limit.take("one"), limit.take("one")] == [True, False]
    clock.forward(1000)
    assert [limit.take("one") for _ in range(4)] == [True, True, True, False]  # no more than the burst is saved up


def test_a_limit_forgets_who_is_full_again_and_nobody_else(clock):
    limit = Limit(burst=1, rate=1, now=clock)
    for key in range(MOST_KEYS):
        assert limit.take(key)
    clock.forward(0.5)
    assert limit.take("late")
    clock.forward(0.5)
    assert limit.take("later")
    assert set(limit._left) == {"late", "later"}
    assert not limit.take("late")


def test_many_wrong_links_are_stopped_and_right_ones_lead_on(sited, clock):
    site = sited(unknown=Limit(burst=3, rate=0.2, now=clock))
    invitation = site.store.invite("expert")
    browser = Browser(site)
    for _ in range(10):
        assert browser.ask("GET", f"/i/{invitation}").status_code == 200  # right ones are free
    statuses = [browser.ask("GET", f"/{door}/{fresh()}").status_code for door in "irai"]
    assert statuses == [404, 404, 404, 429]
    assert "Too many wrong links" in browser.ask("GET", f"/i/{fresh()}").text
    # Others may sit behind the same address.
    assert browser.ask("GET", f"/i/{invitation}").status_code == 200
    clock.forward(5)
    assert browser.ask("GET", f"/i/{fresh()}").status_code == 404
    assert browser.ask("GET", f"/i/{fresh()}").status_code == 429


def test_answers_that_come_too_quickly_are_not_stored_and_can_be_given_later(sited, clock):
    site = sited(answers=Limit(burst=2, rate=0.5, now=clock))
    quick, other = (Browser(site).join(site.store.invite("expert")) for _ in range(2))
    quick.press("1")
    quick.press("1")
    form = quick.get("/study").forms["/answer"]
    answer = quick.send(form, answer=form.buttons["1"])
    assert answer.status_code == 429
    assert "Please take your time, and go on in a minute." in answer.text
    assert sample.Page(answer.text).links == ["/study"]
    assert len(site.store.votes()) == 2
    other.press("1")
    clock.forward(2)
    quick.send(form, answer=form.buttons["1"])
    assert len(site.store.votes()) == 4


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
