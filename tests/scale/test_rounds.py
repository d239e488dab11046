"""The simulation behind docs/scale.md: what goes in comes out once, and where a formula is known it agrees."""

import random
from dataclasses import replace

import pytest
import toy

from benchmarks.rounds import RIVALS, Cost, Group, Layout, Simulation, blind, cut, fit, flown, limit, read_back
from steer import guidance as g
from steer.config import Sampling
from steer.engine.contexts import contexts
from steer.engine.executor import Local
from steer.engine.requests import Request
from steer.engine.tally import Tally

COST = Cost(prefix=0.001, step=0.01, row=0.0001, round=0.2, text=0.001)
FREE = replace(COST, round=0.0, text=0.0)  # without a driver
LANES = 16


def groups(count: int = 64, size: int = 4, seed: int = 0) -> list[Group]:
    rng = random.Random(seed)
    return [Group(rng.randint(20, 60), tuple(rng.randint(1, 50) for _ in range(size))) for _ in range(count)]


def simulated(layout: Layout, cost: Cost, rounds: list) -> Simulation:
    return Simulation(layout, cost, rounds).run()


# -- what a parcel takes


@pytest.mark.parametrize("lanes", [1, 3, 5, 8, 24])
def test_steps_and_lanes_are_those_of_the_engine(lanes):
    local = Local(toy.pair(), lanes)
    negatives = [record.text for record in toy.records()]
    shown = [contexts(local.tokenizer, "Write a text.", negatives[i : i + 3]) for i in range(6)]
    requests = [Request(one, 100 * i + j, 20) for i, one in enumerate(shown) for j in range(4)]
    tally = Tally()
    lengths = [len(text.token_ids) for text in local.decode(g.steer(), requests, Sampling(), tally=tally)]
    assert len(set(lengths)) > 3
    assert flown(lengths, lanes)[1] == tally.computed


@pytest.mark.parametrize(
    ("lengths", "lanes", "found"),
    [
        ([1], 1, (0, 0)),  # its only token is drawn from what it was shown
        ([1, 1, 1], 2, (0, 0)),
        ([5], 4, (4, 4)),
        ([5, 5], 2, (4, 8)),
        ([5, 5], 1, (8, 8)),
        ([3, 5], 2, (4, 6)),  # half are empty, and are dropped
        ([2, 9, 9, 9, 9, 9, 9, 9], 8, (8, 64)),  # an eighth is empty, and stays
        ([3, 5, 3], 2, (4, 8)),  # the third takes the place of the first
    ],
)
def test_lanes_are_refilled_and_dropped(lengths, lanes, found):
    assert flown(lengths, lanes) == found


def test_a_fit_finds_what_made_the_seconds():
    rng = random.Random(1)
    parcels = [groups(rng.randint(1, 4), seed=seed) for seed in range(20)]
    found = fit([(parcel, FREE.parcel(parcel, LANES)) for parcel in parcels], FREE.streams, LANES)
    assert (found.prefix, found.step, found.row) == pytest.approx((FREE.prefix, FREE.step, FREE.row))


def test_a_measured_round_is_read_back():
    round_, parcels = read_back({"groups": ["20: 3 5", "30: 7"], "parcels": ["1: 1: 0.5", "0: 0 1: 2.0"]})
    assert round_ == [Group(20, (3, 5)), Group(30, (7,))]
    assert parcels == [([round_[1]], 0.5), (round_, 2.0)]


# -- rounds


LAYOUTS = {
    "well": Layout(4, LANES),
    "stale": Layout(4, LANES, staleness=1),
    "slow": Layout(4, LANES, slow=30.0),
    "failing": Layout(4, LANES, failures=8.0, back=2.0),
}


@pytest.mark.parametrize("dealing", ["as it is", *RIVALS])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_text_counts_once_and_nothing_is_faster_than_the_limit(layout, dealing):
    made = simulated(replace(layout, dealing=dealing), FREE, cut(groups(256), 64))
    assert made.counted == 256 * 4
    assert made.drawn >= made.counted
    assert limit(layout, FREE, groups(256)) < made.seconds
    assert made.busy <= 4 * made.seconds


def test_one_worker_takes_what_its_rounds_take_one_after_the_other():
    texts = groups(32)
    rounds = cut(texts, 2 * LANES)  # such a round is one parcel
    each = [FREE.parcel(some, LANES) for some in rounds]
    assert simulated(Layout(1, LANES), FREE, rounds).seconds == pytest.approx(sum(each))
    driven = simulated(Layout(1, LANES), COST, rounds)
    assert driven.seconds == pytest.approx(sum(each) + len(rounds) * COST.round + 32 * 4 * COST.text)
    assert driven.busy == pytest.approx(sum(each))


def test_equal_texts_in_full_lanes_reach_the_limit():
    texts = [Group(0, (33,) * 4)] * 64
    layout = Layout(4, LANES)
    assert simulated(layout, FREE, cut(texts, 64)).seconds == pytest.approx(limit(layout, FREE, texts))


def test_the_rivals_deal_as_they_are_called():
    texts = [Group(0, (33,) * 4)] * 64
    full = FREE.parcel(texts[: LANES // 4], LANES)
    seconds = {name: simulated(Layout(4, LANES, dealing=name), FREE, [texts]).seconds for name in RIVALS}
    assert seconds["equal shares at once"] == pytest.approx(FREE.parcel(texts[:16], LANES))
    assert seconds["full lanes, whoever asks"] == pytest.approx(4 * full)
    assert seconds["ever smaller parcels"] > 4 * full


@pytest.mark.parametrize("workers", [1, 3, 8])
@pytest.mark.parametrize("size", [16, 64, 128])
def test_a_round_begun_ahead_is_never_slower_with_full_lanes(workers, size):
    """With shares it may be: who comes back while others draw gets a part of what is left."""
    layout = Layout(workers, LANES, dealing="full lanes, whoever asks")
    fresh, stale = (simulated(replace(layout, staleness=s), COST, cut(groups(128), size)).seconds for s in (0, 1))
    assert stale <= fresh + 1e-9


@pytest.mark.parametrize("workers", [1, 4])
def test_a_failure_costs_what_was_held(workers):
    well = Layout(workers, LANES)
    failing, fine = (simulated(one, COST, cut(groups(), 64)) for one in (replace(well, failures=3.0, back=0.1), well))
    assert failing.drawn > failing.counted == fine.counted == fine.drawn
    assert failing.busy > fine.busy  # also where another is ready before the lost one would have been done
    assert failing.seconds > fine.seconds
    assert simulated(replace(well, slow=2.0), COST, cut(groups(), 64)).seconds > fine.seconds


# -- what a round does not know


@pytest.mark.parametrize(
    ("texts", "size", "staleness", "share"),
    [(10, 10, 0, 1.0), (10, 1, 0, 0.0), (4, 2, 0, 2 / 6), (4, 2, 1, 1.0), (6, 2, 1, 11 / 15)],
)
def test_pairs_that_a_round_does_not_know(texts, size, staleness, share):
    assert blind(texts, size, staleness) == pytest.approx(share)
