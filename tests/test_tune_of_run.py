"""A run's search: what is drawn at a point that has neither γ nor η."""

import pytest
import toy

from steer import guidance as g
from steer import pipeline
from steer.config import Settings
from steer.records import read_json, read_jsonl
from steer.run import Run
from steer.study.sources import read_sources
from steer.tune.of_run import Tuning

NOTHING = {"guidance.gamma": 0.0, "guidance.eta": 0.0, "sampling.top_p": 0.9, "sampling.temperature": 1.0}


@pytest.fixture(scope="module")
def tuning(tmp_path_factory) -> Tuning:
    folder = tmp_path_factory.mktemp("world")
    toy.write_model(folder / "base")
    tree = {
        "task": {"data": str(toy.write_data(folder / "data.jsonl", 60))},
        "model": str(folder / "base"),
        "domain": str(toy.write_adapter(folder / "adapter")),
        "guidance": {"alpha": 0.3, "strength": 0.5},
        "sampling": {"top_k": 9, "min_p": 0.1},
        "generate": {"round_size": 8, "group_size": 4},
    }
    with Run.create(folder / "run", Settings.model_validate(tree)) as run:
        pipeline.make(run, "data")
        return Tuning(run, folder / "tune")


def test_plain_sampling_is_plain_whatever_the_run_switches_on(tuning):
    drawn = tuning.bench(["ngram_diversity"]).draw(NOTHING, 4, 0)
    assert {sample.formula for sample in drawn.samples} == {"domain"}
    assert drawn.settings.guidance.resolve() == 1.0 * g.domain
    assert (drawn.settings.sampling.top_k, drawn.settings.sampling.min_p) == (0, 0)


@pytest.mark.parametrize("form", ["steer_printed", "steer_authors"])
def test_a_form_of_steer_stays_that_form(tuning, form):
    """As printed, the negatives attract most where γ and η are 0: that cell is no plain sampling."""
    bench = tuning.bench(["ngram_diversity"], {"guidance.formula": f"{form}(gamma, eta)"})
    expected = getattr(g, form)(0, 0).scaled(0.5) | g.Mask(g.domain.at(0.5), alpha=0.3)
    assert bench.draw(NOTHING, 4, 0).settings.guidance.resolve() == expected


def test_a_grid_leaves_the_texts_of_each_cell_as_sets_for_a_study(tuning):
    tuning.grid({"guidance.gamma": [0.0, 0.5]}, samples=4)
    rows = read_json(tuning.store / "examples" / "grid.json")
    for row in rows:
        drawn = tuning.bench(()).draw(row["point"], 4, tuning.seed).records
        assert read_jsonl(tuning.store / row["file"]) == [{"id": one.id, **one.fields} for one in drawn]
    sets = read_sources([str(tuning.store)], task=tuning.run.settings.task)
    assert [(one.set.name, one.set.gamma, one.set.texts) for one in sets] == [
        ("gamma=0 eta=0.4", 0.0, 4),
        ("gamma=0.5 eta=0.4", 0.5, 4),
    ]
