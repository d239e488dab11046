"""The study as people meet it: a real server and a real browser, by keys, by touch and without scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import sample
from browsing import DESKTOP, LAID, MISSING, PHONE, Person, Served, fits, launched, serving

from steer.study.plan import Question

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"a browser is driven with {', '.join(MISSING)}, not found here")


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[Served]:
    """30 pairs, gold and repeated ones among them, with two questions each."""
    study = sample.study(25, gold=2, repeats=3, annotators=99, prompt="Questions about astronomy.")
    with serving(study, tmp_path_factory.mktemp("whole"), links=20) as made:
        yield made


@pytest.fixture(scope="module")
def few(tmp_path_factory) -> Iterator[Served]:
    """Ten pairs with two questions each."""
    study = sample.study(8, gold=1, repeats=1, annotators=99)
    with serving(study, tmp_path_factory.mktemp("few"), links=20) as made:
        yield made


@pytest.fixture(scope="module")
def short(tmp_path_factory) -> Iterator[Served]:
    """One pair with two questions."""
    with serving(sample.study(1, gold=0, repeats=0, annotators=99), tmp_path_factory.mktemp("short"), 20) as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as made:
        yield made


@pytest.fixture
def person(browser: Browser) -> Iterator[Callable[..., Person]]:
    """Give somebody a browser; afterwards none has asked another host, and no page has complained."""
    made: list[Person] = []

    def one(**options: Any) -> Person:
        made.append(Person(browser.new_context(**{**DESKTOP, **options})))
        return made[-1]

    yield one
    for someone in made:
        someone.context.close()
        assert len(someone.hosts) <= 1, "requests left the server"
        assert someone.complaints == []


# -- whole studies -----------------------------------------------------------------------------------------------------


def test_a_whole_study_by_keys_alone(served, person):
    someone = person()
    page = someone.page
    page.goto(next(served.links))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "agree"
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    someone.press("Enter")
    someone.number = served.newest()
    assert someone.seen()["total"] == 60
    someone.answer_all()
    assert served.votes(someone.number) == someone.pressed
    assert {len(set(texts)) for _, *texts, _ in someone.pressed} == {2}
    assert {won is None for *_, won in someone.pressed} == {True, False}
    assert someone.hosts == {urlsplit(served.home).netloc}
    assert someone.posts[1:] == ["/answer"] * 60


def test_a_whole_study_by_touch(served, person):
    someone = person(**PHONE)
    page = someone.page
    page.goto(next(served.links))
    page.tap(".check")
    with someone.next():
        page.tap("button.main")
    someone.number = served.newest()

    def tap(key: str) -> None:
        with someone.next():
            page.tap(f'[data-key="{key}"]')

    someone.answer_all(tap, lambda: fits(page))
    assert served.votes(someone.number) == someone.pressed


def test_a_whole_study_without_scripts(few, person):
    someone = person(java_script_enabled=False)
    someone.join(few)
    assert someone.page.locator("button", has_text="Keys").count() == 0
    someone.page.locator("kbd").first.wait_for(state="hidden")  # as soon as its style is there
    someone.answer_all(someone.click)
    assert few.votes(someone.number) == someone.pressed


# -- coming back, undoing, twos ----------------------------------------------------------------------------------------


def test_a_reload_shows_the_same_and_another_browser_goes_on(served, person):
    first = person().join(served)
    for key in "120":
        first.answer(key)
    stood = first.seen()
    with first.next():
        first.page.reload()
    assert first.seen() == stood
    with first.next():
        first.page.click("text=Go on elsewhere")
    link = first.page.input_value("#link")
    with first.next():
        first.page.click("text=Back to the study")
    assert first.seen() == stood

    second = person(**PHONE)
    second.page.goto(link)
    assert second.seen() == stood
    second.answer("2")
    first.press("1")  # of a question that the other has answered
    assert first.seen() == second.seen()
    first.answer("1")
    state = first.context.storage_state()
    first.context.close()
    with second.next():
        second.page.reload()
    second.answer("0")
    third = person(storage_state=state)  # the first, opened again
    third.page.goto(served.home)
    third.answer("2")
    (fifth,), (fourth, sixth), (seventh,) = first.pressed[3:], second.pressed, third.pressed
    assert served.votes(first.number) == [*first.pressed[:3], fourth, fifth, sixth, seventh]
    assert third.seen()["done"] == 7


@pytest.mark.parametrize("how", ["press", "click"])
def test_undo_brings_the_question_back_and_forgets_its_answer(served, person, how):
    someone = person().join(served)
    assert someone.page.locator("[data-key=u]").count() == 0
    someone.answer("0")
    stood = someone.seen()
    someone.answer("1")
    getattr(someone, how)("u")
    assert someone.seen() == stood
    someone.pressed.pop()
    assert served.votes(someone.number) == someone.pressed
    someone.answer("2")
    assert served.votes(someone.number) == someone.pressed
    assert someone.seen()["done"] == 2


def test_old_forms_count_for_nothing(served, person):
    someone = person().join(served)
    old = someone.context.new_page()
    old.goto(served.home)
    assert someone.seen(old) == someone.seen()
    someone.answer("1")
    stood = someone.seen()
    with someone.next():
        someone.page.go_back()
    assert someone.seen() == stood  # not the page from before
    someone.press("u")
    someone.press("2", old)  # of the answer that was taken back
    assert served.votes(someone.number) == []
    assert someone.seen(old)["done"] == 0
    later = someone.context.new_page()
    later.goto(served.home)
    someone.pressed.clear()
    someone.press("2", old)
    someone.press("1", later)  # the same question again
    assert [row[3] for row in served.votes(someone.number)] == [stood["texts"][1]]
    assert someone.seen(later)["done"] == 1


def test_two_at_once_are_not_mixed_up(few, person):
    one, other = person().join(few), person(**PHONE).join(few)
    assert one.number != other.number
    for i in range(one.seen()["total"]):
        one.answer("120"[i % 3])
        other.answer("210"[i % 3])
    assert few.votes(one.number) == one.pressed
    assert few.votes(other.number) == other.pressed
    sides = [{row[1:3] for row in who.pressed} for who in (one, other)]
    assert sides[0] != sides[1]
    pairs = [list(dict.fromkeys(frozenset(row[1:3]) for row in who.pressed)) for who in (one, other)]
    assert set(pairs[0]) == set(pairs[1])
    assert pairs[0] != pairs[1]  # in their order


# -- one vote at a time ------------------------------------------------------------------------------------------------


def test_a_form_that_is_on_its_way_is_not_sent_again(served, person):
    someone = person().join(served)
    page, mouse = someone.page, someone.page.mouse
    held: list[Route] = []
    page.route("**/answer", lambda route: held.append(route))
    box = page.locator("[data-key='1']").bounding_box()
    spot = box["x"] + 9, box["y"] + 9
    with page.expect_request("**/answer"):
        mouse.dblclick(*spot)
    page.keyboard.press("2")
    mouse.click(*spot)
    with someone.next():
        held[0].continue_()
    assert someone.posts[1:] == ["/answer"]
    assert len(held) == len(served.votes(someone.number)) == 1


def test_the_second_half_of_a_double_click_is_not_the_next_answer(served, person):
    someone = person().join(served)
    box = someone.page.locator("[data-key='1']").bounding_box()
    with someone.next():
        someone.page.mouse.click(box["x"] + 9, box["y"] + 9)
    assert someone.page.locator("[data-key='1']").bounding_box() == box
    someone.page.mouse.down(click_count=2)
    someone.page.mouse.up(click_count=2)
    someone.answer("2")
    assert someone.posts[1:] == ["/answer"] * 2
    assert served.votes(someone.number)[1:] == someone.pressed


def test_a_key_that_is_held_down_answers_once(served, person):
    someone = person().join(served)
    with someone.next():
        someone.page.keyboard.down("1")
    for _ in range(5):
        someone.page.keyboard.down("1")
    someone.page.keyboard.up("1")
    someone.answer("2")
    assert someone.posts[1:] == ["/answer"] * 2
    assert served.votes(someone.number)[1:] == someone.pressed


def test_other_keys_do_nothing(few, person):
    someone = person().join(few)
    others = ("Control+1", "Meta+1", "Alt+1", "Shift+1", "3", "a", "'", "Enter", "Escape")
    for key in others:
        someone.page.keyboard.press(key)
        someone.answer("2")
    assert someone.posts[1:] == ["/answer"] * len(others)
    assert few.votes(someone.number) == someone.pressed


def test_keys_in_fields_are_letters(served, person):
    someone = person().join(served)
    someone.page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    someone.page.focus("main > input")
    someone.page.keyboard.type("120u")
    assert someone.page.input_value("main > input") == "120u"
    someone.page.goto(served.admin)
    someone.page.focus("#group")
    someone.page.keyboard.type("u120")
    assert someone.page.input_value("#group") == "u120"
    assert someone.page.url == f"{served.home}/admin"
    assert someone.posts[1:] == []


def test_keys_can_be_switched_off(short, person):
    someone = person().join(short)
    page, hint = someone.page, someone.page.locator("[data-key='1'] kbd")
    assert hint.is_visible()
    page.click("text=Keys: on")
    assert not hint.is_visible()
    page.keyboard.press("1")
    with someone.next():
        page.reload()
    assert page.locator(".switch").inner_text() == "Keys: off"
    assert not hint.is_visible()
    page.keyboard.press("1")
    assert someone.seen()["done"] == 0
    someone.answer("1", someone.click)
    someone.answer("2", someone.click)
    page.keyboard.press("u")
    assert page.locator(".switch").inner_text() == "Keys: off"
    assert someone.posts[1:] == ["/answer"] * 2
    page.click("text=Keys: off")
    someone.press("u")
    assert someone.posts[1:] == ["/answer", "/answer", "/undo"]
    assert short.votes(someone.number) == someone.pressed[:1]


# -- for everyone ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_no_page_has_barriers(short, person, device, scheme):
    from axe_playwright_python.sync_playwright import Axe

    someone, axe, found = person(**device, color_scheme=scheme, reduced_motion="reduce"), Axe(), []
    page, invitation = someone.page, next(short.links)
    looked: list[str] = []

    def look(name: str) -> None:
        looked.append(page.title())
        for one in axe.run(page).response["violations"]:
            if one["impact"] in ("serious", "critical"):
                found.extend(f"{name}: {one['id']}: {node['html'][:200]}" for node in one["nodes"])
        assert page.evaluate(LAID)["wider"] <= 0, name

    def begin(agree: bool) -> None:
        page.goto(invitation)
        page.evaluate("document.querySelector('form').noValidate = true")
        page.set_checked("[name=agree]", agree)
        with someone.next():
            page.click("button.main")

    page.goto(invitation)
    look("consent")
    begin(agree=False)
    assert page.is_visible(".error")
    look("consent with an error")
    begin(agree=True)
    look("first question")
    page.goto(invitation)
    look("who it is")
    with someone.next():
        page.click("a.main")
    old = someone.context.new_page()
    old.goto(f"{short.home}/study")
    someone.press("1")
    look("second question")
    with someone.next(old):
        old.click("[data-key='2']")
    page.goto(old.url)
    assert page.is_visible(".kept")
    look("second question, and the first answer stands")
    someone.press("2")
    look("thanks")
    page.goto(f"{short.home}/elsewhere")
    look("elsewhere")
    someone.context.clear_cookies()
    for name, path in (("403", "/study"), ("404", "/nothing")):
        page.goto(short.home + path)
        look(name)
    begin(agree=True)
    look("410")
    page.goto(short.admin)
    look("overview")
    page.fill("#group", "experts")
    with someone.next():
        page.click("button.main")
    assert page.input_value("textarea").startswith(f"{short.home}/i/")
    look("invited")
    page.goto(f"{short.home}/admin")
    with someone.next():
        page.click("text=Revoke >> nth=-1")
    look("overview, revoked")
    assert found == [], "\n".join(found)
    headings = "Before Before Which Is Which Which Thank Go Who Nothing This Overview New Overview"
    assert [title.split()[0] for title in looked] == headings.split()


def test_dark_where_the_system_is_and_still_where_it_wants_no_motion(short, person):
    someone = person(color_scheme="light", reduced_motion="no-preference").join(short)
    someone.press("1")

    def style(of: str, name: str) -> str:
        return someone.page.evaluate(f"getComputedStyle(document.querySelector('{of}')).{name}")

    light = style("html", "backgroundColor"), style("body", "color")
    assert style(".which", "animationName") == "arrive"
    someone.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    dark = style("html", "backgroundColor"), style("body", "color")
    assert (light[0], dark[0]) == ("rgb(255, 255, 255)", "rgb(20, 24, 29)")
    assert light[1] != dark[1]
    assert style(".which", "animationName") == "none"


# -- texts that nobody expects -----------------------------------------------------------------------------------------

HOSTILE = (
    "<script>window.hit=1</script>",
    "<img src=x onerror='window.hit=1'> <svg onload=window.hit=1> <a href=\"javascript:window.hit=1\">here</a>",
    "</div></article></main><style>button { display: none }</style><h1>Thank you!</h1>",
    "&lt;b&gt; &amp;amp; {{ 7 * 7 }} {% raw %} ${window.hit=1} <!-- ",
    "w" * 10_000,
    "line\n" * 400 + "the end",
    "هل تدور النجوم حول المركز؟ NGC 1300 (قضيب)",
    "\u202eright to left and never back, האם הכוכבים זזים",
    "👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 " + "Z" + "\u0351\u036b\u0343" * 40 + "algo",
    "  two  spaces,\ta tab\n\n\nand empty lines  ",
    "﷽" * 200,
    "short",
)
QUESTION = "<b>Which</b> is more </h1> plausible, " + "in every respect that one can think of, " * 15 + "w" * 300 + "?"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Iterator[Served]:
    questions = (Question(name="long", asks=QUESTION), Question(name="short", asks="Which?"))
    given = {"title": "<script>window.hit=1</script>" + "t" * 200, "prompt": "<i onclick=x>" + "p" * 500}
    study = sample.of_texts(*HOSTILE, questions=questions, annotators=99, **given)
    with serving(study, tmp_path_factory.mktemp("hostile"), links=5) as made:
        yield made


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_hostile_texts_are_texts(hostile, person, device):
    someone = person(**device)
    page = someone.page
    page.goto(next(hostile.links))
    assert page.inner_text(".questions li >> nth=0") == QUESTION
    assert page.evaluate(LAID)["wider"] <= 0
    page.check("[name=agree]")
    with someone.next():
        page.click("button.main")
    someone.number = hostile.newest()
    met: list[str] = []

    def look() -> None:
        seen = someone.seen()
        met.extend(seen["texts"])
        assert seen["question"] in (QUESTION, "Which?")
        assert page.evaluate("window.hit") is None
        if seen["question"] == "Which?":
            fits(page)
        else:
            assert page.evaluate(LAID)["wider"] <= 0
            assert page.locator(".dock").bounding_box()["height"] < 0.61 * page.viewport_size["height"]

    def click(key: str) -> None:
        with someone.next():
            page.locator(f'[data-key="{key}"]').click(timeout=3000)

    someone.answer_all(click, look)
    assert sorted(met) == sorted(2 * HOSTILE)
    assert page.title().endswith(hostile.study.title)
    assert hostile.votes(someone.number) == someone.pressed
