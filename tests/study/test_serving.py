"""`steer study serve` in a process of its own: many at once, killed and started again, and how it begins and ends."""

import multiprocessing
import signal
import socket
import threading
from collections import Counter
from urllib.parse import urlsplit

import pytest
import sample

from benchmarks.study_load import Client, crowd, served, stored
from benchmarks.study_load import sample as loaded
from steer.study.plan import Study
from steer.study.store import Store
from steer.study.web.guard import HEADERS
from steer.study.web.serve import PLAIN


@pytest.fixture
def folder(tmp_path):
    sample.study(annotators=9).write(tmp_path / "study")
    return tmp_path / "study"


def steps_twice(folder) -> list[tuple[str, str, str]]:
    """What one annotator has answered more than once."""
    store = Store(folder, Study.read(folder))
    counts = Counter((vote.annotator, vote.pair, vote.question) for vote in store.votes())
    store.close()
    return [one for one, count in counts.items() if count > 1]


# -- many at once ------------------------------------------------------------------------------------------------------


def test_every_acknowledged_vote_of_fifty_at_once_is_stored_once(tmp_path):
    loaded(clients=50).write(tmp_path)
    with served(tmp_path, invite=50) as server:
        outcomes = crowd(server.links, votes=20, each=2)  # each request is sent twice
        assert sum(len(one.chosen) for one in outcomes) == 1000
        assert stored(tmp_path, outcomes) == (1000, 0)
    assert stored(tmp_path, outcomes) == (1000, 0)
    assert steps_twice(tmp_path) == []


def test_no_acknowledged_vote_is_lost_when_the_server_is_killed(tmp_path):
    loaded(clients=20).write(tmp_path)
    count, found = multiprocessing.Value("i", 0), []
    with served(tmp_path, invite=20) as server:
        clients = threading.Thread(target=lambda: found.extend(crowd(server.links, 60, count)))
        clients.start()
        while count.value < 150 and clients.is_alive():
            clients.join(0.001)
        server.process.kill()
        clients.join()
        assert server.process.wait() == -signal.SIGKILL
    acknowledged = sum(len(one.chosen) for one in found)
    assert 150 <= acknowledged < 20 * 60
    kept, lost = stored(tmp_path, found)
    assert lost == 0
    assert acknowledged <= kept <= acknowledged + 20  # of what was under way, each client may have one more

    name = f"steer_annotator_{Study.read(tmp_path).digest[:8]}"
    with served(tmp_path) as server:  # the study goes on, with the cookies of before
        for outcome in found:
            client, before = Client(server.url, f"{name}={outcome.secret}"), done(tmp_path, outcome.secret)
            assert client.answer(client.token(), "second")
            assert done(tmp_path, outcome.secret) == before + 1
        assert stored(tmp_path, []) == (kept + 20, 0)
    assert steps_twice(tmp_path) == []


def done(folder, secret: str) -> int:
    store = Store(folder, Study.read(folder))
    found = store.progress(store.annotator(secret).number).done
    store.close()
    return found


