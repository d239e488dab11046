"""The pages, from a link to the last pair: what annotators can do."""

import re

import pytest
import sample
from visiting import ADMIN, KEYS, URL, Browser, seen, wrong

from steer.study.plan import CREATIVE, PLAUSIBLE
from steer.study.store import HELD, hashed

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


KEPT = "you had answered its question already. Your earlier answer stands"


def test_another_answer_to_what_was_answered_is_told_not_to_count(site, annotator):
    form = annotator.get("/study").forms["/answer"]
    for key, told in (("1", False), ("1", False), ("2", True), ("0", True)):  # the first, and again, count alike
        page = annotator.get(annotator.send(form, answer=form.buttons[key]).headers["location"])
        assert (KEPT in page.words) == told
    assert [vote.winner == vote.first for vote in site.store.votes()] == [True]
    annotator.press("2")
    assert KEPT not in annotator.get("/study").words


def test_another_answer_is_told_not_to_count_at_the_end_too(sited):
    site = sited(sample.study(1, gold=0, repeats=0, questions=(CREATIVE,)))
    browser = Browser(site).join(site.store.invite("expert"))
    form = browser.get("/study").forms["/answer"]
    browser.press("1")
    page = browser.get(browser.send(form, answer=form.buttons["2"]).headers["location"])
    assert KEPT in page.words
    assert "Thank you" in page.words


def test_an_answer_to_what_is_asked_anew_is_not_said_to_stand(site, annotator):
    form = annotator.get("/study").forms["/answer"]
    annotator.press("1")
    annotator.undo()
    assert annotator.send(form, answer=form.buttons["2"]).headers["location"] == "/study"
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
    page = browser.get(f"/i/{invitation}")
    assert (page.forms, page.links) == ({}, ["/study", f"/i/{invitation}?as=another"])
    again = browser.send(form, agree="yes")  # from a page in another tab
    assert (again.status_code, again.headers["location"]) == (303, "/study")
    assert "set-cookie" not in again.headers
    assert site.store.progress(1).done == 1
    assert len(site.store.annotators()) == 1


def test_somebody_else_before_the_same_computer_joins_as_themselves(site):
    invitation = site.store.invite("expert", 2)
    browser = Browser(site).join(invitation)
    first = browser.secret
    browser.press("1")
    form = browser.get(f"/i/{invitation}?as=another").forms[f"/i/{invitation}"]
    missed = sample.Page(browser.send(form).text).forms[form.action]  # the box was not ticked
    for sent in (missed, missed, form):  # twice, and from a page in another tab: one seat
        assert browser.send(sent, agree="yes").headers["location"] == "/study"
    assert browser.secret != first
    browser.press("1")
    assert [vote.annotator for vote in site.store.votes()] == ["1", "2"]
    assert Browser(site).ask("GET", "/study", headers=browser.cookie(first)).status_code == 200


def test_who_is_somebody_else_needs_a_seat(site):
    for close in (lambda: None, lambda: site.store.revoke(2)):
        invitation = site.store.invite("expert", 1 + len(site.store.invitations()))
        browser = Browser(site).join(invitation)
        close()
        page = browser.get(f"/i/{invitation}")
        assert page.links == ["/study"]
        assert "ask for an invitation of your own" in page.words
        form = browser.get(f"/i/{invitation}?as=another").forms[f"/i/{invitation}"]
        assert browser.send(form, agree="yes").status_code == 410
    assert len(site.store.annotators()) == 2


def test_where_all_is_with_others_it_says_to_come_back(sited, clock):
    site = sited(sample.study(annotators=1))
    Browser(site).join(site.store.invite("expert"))
    late, invitation = Browser(site), site.store.invite("expert")
    form = late.get(f"/i/{invitation}").forms[f"/i/{invitation}"]
    answer = late.send(form, agree="yes")
    assert answer.status_code == 503
    words = sample.Page(answer.text).words
    assert "with others just now. Please come back later" in words
    assert "all the answers it needs" not in words
    clock.forward(HELD)
    assert late.send(form, agree="yes").headers["location"] == "/study"


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
    secret = elsewhere.secret
    browser = Browser(here).join(here.store.invite("expert"))  # its number is 1, as that of the other
    for path in (f"/i/{invitation}", f"/r/{secret}"):
        assert browser.ask("GET", path).status_code == 404
    assert Browser(here).ask("GET", "/study", headers=browser.cookie(secret)).status_code == 403
    form = elsewhere.get("/study").forms["/answer"]
    assert browser.send(form, answer=form.buttons["1"]).status_code == 403
    assert here.store.votes() == []


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
    secret = annotator.secret
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
    secret = {"/i/": site.store.invite("expert"), "/r/": annotator.secret, "/a/": ADMIN}
    opens = [other for other in secret if Browser(site).ask("GET", other + secret[door]).status_code != 404]
    assert opens == [door]
    for value in wrong(secret[door]):
        answer = Browser(site).ask("GET", f"{door}{value}")
        assert answer.status_code in (404, 307), value
        assert "set-cookie" not in answer.headers


def test_two_studies_on_one_host_leave_each_other_alone(sited):
    """Browsers send the cookies of one port to all others of the host."""
    one, other = sited(sample.study(3)), sited(sample.study(4))
    browser, beside = (Browser(site).join(site.store.invite("expert")) for site in (one, other))
    browser.client.cookies.update(beside.client.cookies)
    browser.press("1")
    assert (one.store.progress(1).done, other.store.progress(1).done) == (1, 0)
    assert browser.name != beside.name
