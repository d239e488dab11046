"""`steer study serve`: the pages on a port of this machine."""

import ipaddress
import socket
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn

from steer.config import UsageError
from steer.progress import say
from steer.study.plan import Study
from steer.study.store import Store, fresh, hashed
from steer.study.web.admin import GROUP, MOST_LINKS
from steer.study.web.app import application
from steer.study.web.site import Site

PLAIN = "This page is served without encryption (no TLS): who is on the way can read and change what is sent."


@dataclass(frozen=True)
class Address:
    """Where to listen. url: as annotators reach it, where that is not this host and port: a server in front of this
    one, most often. certificate, key: files for TLS."""

    host: str = "127.0.0.1"
    port: int = 8000
    url: str | None = None
    certificate: Path | None = None
    key: Path | None = None

    @property
    def loopback(self) -> bool:
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def reached(self, port: int) -> str:
        """The address in links. Raises UsageError where nobody could tell it."""
        if self.url:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.path.strip("/"):
                raise UsageError(f"--url {self.url}: expected an address such as https://study.example.org")
            return self.url.rstrip("/")
        if self.host in ("0.0.0.0", "::"):
            raise UsageError(f"--host {self.host} listens everywhere: tell by --url how annotators reach this machine")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{port}"


def invitations(given: Sequence[str]) -> dict[str, int]:
    """["expert=3", ...] -> group -> how many. Raises UsageError."""
    made: Counter[str] = Counter()
    for one in given:
        group, _, count = one.partition("=")
        if not (GROUP.fullmatch(group) and count.isdecimal() and 0 < int(count) <= MOST_LINKS):
            raise UsageError(f"--invite {one}: expected GROUP=N, as in expert=3, with letters, digits, _ and -")
        made[group] += int(count)
    return dict(made)


def serve(folder: Path, address: Address, invite: Mapping[str, int]) -> None:
    """Serve the study until interrupted. invite: group -> how many links, each for one person.

    Without any invitation, old or new, one is made by which as many may join as a pair is shown to.
    Raises OSError where the port cannot be had, UsageError for an address that cannot be.
    """
    study = Study.read(folder)
    if (address.certificate is None) != (address.key is None):
        raise UsageError("TLS needs both a certificate and its key: --certificate FILE --key FILE")
    if address.certificate and address.key:
        _check_tls(address.certificate, address.key)
    listening = _listen(address)
    with listening:
        url = address.reached(listening.getsockname()[1])
        store = Store(folder, study)
        try:
            admin = fresh()
            exposed = not address.loopback or address.url is not None
            notice = PLAIN if exposed and urlsplit(url).scheme != "https" else None
            _tell(store, url, admin, invite, notice)
            site = Site(store, url, hashed(admin), notice)
            # The log of requests would hold the secrets in links.
            config = uvicorn.Config(
                application(site),
                log_level="warning",
                access_log=False,
                server_header=False,
                ssl_certfile=address.certificate,
                ssl_keyfile=address.key,
            )
            uvicorn.Server(config).run(sockets=[listening])
        finally:
            store.close()


def _check_tls(certificate: Path, key: Path) -> None:
    """Raises ValueError before anything is told or served."""
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise ValueError(f"{certificate} and {key} are no certificate and its key in PEM ({error})") from None


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # With the protocol told, asyncio sends what it has at once; else a page waits 40 ms for its header's receipt.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((address.host, address.port))
    except OSError as error:
        made.close()
        where = f"{address.host}:{address.port}"
        raise OSError(f"{where} cannot be listened on ({error.strerror}): choose another --port or --host") from None
    made.listen(128)
    return made


def _tell(store: Store, url: str, admin: str, invite: Mapping[str, int], notice: str | None) -> None:
    known = len(store.invitations())
    if notice:
        say(f"warning: {notice} --certificate and --key, or a server in front of this one, add it")
    if known:
        say(f"invitations made before: {known}; their links still hold, and are not kept to be shown again")
    for group, count in invite.items():
        for _ in range(count):
            print(f"{group:12} {url}/i/{store.invite(group)}", flush=True)
    if not known and not invite:
        seats = store.study.people
        people = "1 person" if seats == 1 else f"up to {seats} people"
        print(f"{'general':12} {url}/i/{store.invite('general', seats)}  (for {people})", flush=True)
    print(f"{'admin':12} {url}/a/{admin}", flush=True)
    say("serving; Ctrl-C stops, and the same command without --invite goes on")
