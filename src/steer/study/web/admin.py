"""For who runs the study: progress, agreement, how annotators answer, invitations, exports. No win rates: who sees them
while votes come in is tempted to stop when they please.
"""

import re
import secrets
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Cookie, Depends, FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response

from steer.study.plan import Study
from steer.study.quality import qualities
from steer.study.score import agreement
from steer.study.store import Store, hashed
from steer.study.votes import Vote, as_csv, as_jsonl, exported
from steer.study.web.site import NOTHING_HERE, Refused, Site

GROUP = re.compile(r"[\w-]{1,40}")
MOST_LINKS, MOST_SEATS = 200, 1000  # at once; of one link


def add_admin(app: FastAPI, site: Site) -> None:
    store, study, cookie_name = site.store, site.store.study, site.cookie("admin")

    def admin(secret: Annotated[str, Cookie(alias=cookie_name)] = "") -> None:
        if not secrets.compare_digest(hashed(secret), site.admin):
            raise Refused(404, "Nothing here", NOTHING_HERE)

    @app.get("/a/{secret}")
    def enter(request: Request, secret: str) -> Response:
        site.known(request, lambda: secrets.compare_digest(hashed(secret), site.admin) or None)
        return site.enter(cookie_name, secret, "/admin")

    @app.get("/admin", dependencies=[Depends(admin)])
    def overview() -> Response:
        votes = store.votes()
        invitations = [
            {**vars(one), "made": _moment(one.made), "token": site.sign("revoke", one.number)}
            for one in store.invitations()
        ]
        return site.page(
            "admin",
            progress=_progress(store, votes),
            agreement=_agreement(study, votes),
            annotators=_annotators(site, votes),
            invitations=invitations,
            groups=sorted({one["group"] for one in invitations}),
            invite_token=site.sign("invite", "invite"),
        )

    @app.post("/admin/invite", dependencies=[Depends(admin)])
    def invite(
        token: Annotated[str, Form()],
        group: Annotated[str, Form()],
        links: Annotated[int, Form(ge=1, le=MOST_LINKS)],
        seats: Annotated[int, Form(ge=1, le=MOST_SEATS)],
    ) -> Response:
        site.signed("invite", token)
        if not GROUP.fullmatch(group):
            words = "The name of a group may hold letters, digits, _ and -, forty at most."
            raise Refused(400, "That did not work", words, "/admin")
        made = [f"{site.url}/i/{store.invite(group, seats)}" for _ in range(links)]
        return site.page("invited", links=made, group=group, seats=seats)

    @app.post("/admin/revoke", dependencies=[Depends(admin)])
    def revoke(token: Annotated[str, Form()], number: Annotated[int, Form()]) -> Response:
        if site.signed("revoke", token) == number:
            store.revoke(number)
        return RedirectResponse("/admin", 303)

    @app.post("/admin/renew", dependencies=[Depends(admin)])
    def renew(token: Annotated[str, Form()]) -> Response:
        number = site.signed("renew", token)
        if (secret := store.renew(number)) is None:
            raise Refused(404, "Nothing here", NOTHING_HERE)
        return site.page("renewed", name=str(number), link=f"{site.url}/r/{secret}")

    def add_export(name: str, kind: str, written: Callable[[Any], str]) -> None:
        @app.get(f"/admin/votes.{name}", dependencies=[Depends(admin)])
        def export() -> Response:
            headers = {"Content-Disposition": f"attachment; filename=votes.{name}"}
            return Response(written(exported(study, store.votes())), media_type=kind, headers=headers)

    add_export("csv", "text/csv", as_csv)
    add_export("jsonl", "application/jsonl", as_jsonl)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _progress(store: Store, votes: list[Vote]) -> list[dict[str, Any]]:
    """Answers in earnest by group and comparison, of those that are wanted."""
    study = store.study
    compared = {pair.id: f"{pair.a.set} and {pair.b.set}" for pair in study.asked}
    wanted = Counter(compared.values())
    found = Counter((v.group, compared[v.pair]) for v in votes if v.pair in compared and not v.repeat)
    groups = dict.fromkeys(one.group for one in store.invitations())
    return [
        {
            "group": group,
            "comparison": comparison,
            "answered": found[group, comparison],
            "wanted": pairs * study.annotators * len(study.questions),
            "annotators": len({v.annotator for v in votes if v.group == group and compared.get(v.pair) == comparison}),
        }
        for group in groups
        for comparison, pairs in wanted.items()
    ]


def _agreement(study: Study, votes: list[Vote]) -> list[dict[str, Any]]:
    return [
        {"group": group, "question": question.name, "alpha": alpha, "raw": raw, "pairs": pairs}
        for group in dict.fromkeys(vote.group for vote in votes)
        for question in study.questions
        for alpha, raw, pairs in [agreement(study, [v for v in votes if v.group == group], question.name)]
    ]


def _annotators(site: Site, votes: list[Vote]) -> list[dict[str, Any]]:
    store = site.store
    found = {one.annotator: one for one in qualities(store.study, votes)}
    last = {vote.annotator: _moment(datetime.fromisoformat(vote.time).timestamp()) for vote in votes}
    rows = []
    for annotator, progress in store.annotators():
        of = found.get(annotator.name)
        rows.append(
            {
                "name": annotator.name,
                "group": annotator.group,
                "answered": progress.done,
                "total": progress.total,
                "seconds": of and of.seconds,
                "gold": of and of.gold,
                "gold_answers": of.gold_answers if of else 0,
                "consistent": of and of.consistent,
                "repeats": of.repeats if of else 0,
                "first_share": of and of.first,
                "last": last.get(annotator.name, "–"),
                "token": site.sign("renew", annotator.number),
            }
        )
    return rows
