"""The search: what it finds, what it decides, and that it ends the same however often it is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steer.evaluate.intervals import Estimate
from steer.pareto import Constraint, Objective, Want, front
from steer.tune import DIALS, Plan, Trial, conclude, concluded, grid, is_plain, measure_all, rivals, search, sweep
from steer.tune.dials import COUNT, ETA, GAMMA, REAL_SHARE, TEMPERATURE, TOP_P, canonical, check, plain
from steer.tune.result import Conclusion
from steer.tune.suggest import suggested

WANT = Want(
    (Objective("ngram_diversity", True), Objective("adversarial_auroc", False)),
    (Constraint("calibrated_authenticity", True, 0.9),),
)
SMALL = Plan(dials=(GAMMA, ETA), trials=10, spread=4, temperatures=(0.8, 1.0), top_ps=(0.9,), confirm=3)


def truth(point):
    """The best γ is 1 and the best temperature 1; η buys diversity, at first cheaply, and costs authenticity."""
    off = 0.15 * (point[GAMMA] - 1) ** 2 + 0.3 * (point[TEMPERATURE] - 1) ** 2
    return {
        "ngram_diversity": 0.5 + 0.4 * (point[ETA] / 2) ** 0.7 - off,
        "adversarial_auroc": 0.52 + 0.4 * (point[ETA] / 2) ** 2 + off,
        "calibrated_authenticity": 1 - 0.1 * point[ETA],
    }


class Fake:
    """The truth and noise, most of it the same for all points: what common random numbers leave."""

    def __init__(self, noise=0.01, fails=lambda point: False, log=None, delay=0.0):
        self.noise, self.fails, self.log, self.delay, self.asked = noise, fails, log, delay, []

    def measure(self, point, *, samples, seed, part):
        self.asked.append((dict(point), samples, seed, part))
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps([os.getpid(), samples, dict(point)]) + "\n")
        time.sleep(self.delay)
        if self.fails(point):
            raise ValueError("nothing usable was drawn")
        own = zlib.crc32(json.dumps(dict(point)).encode())
        return {
            name: self.estimate(value, [seed, i, part == "test"], own, samples)
            for i, (name, value) in enumerate(truth(point).items())
        }

    def estimate(self, value, common, own, samples):
        draws = 0.95 * np.random.default_rng(common).standard_normal(101)
        draws = draws + 0.3 * np.random.default_rng([*common, own]).standard_normal(101)
        first, *rest = value + self.noise * (200 / samples) ** 0.5 * draws
        rest = np.array(rest) - value + first
        low, high = np.quantile(rest, [0.025, 0.975])
        return Estimate(first, min(low, first), max(high, first), draws=rest)


def quiet(line):
    pass


def without_seconds(trials):
    return [replace(trial, seconds=0) for trial in trials]


def area(points):
    """Dominated by the points that truly meet the constraint, above no diversity and an AUROC of 1."""
    good = [one for one in map(truth, points) if WANT.meets({name: Estimate(x) for name, x in one.items()})]
    found, height = 0.0, 0.0
    for x, y in sorted(((one["ngram_diversity"], 1 - one["adversarial_auroc"]) for one in good), reverse=True):
        found, height = found + x * max(0, y - height), max(y, height)
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """One search for the tests that look at one: 40 trials of four dials."""
    store, plan, fake = tmp_path_factory.mktemp("search"), Plan(seed=1), Fake()
    return plan, store, search(fake, plan, store, quiet), fake


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A small search that nothing has stopped."""
    return search(Fake(), SMALL, tmp_path_factory.mktemp("whole"), quiet)


@pytest.fixture(scope="module")
def concluded_once(tmp_path_factory):
    store, fake = tmp_path_factory.mktemp("conclude"), Fake()
    search(fake, SMALL, store, quiet)
    fake.asked.clear()
    return store, conclude(fake, SMALL, store, quiet), fake


