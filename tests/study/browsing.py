"""A study on a real server, and people with a real browser before it; what is missing for that is in MISSING."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from steer.study.plan import Study
from steer.study.store import Store

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NEEDED = ("playwright", "axe_playwright_python", "fastapi", "uvicorn", "multipart", "itsdangerous")
MISSING = [name for name in NEEDED if find_spec(name) is None] + ([] if CHROMIUM else ["chromium"])

DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
WAIT = 10_000  # milliseconds until what is waited for has failed


# -- the server --------------------------------------------------------------------------------------------------------


@dataclass
class Served:
    """links: of invitations, each for one person."""

    folder: Path
    study: Study
    links: Iterator[str]
    admin: str

    @property
    def home(self) -> str:
        return "{0.scheme}://{0.netloc}".format(urlsplit(self.admin))

    def votes(self, annotator: int) -> list[tuple[str, str, str, str | None]]:
        """What is stored: question, text that stood first, the other, text that won; None for no difference."""
        asks = {question.name: question.asks for question in self.study.questions}
        store = Store(self.folder, self.study)
        found = [vote for vote in store.votes() if vote.annotator == str(annotator)]
        store.close()
        rows = []
        for vote in found:
            pair, other = self.study.by_id[vote.pair], "b" if vote.first == "a" else "a"
            won = None if vote.winner == "tie" else pair.text(vote.winner)
            rows.append((asks[vote.question], pair.text(vote.first), pair.text(other), won))
        return rows

    def newest(self) -> int:
        """The number of who joined last."""
        store = Store(self.folder, self.study)
        number = store.annotators()[-1][0].number
        store.close()
        return number


@contextmanager
def serving(study: Study, folder: Path, links: int) -> Iterator[Served]:
    study.write(folder)
    command = [sys.executable, "-m", "steer", "study", "serve", str(folder), "--port", "0", "--invite"]
    with (
        (folder / "said").open("w") as said,
        subprocess.Popen([*command, f"people={links}"], stdout=subprocess.PIPE, stderr=said, text=True) as server,
    ):
        try:
            told = [server.stdout.readline().split() for _ in range(links + 1)]
            assert all(told), (folder / "said").read_text()
            assert [group for group, _ in told] == ["people"] * links + ["admin"]
            yield Served(folder, study, iter([url for _, url in told[:-1]]), told[-1][1])
        finally:
            server.terminate()
            server.wait(10)


# -- the browser -------------------------------------------------------------------------------------------------------

SEEN = """() => ({
    question: document.querySelector("#question").textContent,
    texts: [...document.querySelectorAll(".text")].map(text => text.innerText),
    done: document.querySelector("#progress").value,
    total: document.querySelector("#progress").max,
})"""
# Of each button for an answer: its place, and whether the page is wider than the window.
LAID = """() => ({
    buttons: [...document.querySelectorAll(".answers button")].map(button => button.getBoundingClientRect().toJSON()),
    wider: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    high: innerHeight, wide: innerWidth,
})"""


@dataclass
class Person:
    """A browser of somebody's own. hosts: where requests went. complaints: of the page. posts: paths of forms sent.

    pressed: what they answered, as `Served.votes` has it.
    """

    context: BrowserContext
    hosts: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)
    pressed: list[tuple[str, str, str, str | None]] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.context.set_default_timeout(WAIT)
        self.context.on("request", self._asked)
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.context.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        self.page = self.context.new_page()

    def _asked(self, request: Any) -> None:
        if not request.url.startswith("data:"):
            self.hosts.add(urlsplit(request.url).netloc)
        if request.method == "POST":
            self.posts.append(urlsplit(request.url).path)

    def _said(self, message: Any) -> None:
        refused = re.search(r"status of (400|403|404|410) ", message.text) and "/static/" not in message.location["url"]
        if message.type in ("error", "warning") and not refused:
            self.complaints.append(message.text)

    def join(self, served: Served, link: str | None = None) -> Person:
        self.page.goto(link or next(served.links))
        self.page.check("[name=agree]")
        with self.next():
            self.page.click("button.main")
        assert self.seen()["done"] == 0
        self.number = served.newest()
        return self

    def seen(self, page: Page | None = None) -> dict[str, Any]:
        return (page or self.page).evaluate(SEEN)

    @contextmanager
    def next(self, page: Page | None = None) -> Iterator[None]:
        """What is done in here leads to another page."""
        with (page or self.page).expect_event("domcontentloaded"):
            yield

    def press(self, key: str, page: Page | None = None) -> None:
        with self.next(page):
            (page or self.page).keyboard.press(key)

    def click(self, key: str) -> None:
        with self.next():
            self.page.click(f'[data-key="{key}"]')

    def answer(self, key: str, how: Callable[[str], None] | None = None) -> None:
        """Answer what is asked, and note it. how: by keys if not told."""
        seen = self.seen()
        first, second = seen["texts"]
        (how or self.press)(key)
        self.pressed.append((seen["question"], first, second, {"1": first, "2": second, "0": None}[key]))

    def answer_all(self, how: Callable[[str], None] | None = None, each: Callable[[], None] = lambda: None) -> None:
        """From the first question to the thanks; the progress grows by one each time."""
        total, random = self.seen()["total"], Random(7)
        for done in range(total):
            assert self.seen()["done"] == done, (self.seen(), done)
            each()
            self.answer(random.choice("120"), how)
        assert self.page.inner_text("h1") == "Thank you!"
        assert self.page.inner_text(".trail label").split() == [str(total), "of", str(total), "answered"]


def fits(page: Page) -> None:
    """The buttons are in the window before anyone scrolls, high enough for a finger; nothing is wider than the page."""
    laid = page.evaluate(LAID)
    assert laid["wider"] <= 0, laid
    assert len(laid["buttons"]) == 3, laid
    for button in laid["buttons"]:
        assert button["height"] >= 44, laid
        assert 0 <= button["left"] <= button["right"] <= laid["wide"], laid
        assert 0 <= button["top"] <= button["bottom"] <= laid["high"], laid


@contextmanager
def launched() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        yield browser
        browser.close()
