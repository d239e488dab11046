"""What every test may ask for."""

import os
from pathlib import Path

import pytest
from tiny import make_pair

from steer.engine.models import Pair


@pytest.fixture(scope="session")
def pair() -> Pair:
    """A tiny random Llama with an adapter; nothing may change it."""
    return make_pair()


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data outside the repository, where the environment names it."""
    folder = os.environ.get("STEER_DATA")
    if not folder:
        pytest.skip("STEER_DATA names no folder of real data")
    return Path(folder)
