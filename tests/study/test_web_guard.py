"""What nobody gets without a link, and what the pages refuse."""

import pytest
import sample
from visiting import ADMIN, URL, Browser, Served, form_of, wrong

from steer.study.plan import Study
from steer.study.store import Store, fresh
from steer.study.web.guard import HEADERS, LONGEST
from steer.study.web.limits import MOST_KEYS, Limit

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
    secret = annotator.secret
    for value in (secret, "", *wrong(ADMIN)):
        sent = {"Cookie": f"{site.cookie('admin')}=".encode() + value.encode()}
        assert Browser(site).ask("GET", "/admin", headers=sent).status_code == 404
    assert len(site.store.invitations()) == 1
    assert not site.store.invitations()[0].revoked


def test_who_runs_the_study_is_no_annotator(admin):
    assert admin.ask("GET", "/study").status_code == 403
    assert admin.ask("GET", "/").status_code == 404


# -- what the guard stops ----------------------------------------------------------------------------------------------


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
        secret = browser.secret
        for answer in (joined, browser.ask("GET", f"/r/{secret}"), browser.ask("GET", f"/a/{ADMIN}")):
            assert cookie_of(answer) == wanted


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
