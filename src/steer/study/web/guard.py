"""Around every request: small bodies from our own pages only; around every answer: what browsers may do with it."""

from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST = 16_384  # bytes of a body; the longest form is a few hundred
# Everything is refused but our own stylesheet, script and forms; a page within another page, too.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Secrets stand in addresses.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex, nofollow",
}


class Guard:
    """ASGI middleware. secure: whether annotators come by TLS, which their browsers are then told to keep to."""

    def __init__(self, app: ASGIApp, secure: bool = False) -> None:
        self.app = app
        self.headers = {**HEADERS, **({"Strict-Transport-Security": "max-age=31536000"} if secure else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        refusal = _refusal(scope["method"], Headers(scope=scope))
        await (refusal or self.app)(scope, receive, sending)


def _refusal(method: str, headers: Headers) -> PlainTextResponse | None:
    if method in ("GET", "HEAD"):
        return None
    # Forms bear a token, too; this stops what other sites send before it is read. Old browsers do not say.
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return PlainTextResponse("The request came from another site.", 403)
    length = headers.get("content-length", "")
    # A body in chunks may be longer than the length it came with.
    if not length.isdecimal() or "transfer-encoding" in headers:
        return PlainTextResponse("The request does not tell its length.", 411)
    return PlainTextResponse("The request is too long.", 413) if int(length) > LONGEST else None