def test_of_one_answer_sent_by_many_at_once_one_counts(folder):
    with served(folder, invite=1) as server:
        first = Client(server.url)
        first.join(server.links[0])
        for _ in range(5):
            token, barrier = first.token(), threading.Barrier(8)

            def send(token: str = token, barrier: threading.Barrier = barrier) -> None:
                client = Client(server.url, first.cookie)
                barrier.wait(30)
                client.answer(token, "first")

            threads = [threading.Thread(target=send) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert stored(folder, []) == (5, 0)
        assert done(folder, first.secret) == 5


# -- what comes over the line as it is ---------------------------------------------------------------------------------


def line(url: str, request: bytes) -> tuple[int, bytes]:
    """Send bytes -> status and whole answer."""
    with socket.create_connection(urlsplit(url).netloc.split(":"), timeout=30) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return int(answer.split()[1]), answer


ODD = [
    r"/static/../study.json",
    r"/static/../../plan.py",
    r"/../study.json",
    r"//study.json",
    r"/./admin",
    r"/static/..\study.json",
    r"/i/../admin",
    r"http://evil.example/admin",
    r"*",
    r"/%",
    r"/static/%",
]


def test_paths_that_no_client_would_send_lead_nowhere(folder):
    with served(folder, invite=1) as server:
        for path in ODD:
            request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
            status, answer = line(server.url, request.encode())
            assert status in (400, 404), path
            assert b"zircon" not in answer
            assert b"\nserver:" not in answer.lower()


def test_a_body_in_chunks_is_refused_whatever_length_it_claims(folder):
    with served(folder, invite=1) as server:
        head = b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n"
        for more in (b"", b"Content-Length: 5\r\n"):
            status, answer = line(server.url, head + more + b"\r\n5\r\ntoken\r\n0\r\n\r\n")
            assert status == 411
            assert all(name.lower().encode() in answer.lower() for name in HEADERS)
        assert line(server.url, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")[0] == 400  # no host
        assert line(server.url, b"nonsense\r\n\r\n")[0] == 400
        Client(server.url).join(server.links[0])  # and it still serves


# -- how it begins and ends --------------------------------------------------------------------------------------------


def test_links_are_told_once_and_logs_hold_none(folder):
    with served(folder, "--invite", "lay=2", "--invite", "expert=1") as server:
        links, admin = server.links, server.admin
        assert len(set(links)) == 3
        for link in (*links, admin):
            assert Client(server.url).ask("GET", urlsplit(link).path)[0] in (200, 303)
            assert Client(server.url).ask("GET", urlsplit(link).path[:-1])[0] == 404
    assert not any(urlsplit(link).path.split("/")[2] in "".join(server.said) for link in (*links, admin))
    assert PLAIN not in "".join(server.said)  # on this machine only
    with served(folder) as server:
        assert server.links == []  # there are some, though they are not known any more
        assert Client(server.url).ask("GET", urlsplit(links[0]).path)[0] == 200
        assert Client(server.url).ask("GET", urlsplit(admin).path)[0] == 404  # this one is new at every start
    assert "invitations made before: 3;" in server.said[0]
    store = Store(folder, Study.read(folder))
    assert [one.group for one in store.invitations()] == ["lay", "lay", "expert"]
    store.close()


def test_without_an_invitation_one_is_made_for_as_many_as_see_a_pair(folder):
    with served(folder) as server:
        assert len(server.links) == 1
    store = Store(folder, Study.read(folder))
    assert [(one.group, one.seats) for one in store.invitations()] == [("general", 9)]
    store.close()


def test_ctrl_c_stops_it(folder):
    with served(folder, invite=1) as server:
        client = Client(server.url)
        client.join(server.links[0])
        assert client.answer(client.token(), "first")  # whose connection stays open
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 130
    assert "stopped" in server.said[-1]
    assert "Traceback" not in "".join(server.said)
    assert stored(folder, []) == (1, 0)


def test_a_warning_is_said_where_pages_go_unencrypted_over_a_network(folder):
    for url, warned in (("http://study.example.org", True), ("https://study.example.org", False)):
        with served(folder, "--url", url, invite=1) as server:
            assert all(link.startswith(f"{url}/i/") for link in server.links)
            assert server.admin.startswith(f"{url}/a/")
        assert any(line.startswith(f"warning: {PLAIN}") for line in server.said) is warned


def test_a_port_in_use_is_told_in_one_line(folder, complaint):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, said = complaint("study", "serve", folder, "--port", port)
    assert code == 1
    assert said == (
        f"steer: 127.0.0.1:{port} cannot be listened on (Address already in use): choose another --port or --host"
    )


WRONG = {
    "everywhere": (
        ["--host", "0.0.0.0"],
        "--host 0.0.0.0 listens everywhere: tell by --url how annotators reach this machine",
    ),
    "a url without scheme": (["--url", "study.example.org"], "expected an address such as https://study.example.org"),
    "a url with a path": (["--url", "https://example.org/study"], "expected an address such as"),
    "no number": (["--invite", "expert"], "--invite expert: expected GROUP=N, as in expert=3"),
    "nobody": (["--invite", "expert=0"], "--invite expert=0: expected GROUP=N"),
    "an odd group": (["--invite", "a b=1"], "--invite a b=1: expected GROUP=N"),
    "a certificate alone": (["--certificate", __file__], "TLS needs both a certificate and its key"),
    "no such port": (["--port", "70000"], "'--port'"),
}


@pytest.mark.parametrize(("options", "told"), WRONG.values(), ids=WRONG)
def test_options_that_make_no_sense_are_told(folder, complaint, options, told):
    code, said = complaint("study", "serve", folder, *([] if "--port" in options else ["--port", "0"]), *options)
    assert code == 2
    assert told in said


def test_a_host_that_is_not_this_machine_is_told(folder, complaint):
    code, said = complaint("study", "serve", folder, "--port", "0", "--host", "192.0.2.1")
    assert code == 1
    assert said.startswith("steer: 192.0.2.1:0 cannot be listened on (")


def test_no_study_is_told(tmp_path, complaint):
    code, said = complaint("study", "serve", tmp_path, "--port", "0")
    assert code == 1
    assert said.endswith("holds no study.json; steer study create makes one")


def test_the_votes_of_another_study_are_not_added_to(folder, complaint):
    store = Store(folder, Study.read(folder))
    store.join(store.invite("expert"))
    store.close()
    sample.study(title="Another").write(folder)
    code, said = complaint("study", "serve", folder, "--port", "0")
    assert code == 1
    assert said.endswith("is of another study, which people have begun: choose another folder")


def test_what_is_sent_in_parts_does_not_wait_for_a_receipt(folder):
    """A connection is made to send at once, which asyncio does where the socket tells its protocol."""
    from steer.study.web.serve import Address, _listen

    with _listen(Address(port=0)) as listening:
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP
