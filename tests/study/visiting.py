"""Who visits the pages of a study in tests: clients without a browser."""

from functools import cached_property

import sample
from starlette.testclient import TestClient
from starlette.types import ASGIApp

from steer.study.plan import Study
from steer.study.store import fresh
from steer.study.web.app import application
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
        self.name = site.cookie("annotator")
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
    def secret(self) -> str:
        return self.client.cookies[self.name]

    @property
    def token(self) -> str:
        return self.get("/study").forms["/answer"].token

    def cookie(self, value: str | bytes) -> dict[str, str | bytes]:
        """Headers with another cookie than its own."""
        name = f"{self.name}=".encode() if isinstance(value, bytes) else f"{self.name}="
        return {"Cookie": name + value}


def seen(study: Study, page: sample.Page) -> tuple[str, str]:
    """-> the texts of the pair on a page, in their order."""
    texts = {text for pair in study.pairs for text in (pair.a.text, pair.b.text)}
    found = sorted((page.words.index(text), text) for text in texts if text in page.words)
    assert len(found) == 2
    return found[0][1], found[1][1]


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


def form_of(browser: Browser) -> dict[str, str]:
    form = browser.get("/study").forms["/answer"]
    return {**form.fields, "answer": form.buttons["1"]}