class TestDials:
    def test_values_are_those_of_the_steps(self):
        assert [DIALS[TOP_P].value(i) for i in range(DIALS[TOP_P].count)] == [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
        assert DIALS[GAMMA].rounded(0.1 + 0.2) == 0.3
        assert (DIALS[GAMMA].rounded(-1), DIALS[GAMMA].rounded(9)) == (0, 2)
        assert all(dial.rounded(dial.default) == dial.default for dial in DIALS.values())

    def test_equal_decoders_are_one_point(self):
        base = {GAMMA: 0.2, ETA: 0.4, COUNT: 10.0, REAL_SHARE: 0.5}
        off = {GAMMA: 0.2, ETA: 0.0, COUNT: 10.0, REAL_SHARE: 0.5}
        assert canonical({GAMMA: 0.2, ETA: -0.0, COUNT: 4, REAL_SHARE: 1}, base) == off
        assert canonical({GAMMA: 0.2, ETA: 0.7, COUNT: 0, REAL_SHARE: 1}, base) == off
        assert canonical({REAL_SHARE: 1, COUNT: 2, ETA: 3 * 0.1, GAMMA: 1}, base) == {
            GAMMA: 1,
            ETA: 0.3,
            COUNT: 2,
            REAL_SHARE: 1,
        }

    def test_plain_sampling_has_everything_else_switched_off(self):
        base = Plan(dials=tuple(DIALS), defaults={"guidance.strength": 0.8, "guidance.alpha": 0.1, COUNT: 4}).base
        point = plain(base, 1.2, 1.0)
        assert point == {
            **base,
            GAMMA: 0,
            ETA: 0,
            "guidance.alpha": 0,
            "guidance.strength": 1,
            TEMPERATURE: 1.2,
            TOP_P: 1,
        }
        assert is_plain(point)
        assert not is_plain({**point, "guidance.alpha": 0.01})

    def test_the_starts_are_plain_sampling_the_settings_and_points_that_fill_the_ranges(self):
        plan = Plan(defaults={GAMMA: 0.25}, spread=8)
        assert plan.starts[:2] == [
            {GAMMA: 0, ETA: 0, TOP_P: 0.9, TEMPERATURE: 1},
            {GAMMA: 0.25, ETA: 0.4, TOP_P: 0.9, TEMPERATURE: 1},
        ]
        gammas = [point[GAMMA] for point in plan.starts[2:]]
        assert len(gammas) == 8
        assert sum(gamma < 1 for gamma in gammas) == pytest.approx(4, abs=1)
        assert plan.starts == Plan(defaults={GAMMA: 0.25}, spread=8).starts != replace(plan, seed=1).starts

    def test_a_misspelt_dial_is_refused(self):
        with pytest.raises(ValueError, match=r"no dial called 'guidance\.gama'; did you mean 'guidance\.gamma'"):
            Plan(dials=("guidance.gama",))
        with pytest.raises(ValueError, match=r"known: guidance\.gamma"):
            check(["xyz"])
        with pytest.raises(ValueError, match="trials is 0"):
            Plan(trials=0)


class TestSearch:
    def test_comes_near_the_known_front(self, found):
        plan, _, trials, _ = found
        best = [{GAMMA: 1, ETA: eta / 10, TEMPERATURE: 1} for eta in range(21)]
        evenly = Plan(seed=1, spread=40).starts[2:]
        assert area([t.point for t in trials]) > 0.93 * area(best) > area(evenly)
        assert len(trials) == plan.trials

    def test_never_measures_a_point_twice_and_all_with_the_same_samples(self, found):
        plan, _, trials, fake = found
        full = [json.dumps(point) for point, samples, _, _ in fake.asked if samples == plan.samples]
        assert len(full) == len(set(full)) == sum(trial.state == "complete" for trial in trials)
        assert {(seed, part) for _, _, seed, part in fake.asked} == {(plan.seed, "validation")}

    def test_starts_with_the_starts(self, found):
        plan, _, trials, _ = found
        assert [trial.point for trial in trials[:10]] == plan.starts
        assert [trial.number for trial in trials] == list(range(plan.trials))

    def test_stops_early_what_is_worse_and_nothing_else(self, found):
        plan, _, trials, fake = found
        stopped = [trial for trial in trials if trial.state == "stopped"]
        assert len(stopped) >= 3
        for trial in stopped:
            others = [truth(one.point) for one in trials if one.number < trial.number and one.state == "complete"]
            assert 0 not in front([truth(trial.point), *others], WANT.objectives)
            assert trial.samples == plan.first
            assert "surely worse in all objectives than gamma" in trial.reason
            assert not any(point == trial.point and samples == plan.samples for point, samples, _, _ in fake.asked)

    def test_a_point_that_breaks_a_constraint_stops_no_other(self, tmp_path):
        """The more γ, the better in everything but authenticity."""

        class Copies(Fake):
            def measure(self, point, **kwargs):
                rest = super().measure({**point, GAMMA: 1}, **kwargs)
                good, honest = (
                    Estimate(point[GAMMA], draws=rest["ngram_diversity"].draws),
                    1.0 if point[GAMMA] < 1 else 0.0,
                )
                return {
                    **rest,
                    "ngram_diversity": good,
                    "adversarial_auroc": replace(good, value=1 - point[GAMMA] / 4),
                    "calibrated_authenticity": Estimate(honest, honest, honest),
                }

        plan = replace(SMALL, dials=(GAMMA,), trials=10)
        for trial in search(Copies(), plan, tmp_path, quiet):
            assert trial.state == "complete" or trial.point[GAMMA] < 1

    def test_a_point_that_cannot_be_measured_is_kept_with_its_reason(self, tmp_path):
        fake = Fake(fails=lambda point: point[GAMMA] > 0)
        trials = search(fake, replace(SMALL, trials=3), tmp_path, quiet)
        assert [trial.state for trial in trials] == ["complete", "failed", "failed"]
        assert [trial.reason for trial in trials[1:]] == ["nothing usable was drawn"] * 2
        assert len(fake.asked) == 4

    @pytest.mark.parametrize(
        ("good", "bad"),
        [
            (("complete", 0.95), ("failed", 0.95)),
            (("complete", 0.95), ("stopped", 0.95)),
            (("complete", 0.95), ("complete", 0.5)),
            (("complete", 0.5), ("failed", 0.95)),
            (("complete", 0.8), ("complete", 0.5)),
        ],
    )
    def test_it_seldom_looks_where_points_fail_are_stopped_or_miss_a_constraint(self, good, bad):
        """Ten points with γ below 1 are good, ten above are bad; all else is alike."""

        def known(i):
            state, honest = good if i < 10 else bad
            values = {"ngram_diversity": 0.5, "adversarial_auroc": 0.5, "calibrated_authenticity": honest}
            scores = {} if state == "failed" else {name: Estimate(value) for name, value in values.items()}
            return Trial(i, {**SMALL.base, GAMMA: 0.1 * i, ETA: 0.1 * (1 + i % 7)}, state, 200, scores, 0.0)

        points = [suggested(replace(SMALL, seed=seed), [known(i) for i in range(20)], []) for seed in range(20)]
        assert sum(point[GAMMA] < 1 for point in points) >= 15

    def test_an_undefined_score_is_a_failure_with_its_reason(self, tmp_path):
        class Undefined(Fake):
            def measure(self, point, **kwargs):
                return {
                    **super().measure(point, **kwargs),
                    "calibrated_authenticity": Estimate(float("nan"), reason="too few texts"),
                }

        trials = search(Undefined(), replace(SMALL, trials=1), tmp_path, quiet)
        assert [(t.state, t.reason) for t in trials] == [
            ("failed", "calibrated_authenticity is undefined: too few texts")
        ]

    def test_a_score_that_is_never_measured_is_an_error_and_not_a_failed_point(self, tmp_path):
        plan = replace(SMALL, want=Want((Objective("coverage", True),)))
        with pytest.raises(LookupError, match="'coverage' was not measured; there are: ngram_diversity"):
            search(Fake(), plan, tmp_path, quiet)

    def test_keeps_to_its_budget_and_keeps_what_is_finished(self, tmp_path):
        assert search(Fake(), replace(SMALL, budget=0.0), tmp_path, quiet) == []
        some = search(Fake(delay=0.3), replace(SMALL, budget=0.5), tmp_path, quiet)
        assert len(some) == 1
        assert search(Fake(), replace(SMALL, trials=3), tmp_path, quiet)[:1] == some

    def test_ends_where_there_is_nothing_left(self, tmp_path):
        plan = replace(SMALL, dials=("negatives.real_share",), trials=20)
        trials = search(Fake(), plan, tmp_path, quiet)
        assert sorted(trial.point[REAL_SHARE] for trial in trials if trial.point[ETA]) == [0, 0.25, 0.5, 0.75, 1]
        assert len(trials) == 6

    def test_another_question_is_another_search(self, tmp_path):
        search(Fake(), replace(SMALL, trials=2), tmp_path, quiet)
        for other in (replace(SMALL, seed=1), replace(SMALL, samples=100), replace(SMALL, about="other weights")):
            assert other.name != SMALL.name
        assert search(Fake(), replace(SMALL, seed=1, trials=1), tmp_path, quiet)[0].number == 0
        assert SMALL.name == replace(SMALL, trials=99, budget=5.0).name

    def test_one_objective_is_enough(self, tmp_path):
        plan = replace(SMALL, want=Want((Objective("ngram_diversity", True),)))
        best = max(search(Fake(), plan, tmp_path, quiet), key=lambda trial: trial.scores["ngram_diversity"].value)
        assert best.point[ETA] >= 1.4


class TestStoppedAndShared:
    def test_killed_and_resumed_is_uninterrupted(self, whole, tmp_path):
        worker = start(tmp_path, tmp_path / "log", delay=0.2)
        wait_for(lambda: len(stored(tmp_path)) >= SMALL.trials // 2)
        worker.send_signal(signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        assert len(stored(tmp_path)) < SMALL.trials
        resumed = search(Fake(), SMALL, tmp_path, quiet)
        assert without_seconds(resumed) == without_seconds(whole)
        assert not list((tmp_path / "running").rglob("*.*"))

    def test_interrupted_by_hand_loses_nothing(self, whole, tmp_path):
        class Interrupted(Fake):
            def measure(self, point, **kwargs):
                if len(self.asked) == 11:
                    raise KeyboardInterrupt
                return super().measure(point, **kwargs)

        with pytest.raises(KeyboardInterrupt):
            search(Interrupted(), SMALL, tmp_path, quiet)
        assert len(stored(tmp_path)) >= 5
        assert without_seconds(search(Fake(), SMALL, tmp_path, quiet)) == without_seconds(whole)

    def test_two_workers_share_the_work(self, tmp_path):
        log, store = tmp_path / "log", tmp_path / "store"
        workers = [start(store, log, delay=0.1, trials=8) for _ in range(2)]
        assert [worker.wait(60) for worker in workers] == [0, 0]
        asked = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
        points = [json.dumps(point) for _, samples, point in asked if samples == SMALL.first]
        assert len(points) == len(set(points)) == len(stored(store)) == 8
        assert {pid for pid, _, _ in asked} == {worker.pid for worker in workers}

    def test_what_a_living_worker_measures_is_left_to_it(self, tmp_path):
        log = tmp_path / "log"
        worker = start(tmp_path, log, delay=0.5, trials=1)
        wait_for(lambda: log.is_file())
        mine = Fake()
        trials = search(mine, replace(SMALL, trials=2), tmp_path, quiet)
        assert worker.wait(60) == 0
        assert SMALL.starts[0] not in [point for point, *_ in mine.asked]
        assert sorted(trial.point[GAMMA] for trial in trials) == [0, 0.1]


class TestFixedLists:
    def test_a_grid_is_all_combinations_each_decoder_once(self, tmp_path):
        fake, axes = Fake(), {ETA: (0.0, 0.25, 1.0), COUNT: (2, 4)}
        cells = grid(fake, axes, SMALL, tmp_path, quiet)
        assert list(cells) == [(0.0, 2), (0.0, 4), (0.25, 2), (0.25, 4), (1.0, 2), (1.0, 4)]
        assert cells[0.0, 2] is cells[0.0, 4]
        assert cells[0.25, 4].point == {**SMALL.base, ETA: 0.25, COUNT: 4}
        assert len(fake.asked) == 5
        assert {samples for _, samples, _, _ in fake.asked} == {SMALL.samples}

    def test_what_was_measured_is_not_measured_again(self, tmp_path):
        fake = Fake()
        grid(fake, {GAMMA: (0.0, 0.1), ETA: (0.4, 1.0)}, SMALL, tmp_path, quiet)
        found = sweep(fake, {GAMMA: (0.0, 1.0), ETA: (0.0, 1.0)}, SMALL, tmp_path, quiet)
        assert len(fake.asked) == 4 + 2
        assert found[GAMMA][1.0].point == {**SMALL.base, GAMMA: 1.0}
        assert found[ETA][1.0].point == {**SMALL.base, ETA: 1.0}

    def test_the_rivals_are_plain_sampling_on_fresh_samples(self, tmp_path):
        fake = Fake()
        found = rivals(fake, SMALL, tmp_path, quiet)
        assert [trial.point for trial in found] == [plain(SMALL.base, t, 0.9) for t in (0.8, 1.0)]
        assert {(seed, part) for _, _, seed, part in fake.asked} == {(SMALL.fresh_seed, "validation")}

    def test_another_seed_or_part_is_measured_anew(self, tmp_path):
        fake, points = Fake(), [SMALL.base]
        (one,) = measure_all(fake, points, SMALL, tmp_path, "validation", 0, quiet)
        (two,) = measure_all(fake, points, SMALL, tmp_path, "test", 0, quiet)
        (three,) = measure_all(fake, points, SMALL, tmp_path, "test", 1, quiet)
        assert len({trial.scores["ngram_diversity"].value for trial in (one, two, three)}) == len(fake.asked) == 3


class TestConclusion:
    def test_the_test_split_is_looked_at_once(self, concluded_once):
        store, made, fake = concluded_once
        looked = [point for point, _, _, part in fake.asked if part == "test"]
        assert looked == [made.recommended.point, made.default.point, made.plain.point]
        before = (store / "tune.json").read_bytes()
        assert conclude(None, SMALL, store, quiet) == concluded(SMALL, store) == made
        assert (store / "tune.json").read_bytes() == before
        assert made.looks == 1

    def test_every_stage_has_samples_of_its_own(self, concluded_once):
        _, made, fake = concluded_once
        seeds = {part: {seed for *_, seed, one in fake.asked if one == part} for part in ("validation", "test")}
        assert seeds == {"validation": {SMALL.fresh_seed}, "test": {SMALL.test_seed}}
        assert len({SMALL.seed, SMALL.fresh_seed, SMALL.test_seed}) == 3
        stages = (made.recommended.search, made.recommended.validation, made.recommended.test)
        assert len({stage["ngram_diversity"].value for stage in stages}) == 3

    def test_recommends_what_is_good_and_meets_the_constraint(self, concluded_once):
        _, made, _ = concluded_once
        assert truth(made.recommended.point)["calibrated_authenticity"] >= 0.9
        assert made.recommended.point[GAMMA] == pytest.approx(1, abs=0.45)
        assert made.recommended.why.startswith("it meets calibrated_authenticity >= 0.9")
        assert made.recommended.number in [row.number for row in made.confirmed]
        assert 1 <= len(made.confirmed) <= SMALL.confirm

    def test_says_whether_steering_gives_what_no_temperature_gives(self, concluded_once):
        _, made, _ = concluded_once
        against = made.against_plain
        assert against.beyond
        tested = {one.number: one for one in against.tested}
        assert all(tested[number].low > 0 and tested[number].adjusted < 0.05 for number in against.beyond)
        steered = {row.number for row in made.confirmed if not is_plain(row.point)}
        assert set(tested).isdisjoint(against.outside)
        assert {*tested, *against.outside} <= steered
        assert {(gain.over, gain.score) for gain in made.gains} == {
            (over, name) for over in ("default", "plain") for name in WANT.scores
        }
        assert all(
            gain.low > 0 for gain in made.gains if gain.over == "plain" and gain.score != "calibrated_authenticity"
        )

    def test_where_plain_sampling_is_best_it_says_so(self, tmp_path):
        class Useless(Fake):
            def measure(self, point, **kwargs):
                hurt = point[GAMMA] + point[ETA]
                return super().measure({**point, GAMMA: 1 + hurt, ETA: 0}, **kwargs)

        plan = replace(SMALL, trials=6, temperatures=(1.0, 1.2))
        search(Useless(), plan, tmp_path, quiet)
        made = conclude(Useless(), plan, tmp_path, quiet)
        assert not made.against_plain.beyond
        assert is_plain(made.recommended.point) or "plain sampling is no worse" in made.recommended.why

    def test_steering_that_does_nothing_is_not_beyond_plain_sampling(self, tmp_path):
        class Null(Fake):
            """γ and η change the noise of a point, and nothing else."""

            def measure(self, point, **kwargs):
                return super().measure({**point, GAMMA: 0, ETA: 0, "noise": point[GAMMA] + point[ETA]}, **kwargs)

        beyond = []
        for seed in range(3):
            plan = replace(SMALL, trials=8, seed=seed, temperatures=(0.8, 1.0, 1.2, 1.4))
            search(Null(), plan, tmp_path / str(seed), quiet)
            beyond += conclude(Null(), plan, tmp_path / str(seed), quiet).against_plain.beyond
        assert not beyond

    def test_is_whole_and_strict_json(self, concluded_once):
        store, made, _ = concluded_once
        tree = json.loads((store / "tune.json").read_text("utf-8"), parse_constant=pytest.fail)
        assert Conclusion.from_json(tree) == made
        assert tree["want"] == str(WANT)
        assert tree["dials"][GAMMA] == {"low": 0, "high": 2, "step": 0.1, "default": 0.1, "plain": 0}
        row = tree["trials"][0]
        assert set(row) == {
            "number",
            "point",
            "state",
            "reason",
            "samples",
            "seconds",
            "scores",
            "on_front",
            "front_share",
        }
        assert set(row["scores"]["adversarial_auroc"]) == {"value", "low", "high"}
        assert sum(row["on_front"] for row in tree["trials"]) >= 1
        assert all(
            row["on_front"] is False and row["front_share"] == 0 for row in tree["trials"] if row["state"] != "complete"
        )

    def test_another_plan_is_another_look_and_is_counted(self, concluded_once, tmp_path):
        store, made, fake = concluded_once
        again = replace(SMALL, want=Want(WANT.objectives), trials=2)
        (tmp_path / "tune.json").write_bytes((store / "tune.json").read_bytes())
        search(fake, again, tmp_path, quiet)
        assert conclude(fake, again, tmp_path, quiet).looks == made.looks + 1

    def test_there_is_nothing_to_conclude_from_nothing(self, tmp_path):
        with pytest.raises(
            ValueError, match="nothing to conclude from 0 points, of which none is complete; search first"
        ):
            conclude(Fake(), SMALL, tmp_path, quiet)
        hopeless = Fake(fails=lambda point: True)
        search(hopeless, replace(SMALL, trials=2), tmp_path, quiet)
        with pytest.raises(ValueError, match="from 2 points, of which none is complete; the last one: nothing usable"):
            conclude(hopeless, SMALL, tmp_path, quiet)


def stored(store):
    from steer.tune.history import History

    return History(store, SMALL.name, SMALL.want).finished() if (store / "study.db").is_file() else []


def start(store, log, delay, trials=SMALL.trials):
    """A worker of its own process."""
    arguments = [sys.executable, "-m", "tests.test_tune", str(store), str(log), str(delay), str(trials)]
    return subprocess.Popen(arguments, cwd=Path(__file__).parent.parent)


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


if __name__ == "__main__":
    store, log, delay, trials = sys.argv[1:]
    search(Fake(log=log, delay=float(delay)), replace(SMALL, trials=int(trials)), Path(store), quiet)
