"""A store of a small study, with a clock that is set by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sample

from steer.study.plan import Study
from steer.study.store import Store


@pytest.fixture
def clock() -> sample.Clock:
    return sample.Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: sample.Clock) -> Iterator[Callable[[Study], Store]]:
    """Make a store for a study, in a folder of its own; closed afterwards."""
    stores: list[Store] = []

    def made(study: Study) -> Store:
        folder = tmp_path / f"study-{len(stores)}"
        study.write(folder)
        stores.append(Store(folder, study, clock))
        return stores[-1]

    yield made
    for store in stores:
        store.close()
