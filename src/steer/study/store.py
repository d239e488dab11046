"""What annotators answered: one SQLite file in the study's folder, to which votes are only added.

A vote that was acknowledged is on the disk. Of the secrets in links and cookies only hashes are kept. Times are seconds
since 1970; files that leave the store have them in UTC.
"""

import hashlib
import math
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from steer.study.plan import Pair, Showing, Study
from steer.study.votes import Vote

Place = Literal["first", "second", "neither"]
FILE = "votes.sqlite"
BYTES = 24  # of a secret: 192 bits
HELD = 24 * 3600  # seconds that the pairs of an annotator who does not come back are kept for them

SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS invitations (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, team TEXT NOT NULL, seats INTEGER NOT NULL,
    made REAL NOT NULL, revoked REAL) STRICT;
CREATE TABLE IF NOT EXISTS annotators (
    number INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, invitation INTEGER NOT NULL REFERENCES invitations,
    team TEXT NOT NULL, joined REAL NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS showings (
    annotator INTEGER NOT NULL REFERENCES annotators, place INTEGER NOT NULL, pair TEXT NOT NULL, first TEXT NOT NULL,
    again INTEGER NOT NULL, PRIMARY KEY (annotator, place)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS votes (
    number INTEGER PRIMARY KEY, annotator INTEGER NOT NULL, step INTEGER NOT NULL, winner TEXT NOT NULL,
    seconds REAL NOT NULL, time REAL NOT NULL, undone REAL) STRICT;
CREATE INDEX IF NOT EXISTS by_annotator ON votes (annotator, step);
CREATE UNIQUE INDEX IF NOT EXISTS standing ON votes (annotator, step) WHERE undone IS NULL;
"""


ANNOTATOR = "SELECT number, team, invitation FROM annotators"


class ClosedError(ValueError):
    """An invitation that cannot be used: it is unknown, used or revoked, or the study has all the votes it wants."""


class HeldError(ClosedError):
    """An invitation that cannot be used just now: all that is left to be answered is held for others."""


@dataclass(frozen=True)
class Invitation:
    number: int
    group: str
    seats: int
    used: int
    made: float
    revoked: bool


@dataclass(frozen=True)
class Annotator:
    """invitation: the number of the one they came by."""

    number: int
    group: str
    invitation: int

    @property
    def name(self) -> str:
        return str(self.number)


@dataclass(frozen=True)
class Step:
    """One question of one pair, in an annotator's order. attempt: how often its answer was taken back before."""

    number: int
    showing: Showing
    question: int
    attempt: int


@dataclass(frozen=True)
class Progress:
    """Where an annotator stands. step: the next, None at the end. last: the number of the vote that can be undone."""

    step: Step | None
    done: int
    total: int
    last: int | None


def _winner(first: str, chosen: Place) -> str:
    """first: the side that stood first."""
    return {"first": first, "second": "b" if first == "a" else "a", "neither": "tie"}[chosen]


def fresh() -> str:
    """A secret for a link or a cookie."""
    return secrets.token_urlsafe(BYTES)


def hashed(secret: str) -> bytes:
    """A secret has the entropy of its hash, so neither salt nor a slow hash would add to it."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


class Store:
    """The votes of a study; threads may share it, and processes its file.

    One connection and one lock: writers wait for each other in turn, where SQLite's own would sleep and try again.
    A file in which nobody has joined another study is taken over with its invitations, whose links still hold.
    Raises ValueError where somebody has, or where it is damaged.
    """

    def __init__(self, folder: Path, study: Study, now: Callable[[], float] = time.time) -> None:
        self.study = study
        self._now = now
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / FILE, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._db.executescript(SCHEMA)
            if not self._of_this_study():
                raise ValueError(f"{folder / FILE} is of another study, which people have begun: choose another folder")
        except sqlite3.DatabaseError as error:
            self.close()
            raise ValueError(f"{folder / FILE} cannot be read: {error}") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._db.close()

    def _of_this_study(self) -> bool:
        """Whether the file is, or now has become, this study's."""
        digest = self.study.digest.encode()
        if self.fact("study", lambda: digest) == digest:
            return True
        query = "UPDATE facts SET value = ? WHERE name = 'study' AND NOT EXISTS (SELECT 1 FROM annotators)"
        with self._writing() as db:
            return db.execute(query, (digest,)).rowcount == 1

    def fact(self, name: str, made: Callable[[], bytes]) -> bytes:
        """What is kept under a name, made the first time."""
        with self._writing() as db:
            db.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (name, made()))
            return bytes(db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()[0])

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, on the disk when it ends."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._db.execute(query, values).fetchall()

    # -- who may answer ----------------------------------------------------------------------------------------------

    def invite(self, group: str, seats: int = 1) -> str:
        """The secret of a link by which `seats` people may join the group; it is not kept, so it is told once."""
        secret = fresh()
        with self._writing() as db:
            values = (hashed(secret), group, seats, self._now())
            db.execute("INSERT INTO invitations (hash, team, seats, made) VALUES (?, ?, ?, ?)", values)
        return secret

    def revoke(self, number: int) -> None:
        """Nobody joins by this link any more; who has joined goes on."""
        with self._writing() as db:
            db.execute("UPDATE invitations SET revoked = ? WHERE number = ? AND revoked IS NULL", (self._now(), number))

    def invitations(self) -> list[Invitation]:
        query = (
            "SELECT number, team, seats, (SELECT count(*) FROM annotators a WHERE a.invitation = i.number), made, "
            "revoked IS NOT NULL FROM invitations i ORDER BY number"
        )
        rows = self._rows(query)
        return [Invitation(n, group, seats, used, made, bool(gone)) for n, group, seats, used, made, gone in rows]

    def invitation(self, secret: str) -> Invitation | None:
        found = self._rows("SELECT number FROM invitations WHERE hash = ?", hashed(secret))
        return next((one for one in self.invitations() if found and one.number == found[0][0]), None)

    def join(self, invitation: str, secret: str | None = None) -> tuple[Annotator, str]:
        """A new annotator, with pairs of their own, and their secret, which is made if not given and is not kept.

        Who has the secret already is returned as they are, so that a request that comes twice joins once.
        Raises ClosedError.
        """
        secret = secret or fresh()
        with self._writing() as db:
            known = db.execute(f"{ANNOTATOR} WHERE hash = ?", (hashed(secret),)).fetchone()
            if known is not None:
                return Annotator(*known), secret
            row = db.execute(
                "SELECT number, team, seats, revoked FROM invitations WHERE hash = ?", (hashed(invitation),)
            ).fetchone()
            if row is None or row[3] is not None:
                raise ClosedError("This invitation is not valid.")
            if db.execute("SELECT value FROM facts WHERE name = 'study'").fetchone()[0] != self.study.digest.encode():
                raise ClosedError("This study is being made anew.")  # while this server still had the old one
            number, group, seats, _ = row
            if db.execute("SELECT count(*) FROM annotators WHERE invitation = ?", (number,)).fetchone()[0] >= seats:
                raise ClosedError("This invitation has been used.")
            pairs = self._wanting(db, group)
            if not pairs and self._lacking(self._had(db, group, math.inf)):
                raise HeldError("All that is left to be answered is with others just now.")
            if not pairs:
                raise ClosedError("This study has all the answers it needs from your group.")
            values = (hashed(secret), number, group, self._now())
            made = db.execute("INSERT INTO annotators (hash, invitation, team, joined) VALUES (?, ?, ?, ?)", values)
            annotator = Annotator(int(made.lastrowid or 0), group, number)
            rows = [
                (annotator.number, place, one.pair, one.first, int(one.repeat))
                for place, one in enumerate(self.study.showing(annotator.number, pairs))
            ]
            db.executemany("INSERT INTO showings VALUES (?, ?, ?, ?, ?)", rows)
        return annotator, secret

    def _wanting(self, db: sqlite3.Connection, group: str) -> list[Pair]:
        """The pairs for the next annotator of a group: those that the fewest have, and none that enough have."""
        had = self._had(db, group, self._now() - HELD)
        wanting = self._lacking(had)
        # Those at the end of the list must not always be the ones that are left over.
        by_chance = {pair.id: hashed(f"{self.study.digest} {sum(had.values())} {pair.id}") for pair in wanting}
        wanting.sort(key=lambda pair: (had.get(pair.id, 0), by_chance[pair.id]))
        return wanting[: self.study.per_annotator]

    def _had(self, db: sqlite3.Connection, group: str, since: float) -> dict[str, int]:
        """Pair -> how many of a group have it: who answered all about it, and who may yet, having been here since."""
        query = """
            SELECT s.pair, count(*) FROM showings s JOIN annotators a ON a.number = s.annotator
            WHERE a.team = ? AND NOT s.again AND (
                max(a.joined, (SELECT coalesce(max(v.time), 0) FROM votes v WHERE v.annotator = a.number)) > ?
                OR (SELECT count(*) FROM votes v WHERE v.annotator = a.number AND v.undone IS NULL
                    AND v.step / ? = s.place) = ?)
            GROUP BY s.pair"""
        questions = len(self.study.questions)
        return dict(db.execute(query, (group, since, questions, questions)).fetchall())

    def _lacking(self, had: Mapping[str, int]) -> list[Pair]:
        return [pair for pair in self.study.asked if had.get(pair.id, 0) < self.study.annotators]

    def annotator(self, secret: str) -> Annotator | None:
        rows = self._rows(f"{ANNOTATOR} WHERE hash = ?", hashed(secret))
        return Annotator(*rows[0]) if rows else None

    def renew(self, number: int) -> str | None:
        """A new secret for an annotator who has lost theirs, which is of no use any more; None where there is none."""
        secret = fresh()
        with self._writing() as db:
            found = db.execute("UPDATE annotators SET hash = ? WHERE number = ?", (hashed(secret), number))
            return secret if found.rowcount else None

    # -- answering ---------------------------------------------------------------------------------------------------

    def progress(self, annotator: int) -> Progress:
        questions = len(self.study.questions)
        rows = self._rows("SELECT pair, first, again FROM showings WHERE annotator = ? ORDER BY place", annotator)
        votes = self._rows("SELECT step, number, undone IS NULL FROM votes WHERE annotator = ?", annotator)
        standing = {step: number for step, number, stands in votes if stands}
        total = len(rows) * questions
        due = next((step for step in range(total) if step not in standing), None)
        last = max(standing.values(), default=None)
        if due is None:
            return Progress(None, len(standing), total, last)
        pair, first, again = rows[due // questions]
        attempt = sum(step == due for step, _, _ in votes)
        step = Step(due, Showing(pair=pair, first=first, repeat=bool(again)), due % questions, attempt)
        return Progress(step, len(standing), total, last)

    def vote(self, annotator: int, step: int, attempt: int, chosen: Place, seconds: float) -> bool:
        """Store an answer; whether it counts.

        It does not where the step has an answer that stands, or another attempt is due: so a request that comes twice,
        or is sent again after its answer was taken back, changes nothing.
        """
        query = """
            INSERT OR IGNORE INTO votes (annotator, step, winner, seconds, time) SELECT ?, ?, ?, ?, ?
            WHERE ? = (SELECT count(*) FROM votes WHERE annotator = ? AND step = ?)"""
        place = step // len(self.study.questions)
        with self._writing() as db:
            row = db.execute(
                "SELECT first FROM showings WHERE annotator = ? AND place = ?", (annotator, place)
            ).fetchone()
            winner = _winner(row[0], chosen)
            values = (annotator, step, winner, round(seconds, 3), self._now(), attempt, annotator, step)
            return db.execute(query, values).rowcount == 1

    def contradicts(self, annotator: int, step: int, attempt: int, chosen: Place) -> bool:
        """Whether an answer is not the one that was stored of its attempt, where the step has one that stands.

        What merely comes twice is the same answer.
        """
        query = """
            SELECT v.winner, v.undone IS NULL, s.first FROM votes v
            JOIN showings s ON s.annotator = v.annotator AND s.place = v.step / ?
            WHERE v.annotator = ? AND v.step = ? ORDER BY v.number"""
        rows = self._rows(query, len(self.study.questions), annotator, step)
        other = any(winner != _winner(first, chosen) for winner, _, first in rows[attempt : attempt + 1])
        return other and any(stands for _, stands, _ in rows)

    def undo(self, annotator: int, vote: int) -> bool:
        """Take back an annotator's last answer, and no other; whether it was."""
        query = """
            UPDATE votes SET undone = ? WHERE number = ? AND annotator = ? AND undone IS NULL
            AND number = (SELECT max(number) FROM votes WHERE annotator = ? AND undone IS NULL)"""
        with self._writing() as db:
            return db.execute(query, (self._now(), vote, annotator, annotator)).rowcount == 1

    # -- reading -----------------------------------------------------------------------------------------------------

    def votes(self) -> list[Vote]:
        """All that stand, in the order in which they came."""
        query = """
            SELECT v.annotator, a.team, s.pair, v.step % ?, v.winner, s.first, s.again, v.seconds, v.time
            FROM votes v JOIN annotators a ON a.number = v.annotator
            JOIN showings s ON s.annotator = v.annotator AND s.place = v.step / ?
            WHERE v.undone IS NULL ORDER BY v.number"""
        count = len(self.study.questions)
        return [
            Vote(
                annotator=str(annotator),
                group=group,
                pair=pair,
                question=self.study.questions[question].name,
                winner=winner,
                first=first,
                repeat=bool(again),
                seconds=seconds,
                time=datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds"),
            )
            for annotator, group, pair, question, winner, first, again, seconds, at in self._rows(query, count, count)
        ]

    def annotators(self) -> list[tuple[Annotator, Progress]]:
        found = [Annotator(*row) for row in self._rows(f"{ANNOTATOR} ORDER BY number")]
        return [(one, self.progress(one.number)) for one in found]
