"""The pages for who runs the study."""

import csv
import io
import json
import re

import pytest
import sample
from visiting import ADMIN, KEYS, URL, Browser

from steer.study.votes import COLUMNS, exported

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


def test_who_lost_their_link_gets_another_and_the_old_one_is_of_no_use(site, annotator, admin):
    annotator.press("1")
    form = admin.get("/admin").forms["/admin/renew"]
    answer = admin.send(form)
    link = re.search(rf"{URL}(/r/[\w-]+)", sample.Page(answer.text).words)[1]
    assert annotator.ask("GET", "/study").status_code == 403
    elsewhere = Browser(site)
    assert elsewhere.ask("GET", link).status_code == 303
    elsewhere.press("2")
    assert site.store.progress(1).done == 2
    assert admin.send(form, token=admin.get("/admin").forms["/admin/invite"].token).status_code == 403
    assert Browser(site).send(form).status_code == 404  # without the cookie of who runs the study
