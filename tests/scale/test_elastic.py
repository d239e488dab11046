"""Workers that come and go, in a cluster of several nodes."""

import socket
import time
from collections.abc import Callable, Iterator

import pytest
import ray
import torch
import toy
from ray.cluster_utils import Cluster

from steer import guidance as g
from steer.config import Sampling, Settings
from steer.engine.contexts import contexts
from steer.engine.executor import Executor, Local, Source
from steer.engine.requests import Request
from steer.scale.cluster import _begun_here
from steer.scale.ray import Workers


@pytest.fixture
def source(tmp_path) -> Source:
    adapter = toy.write_adapter(tmp_path / "adapter")
    return Source(str(toy.write_model(tmp_path / "model")), str(adapter), device="cpu", dtype="float32")


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """Each with room for one worker."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.connect()
    yield made
    ray.shutdown()
    made.shutdown()


def settings(workers: int, **options: object) -> Settings:
    return Settings.model_validate({"task": {"data": "x"}, "workers": workers, **options})


def drawn(executor: Executor) -> list[list[int]]:
    shown = [contexts(executor.tokenizer, "Write a text.", [record.text]) for record in toy.records(12)]
    requests = [Request(one, 100 * i + j, 20) for i, one in enumerate(shown) for j in range(4)]
    return [text.token_ids for text in executor.decode(g.steer(), requests, Sampling())]


def until(condition: Callable[[], bool], workers: Workers, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come about"
        workers.step()


def test_a_worker_joins_and_leaves_on_the_way(nodes, source):
    torch.set_num_threads(1)
    expected = drawn(Local(source.load()))
    few = Workers(source, settings(2))
    assert drawn(few) == expected
    assert "worker 1" not in few.status
    node = nodes.add_node(num_cpus=1)
    until(lambda: few.ready == 2, few)
    assert drawn(few) == expected
    nodes.remove_node(node)
    assert drawn(few) == expected
    until(lambda: few.lost == 1, few)
    assert drawn(few) == expected
    few.close()


def test_who_waits_for_room_in_the_cluster_is_told(nodes, source, capsys, monkeypatch):
    monkeypatch.setattr("steer.scale.ray.PATIENCE", 1.0)
    first, second = Workers(source, settings(1)), Workers(source, settings(1))
    drawn(first)
    second.begin()
    end = time.monotonic() + 5
    while time.monotonic() < end and "none is ready" not in (said := capsys.readouterr().err):
        second.step()
    assert "workers: none is ready yet; each takes 1 cpus, and free in the cluster are none" in said
    first.close()
    assert drawn(second) == drawn(Local(source.load()))
    second.close()


def test_a_cluster_that_does_not_answer_is_named():
    nobody = Workers(Source("steer-nano"), settings(1, ray="127.0.0.1:1"))
    with pytest.raises(ConnectionError, match=r"no cluster answers at '127\.0\.0\.1:1', expected HOST:PORT"):
        nobody.facts(g.steer())


def test_a_cluster_that_was_begun_here_and_is_gone_is_not_waited_for(tmp_path, monkeypatch, capsys):
    """As after the host has gone down: Ray's note of it stays."""
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert _begun_here() is None
    assert "the cluster at 127.0.0.1:1 does not answer; one is begun for this process" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray" / "ray_current_cluster").write_text(address)
        assert _begun_here() == address
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert _begun_here() == "10.0.0.1:6379"
