"""The pages, from the link of an invitation to the last pair.

    /i/SECRET  consent -> a new annotator, with a cookie      /study  the next question, or thanks
               (/i/SECRET?as=another: where somebody goes on in this browser already)
    /r/SECRET  the same annotator on another device           /answer, /undo, /elsewhere
    /a/SECRET, /admin...  progress and exports (`steer.study.web.admin`)

An annotator has one secret, which the cookie holds and the link to other devices. A form's token is signed for this
annotator and this step: another site cannot make one, and sent twice it counts once. It holds the number of the step
and nothing about the pair.
"""

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Cookie, Depends, FastAPI, Form, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from steer.study.store import Annotator, ClosedError, HeldError, Invitation, Place, Progress, fresh
from steer.study.web.admin import add_admin
from steer.study.web.guard import Guard
from steer.study.web.site import NOTHING_HERE, Refused, Site

ANSWERS: dict[str, Place] = {"first": "first", "second": "second", "tie": "neither"}


def application(site: Site) -> ASGIApp:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=_hosts(site.url))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    _add_errors(app, site)
    _add_entrances(app, site)
    _add_study(app, site)
    add_admin(app, site)
    # Around the app, not in it: the page of a failure is made outside of its middleware.
    return Guard(app, secure=site.secure)


def _hosts(url: str) -> list[str]:
    """By other names, pages of other sites could reach a server that listens on this machine only."""
    host = urlsplit(url).hostname or ""
    return [f"[{host}]" if ":" in host else host, "localhost", "127.0.0.1", "[::1]"]


def _add_errors(app: FastAPI, site: Site) -> None:
    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if isinstance(error, Refused):
            heading, words, back = error.heading, error.detail, error.back
        else:
            heading, words, back = "Nothing here", NOTHING_HERE, None
        page = site.page("message", error.status_code, heading=heading, words=words, back=back, back_words="Go back")
        page.headers.update(error.headers or {})
        return page

    @app.exception_handler(RequestValidationError)
    def misread(request: Request, error: RequestValidationError) -> Response:
        words = "The form came incomplete. Please go back and try again."
        return site.page("message", 400, heading="That did not work", words=words, back="/", back_words="Go back")

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        words = "Something failed on our side. Your answers so far are stored; please try again in a moment."
        return site.page(
            "message", 500, heading="That did not work", words=words, back="/study", back_words="Try again"
        )


# -- who comes by a link ---------------------------------------------------------------------------------------------


def _add_entrances(app: FastAPI, site: Site) -> None:
    store, study, cookie_name = site.store, site.store.study, site.cookie("annotator")

    @app.get("/")
    def root(secret: Annotated[str, Cookie(alias=cookie_name)] = "") -> Response:
        if store.annotator(secret) is None:
            raise Refused(404, "Nothing here", NOTHING_HERE)
        return RedirectResponse("/study", 303)

    def joined(secret: str, invitation: Invitation) -> int:
        """The number of who goes on in this browser, having come by the invitation; 0 of nobody."""
        annotator = store.annotator(secret)
        return annotator.number if annotator and annotator.invitation == invitation.number else 0

    @app.get("/i/{invitation}")
    def invited(
        request: Request,
        invitation: str,
        who: Annotated[str, Query(alias="as")] = "",
        secret: Annotated[str, Cookie(alias=cookie_name)] = "",
    ) -> Response:
        # Only shown: programs that look at a link before a person does must not use it up.
        found = site.known(request, lambda: store.invitation(invitation))
        # Whoever opens it may be somebody else before the same computer.
        if (before := joined(secret, found)) and who != "another":
            another = f"/i/{invitation}?as=another" if found.used < found.seats and not found.revoked else None
            return site.page("whose", another=another)
        return consent(invitation, found.group, before)

    def consent(invitation: str, group: str, before: int, error: str | None = None) -> Response:
        """before: who has begun in this browser and is not the one who will have joined; 0 for nobody."""
        context: dict[str, Any] = {
            "study": study,
            "group": group,
            "most": study.shown,
            "minutes": study.minutes,
            "action": f"/i/{invitation}",
            "token": site.sign("join", [invitation, fresh(), before]),
            "error": error,
        }
        return site.page("consent", 400 if error else 200, **context)

    @app.post("/i/{invitation}")
    def join(
        request: Request,
        invitation: str,
        token: Annotated[str, Form()],
        agree: Annotated[str, Form()] = "",
        cookie: Annotated[str, Cookie(alias=cookie_name)] = "",
    ) -> Response:
        found = site.known(request, lambda: store.invitation(invitation))
        # The form brings the secret of who will have joined: sent again, since the answer was lost, it joins once.
        signed, secret, before = site.signed("join", token)
        if signed != invitation:
            raise Refused(403, "That did not work", "This form is not from this page.", f"/i/{invitation}")
        if agree != "yes":
            return consent(invitation, found.group, before, "Please tick the box to take part.")
        if joined(cookie, found) not in (0, before):  # in another tab; a second seat is not theirs
            return RedirectResponse("/study", 303)
        try:
            store.join(invitation, secret)
        except HeldError as error:
            words = f"{error} Please come back later: pairs of those who do not go on are free again after a day."
            raise Refused(503, "Please come back later", words) from None
        except ClosedError as error:
            words = f"{error} If it was you who used it, go on where you began, or with the link shown there for that."
            raise Refused(410, "This invitation is closed", words) from None
        return site.enter(cookie_name, secret, "/study")

    @app.get("/r/{secret}")
    def return_(request: Request, secret: str) -> Response:
        site.known(request, lambda: store.annotator(secret))
        return site.enter(cookie_name, secret, "/study")


# -- answering -------------------------------------------------------------------------------------------------------


def _add_study(app: FastAPI, site: Site) -> None:
    store, study, cookie_name = site.store, site.store.study, site.cookie("annotator")

    def annotator(secret: Annotated[str, Cookie(alias=cookie_name)] = "") -> Annotator:
        if (found := store.annotator(secret)) is None:
            raise Refused(403, "Who are you?", "Open the link from your invitation, or your link to go on elsewhere.")
        return found

    Someone = Annotated[Annotator, Depends(annotator)]  # noqa: N806

    @app.get("/study")
    def next_question(who: Someone, kept: str = "") -> Response:
        progress = store.progress(who.number)
        undo = None if progress.last is None else site.sign(f"undo {who.number}", progress.last)
        shared = {"undo": undo, "done": progress.done, "total": progress.total, "kept": bool(kept)}
        if progress.step is None:
            return site.page("done", **shared)
        return site.page("pair", **shared, **asked(who, progress))

    def asked(who: Annotator, progress: Progress) -> dict[str, Any]:
        assert progress.step is not None
        step, showing = progress.step, progress.step.showing
        pair = study.by_id[showing.pair]
        return {
            "question": study.questions[step.question],
            "number_of_question": step.question + 1,
            "questions": len(study.questions),
            "first": pair.text(showing.first),
            "second": pair.text("b" if showing.first == "a" else "a"),
            "ties": study.ties,
            "action": "/answer",
            "token": site.sign(f"answer {who.number}", [step.number, step.attempt, site.now()]),
            "instructions": study.prompt,
        }

    @app.post("/answer")
    def answer(who: Someone, token: Annotated[str, Form()], answer: Annotated[str, Form()]) -> Response:
        step, attempt, shown = site.signed(f"answer {who.number}", token)
        if answer not in ANSWERS or (answer == "tie" and not study.ties):
            raise Refused(400, "That did not work", "Please choose one of the answers.", "/study")
        if not site.answers.take(who.number):
            raise Refused(429, "Too quick", "Please take your time, and go on in a minute.", "/study")
        if store.vote(who.number, step, attempt, ANSWERS[answer], max(0.0, site.now() - shown)):
            return RedirectResponse("/study", 303)
        contradicts = store.contradicts(who.number, step, attempt, ANSWERS[answer])
        return RedirectResponse("/study?kept=1" if contradicts else "/study", 303)

    @app.post("/undo")
    def undo(who: Someone, token: Annotated[str, Form()]) -> Response:
        store.undo(who.number, site.signed(f"undo {who.number}", token))
        return RedirectResponse("/study", 303)

    @app.get("/elsewhere")
    def elsewhere(who: Someone, secret: Annotated[str, Cookie(alias=cookie_name)] = "") -> Response:
        return site.page("elsewhere", link=f"{site.url}/r/{secret}")
