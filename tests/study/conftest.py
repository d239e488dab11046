"""A store of a small study, with a clock that is set by hand, and its pages."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sample
from judging import longer
from scripted import serving
from visiting import ADMIN, URL, Browser, Served

from steer.endpoint import Server
from steer.study.judge import (
    EndpointJudge,
    judge,
)
from steer.study.plan import Study
from steer.study.store import Store, hashed
from steer.study.web.limits import Limit


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


@pytest.fixture
def sited(opened, clock) -> Callable[..., Served]:
    """A site for a study, where no limit is met unless it is given."""

    def made(study: Study | None = None, url: str = URL, **options) -> Served:
        free = {name: Limit(1e9, 1e9) for name in ("unknown", "answers")}
        return Served(opened(study or sample.study()), url, hashed(ADMIN), now=clock, **free | options)

    return made


@pytest.fixture
def site(sited) -> Served:
    return sited()


@pytest.fixture
def annotator(site) -> Browser:
    return Browser(site).join(site.store.invite("expert"))


@pytest.fixture
def admin(site) -> Browser:
    browser = Browser(site)
    assert browser.ask("GET", f"/a/{ADMIN}").headers["location"] == "/admin"
    return browser


@pytest.fixture
def server():
    with serving() as running:
        running.always = longer
        yield running


@pytest.fixture
def model(server):
    """A judge that does not sleep."""
    return EndpointJudge("m", "m", Server(server.url, timeout=5, sleep=lambda seconds: None))


@pytest.fixture
def run(model, tmp_path):
    """Judge a study in a folder and with a cache of the test's own."""

    def judging(study, by=model, folder="study", cache="cache", **options):
        return judge(study, tmp_path / folder, by, cache=tmp_path / cache, **{"shown": False, "workers": 1, **options})

    return judging
