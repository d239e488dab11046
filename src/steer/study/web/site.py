"""What the routes share: the store, signed tokens, pages, limits, and how a request is refused."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadSignature, URLSafeSerializer
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from steer.study.store import Store, fresh
from steer.study.web.limits import Limit

MONTH = 30 * 24 * 3600  # seconds that a browser keeps a cookie
NOTHING_HERE = "There is nothing here. Open the link from your invitation."


class Refused(HTTPException):
    """Answered with a page that says why, in words."""

    def __init__(self, status: int, heading: str, words: str, back: str | None = None) -> None:
        super().__init__(status, words)
        self.heading, self.back = heading, back


@dataclass
class Site:
    """url: as annotators reach it, without a slash at the end. admin: the hash of the secret of who runs the study.
    notice: on every page.
    """

    store: Store
    url: str
    admin: bytes
    notice: str | None = None
    now: Callable[[], float] = time.time
    unknown: Limit = field(default_factory=lambda: Limit(burst=20, rate=0.2))  # wrong links, by address
    answers: Limit = field(default_factory=lambda: Limit(burst=150, rate=2))  # by annotator

    def __post_init__(self) -> None:
        self._key = self.store.fact("key", lambda: fresh().encode())
        loader = PackageLoader("steer.study.web", "pages")
        self._pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._pages.globals |= {"title": self.store.study.title, "notice": self.notice}

    def cookie(self, whose: str) -> str:
        """The name of a cookie. Browsers keep those of all ports of a host together, so it tells the study."""
        return f"steer_{whose}_{self.store.study.digest[:8]}"

    @property
    def secure(self) -> bool:
        return urlsplit(self.url).scheme == "https"

    def page(self, name: str, status: int = 200, /, **context: Any) -> HTMLResponse:
        return HTMLResponse(self._pages.get_template(f"{name}.html.j2").render(context), status)

    def sign(self, purpose: str, value: Any) -> str:
        return str(URLSafeSerializer(self._key, salt=purpose).dumps(value))

    def signed(self, purpose: str, token: str) -> Any:
        """The value of a token made for this purpose. Raises Refused for any other."""
        try:
            return URLSafeSerializer(self._key, salt=purpose).loads(token)
        except (BadSignature, UnicodeError):
            raise Refused(403, "That did not work", "This form is not from this page. Please try again.", "/") from None

    def known(self, request: Request, found: Callable[[], Any]) -> Any:
        """What a link's secret leads to. Raises Refused where that is nothing, and sooner after many that were.

        A right link always leads on: others behind the same address may have guessed.
        """
        if (value := found()) is None:
            if not self.unknown.take(request.client.host if request.client else ""):
                raise Refused(429, "Too many wrong links", "Please wait a few minutes, and open your link again.")
            raise Refused(404, "Nothing here", NOTHING_HERE)
        return value

    def enter(self, cookie: str, secret: str, to: str) -> Response:
        response = RedirectResponse(to, 303)
        # Lax, since a strict cookie would be missing when a link in a letter is followed.
        response.set_cookie(cookie, secret, MONTH, httponly=True, samesite="lax", secure=self.secure)
        return response
