"""The Ray cluster at an address: one that runs, or one for this process alone."""

import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from steer.config import Settings
from steer.engine.executor import Source
from steer.progress import say

# Both are read when Ray is imported: it would tell its makers of every cluster that is begun, and print what its own
# processes say of a lost worker among what a command prints.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
os.environ.setdefault("RAY_worker_niceness", "0")  # or everything else on the host would come first
try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as error:
    raise ImportError("workers need Ray: install the extra [scale], as in pip install 'steer-text[scale]'") from error

__all__ = ["Cluster", "RayError", "RayTaskError", "ray"]
ANSWER = 10.0  # seconds in which a cluster has to answer


class Cluster:
    """A connection to the cluster at an address, for so many workers.

    "auto" is the cluster that `ray start` has begun on this host (or $RAY_ADDRESS names), and where there is none, one
    that ends with this process. Raises ConnectionError where nothing answers.
    """

    def __init__(self, address: str, workers: int) -> None:
        self.workers, self.joined, self.own = workers, not ray.is_initialized(), False
        if not self.joined:
            return
        quiet: dict[str, Any] = {"logging_level": "ERROR", "log_to_driver": False}
        there = _begun_here() if address == "auto" else address
        if there is None:
            self.own = True
            processors = max(workers, os.cpu_count() or 1)
            ray.init(address="local", num_cpus=processors, include_dashboard=False, **quiet)
            return
        _reach(there)
        try:
            ray.init(address=there, **quiet)
        except (ConnectionError, RayError) as error:
            raise ConnectionError(f"ray: the cluster at {there!r} cannot be joined: {error}") from None

    def needs(self, source: Source, settings: Settings) -> dict[str, float]:
        """What a worker takes of it: a GPU where there are any, else its share of the processors."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if source.device != "cpu" and any(node.get("GPU") for node in nodes):
            return {"num_cpus": 1, "num_gpus": int(settings.vllm.get("tensor_parallel_size", 1))}
        processors = [int(node["CPU"]) for node in nodes if node.get("CPU")]
        # A worker does not span hosts.
        return {"num_cpus": max(1, min([sum(processors) // self.workers, *processors]))}

    def threads(self, needs: dict[str, float]) -> int:
        """Of a worker's process. In a cluster of our own there may be more workers than processors."""
        most = (os.cpu_count() or 1) // self.workers if self.own else int(needs["num_cpus"])
        return max(1, min(most, int(needs["num_cpus"])))

    def leave(self) -> None:
        if self.joined:
            ray.shutdown()


def _begun_here() -> str | None:
    """The cluster that $RAY_ADDRESS names, or else `ray start` has begun on this host, if it is still there."""
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    noted = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray" / "ray_current_cluster"
    address = noted.read_text(encoding="utf-8").strip() if noted.is_file() else ""
    try:
        _reach(address)
    except ConnectionError:
        if address:
            say(f"warning: ray: the cluster at {address} does not answer; one is begun for this process")
        return None
    return address


def _reach(address: str) -> None:
    """Raises ConnectionError where nothing answers there; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        raise ConnectionError(f"ray: no cluster answers at {address!r}, expected HOST:PORT ({error})") from None
