"""η in a closed loop: it finds the share that is asked for, from either side, and says so where it cannot."""

import json
from collections.abc import Callable
from math import exp, isfinite

import numpy as np
import pytest

from steer.closed_loop import CEILING, Seen, Target, course, next_eta, verdict

Response = Callable[[float], float]
TWO_PERCENT = "auto(duplicates=0.02)"


def falling(at_zero: float, slope: float) -> Response:
    """A share caught that falls with η: log-odds at η = 0, and by how much each unit of η lowers them."""
    return lambda eta: 1 / (1 + exp(slope * eta - at_zero))


def lost_beyond(response: Response, eta: float) -> Response:
    """The same, but for a model that writes no language far beyond an η, all of which is refused."""
    return lambda x: 1 - (1 - response(x)) / (1 + exp(2 * (x - eta)))


# At η = 0 a third to nineteen of twenty texts are duplicates; 2% is met at an η from 0.2 to 5.
HEAVY = {
    "cliff": falling(1, 24),
    "steep": falling(0.5, 10),
    "middling": falling(0.5, 2),
    "flat": falling(-0.5, 0.7),
    "heavier": falling(3, 2.5),
    "exponential": lambda eta: 0.6 * exp(-eta / 0.6),
}


def simulate(
    target: Target, response: Response, seed: int, rounds: int = 20, size: int = 64, drift: float = 0.0
) -> tuple[list[Seen], list[float]]:
    """A run whose odds of a hit grow as `pool ** drift`: what was seen, and the true share at the η of each round."""
    rng = np.random.default_rng(seed)
    history: list[Seen] = []
    true = []
    for number in range(rounds):
        eta = next_eta(target, history)
        share = response(eta)
        share = 1 / (1 + (1 - share) / share / (number + 1) ** drift)
        history.append(Seen(eta, size, int(rng.binomial(size, share))))
        true.append(share)
    return history, true


@pytest.mark.parametrize("drift", [0.0, 0.5], ids=["steady", "drifting"])
@pytest.mark.parametrize("start", [0.0, 5.0], ids=["far too small", "far too large"])
@pytest.mark.parametrize("name", HEAVY)
def test_the_target_is_reached_from_a_bad_start_on_either_side(name, start, drift):
    target = Target("duplicates", 0.02, start)
    true = np.array([simulate(target, HEAVY[name], seed, drift=drift)[1] for seed in range(16)])
    late = true[:, 10:]
    assert abs(late.mean() - 0.02) <= 0.006
    assert np.mean(abs(late.mean(axis=1) - 0.02) <= 0.01) > 0.8, "single runs, on the average of their later rounds"
    assert np.mean(abs(late - 0.02) <= 0.01) > 0.65, "most single rounds too"


@pytest.mark.parametrize(("name", "start"), [("middling", 0.0), ("middling", 5.0), ("flat", 5.0), ("exponential", 0.0)])
def test_a_few_rounds_are_enough_where_the_response_is_no_cliff(name, start):
    true = [simulate(Target("duplicates", 0.02, start), HEAVY[name], seed, rounds=7)[1] for seed in range(8)]
    assert abs(np.mean(true, axis=0)[6] - 0.02) <= 0.01


@pytest.mark.parametrize("start", [0.0, 6.0])
@pytest.mark.parametrize("slope", [0.5, 0.8])
def test_what_grows_in_proportion_to_the_pool_is_kept_up_with(start, slope):
    """As where there are a few thousand different texts: without more and more repulsion 5% become half."""
    target = Target("duplicates", 0.1, start)
    true = [simulate(target, falling(-2.9, slope), seed, rounds=24, size=100, drift=1.0)[1] for seed in range(8)]
    assert abs(np.mean(true, axis=0)[8:].mean() - 0.1) <= 0.01


def test_a_share_that_drifts_away_for_good_is_followed_to_the_bound():
    """The share that is left at any η grows past the target: η rises, and it is said that it did not help."""
    target = Target.parse(TWO_PERCENT)
    history, true = simulate(target, lambda eta: 0.02 + 0.6 * exp(-eta / 0.4), seed=0, rounds=40, drift=0.5)
    assert history[-1].eta > 4 > history[4].eta
    assert true[-1] > 0.03
    assert verdict(target, history) is not None


@pytest.mark.parametrize("start", [0.0, 5.0])
@pytest.mark.parametrize("size", [32, 256])
def test_small_and_large_rounds(size, start):
    true = [simulate(Target("duplicates", 0.05, start), HEAVY["middling"], seed, size=size)[1] for seed in range(5)]
    assert abs(np.mean(true, axis=0)[8:].mean() - 0.05) <= 0.01
    # Eight times the texts, and the error shrinks as their root: from 1.5 hundredths to half of one.
    assert abs(np.array(true)[:, 8:] - 0.05).mean() <= (0.02 if size == 32 else 0.007)


@pytest.mark.parametrize("start", [0.0, 1.5, 5.0])
def test_too_much_repulsion_is_found_out(start):
    """Where a large η is refused for its gibberish, refusals ask for less of it."""
    response = lost_beyond(falling(0.5, 5), 4)
    true = np.array([simulate(Target("refused", 0.05, start), response, seed)[1] for seed in range(5)])
    assert abs(true[:, 10:].mean() - 0.05) <= 0.01
    assert np.all(abs(true[:, 10:].mean(axis=1) - 0.05) <= 0.02)


def test_a_round_depends_on_those_before_it_alone():
    """So a run that is stopped after any round goes on as it would have."""
    for text in (TWO_PERCENT, "auto(refused=0.1, start=3)"):
        target = Target.parse(text)
        history, _ = simulate(target, HEAVY["middling"], seed=1)
        assert [next_eta(target, history[:n]) for n in range(len(history))] == [seen.eta for seen in history]
        assert simulate(target, HEAVY["middling"], seed=1)[0] == history
        assert next_eta(target, tuple(history)) == next_eta(target, history)


def test_the_first_round_is_the_start():
    assert next_eta(Target.parse(TWO_PERCENT), []) == 0.4
    assert next_eta(Target("refused", 0.1, 1.234567), []) == 1.2346


@pytest.mark.parametrize("of", ["duplicates", "refused"])
@pytest.mark.parametrize("eta", [0.0, 0.4, 5.0, CEILING])
def test_steps_are_bounded(eta, of):
    """1 + η at most doubles or halves, whatever was seen: also all hits, none, and nothing at the gate."""
    seen = [Seen(eta, 64, 64), Seen(eta, 64, 0), Seen(eta, 0, 0), Seen(eta, 1, 1), Seen(eta, 100_000, 50_000)]
    for last in seen:
        for before in ([], [Seen(1.0, 64, 0)], [Seen(1.0, 0, 0)], [Seen(2.0, 64, 64)] * 3):
            for share in (0.001, 0.02, 0.5, 0.999):
                following = next_eta(Target(of, share), [*before, last])
                assert isfinite(following)
                assert 0 <= following <= CEILING
                assert (1 + eta) / 2 - 1e-4 <= 1 + following <= 2 * (1 + eta) + 1e-4
                assert following == round(following, 4)


def test_where_nothing_reached_the_gate_repulsion_is_lowered():
    """Gates stand in order: all texts fell at those before."""
    target = Target.parse(TWO_PERCENT)
    assert next_eta(target, [Seen(5.0, 0, 0)]) == 2.0
    assert next_eta(target, [Seen(1.0, 64, 20), Seen(3.0, 0, 0)]) == 1.0
    assert next_eta(target, [Seen(0.0, 0, 0)]) == 0.0


@pytest.mark.parametrize("start", [0.0, 0.4, 5.0])
def test_more_hits_never_lower_eta(start):
    target = Target("duplicates", 0.02, start)
    first = [next_eta(target, [Seen(start, 64, hits)]) for hits in range(65)]
    assert first == sorted(first)
    assert first[0] < max(start, 0.05) < first[32]
    # Later a surprise of many hits also says that the curve is steep, so up to four times the target.
    for name in HEAVY:
        history, _ = simulate(target, HEAVY[name], seed=0, rounds=8)
        for n in range(1, 8):
            after = [next_eta(target, [*history[:n], Seen(history[n].eta, 64, hits)]) for hits in range(6)]
            assert after == sorted(after)
            assert after[0] < after[-1] or after[0] == CEILING


def test_a_larger_round_says_more():
    """Of the same share: what is three times the target raises η, and ten times the texts raise it further."""
    target = Target.parse(TWO_PERCENT)
    few, many = (next_eta(target, [Seen(2.0, n, n // 16)]) for n in (64, 640))
    assert 2.0 < few < many < 5.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (TWO_PERCENT, Target("duplicates", 0.02)),
        ("auto(refused=0.05, start=1.5)", Target("refused", 0.05, 1.5)),
        ("auto(refused=0.5, start=0)", Target("refused", 0.5, 0.0)),
        ("auto(duplicates=1e-05)", Target("duplicates", 1e-05)),
    ],
)
def test_a_target_reads_as_it_is_written(text, expected):
    assert Target.parse(text) == expected
    assert str(expected) == text


def test_spaces_and_order_are_free():
    assert Target.parse(" auto( start = 2 ,duplicates=.02 ) ") == Target("duplicates", 0.02, 2.0)
    assert str(Target.parse("auto(duplicates=0.020, start=0.4)")) == TWO_PERCENT


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("auto", "expected a number, or auto(duplicates=0.02)"),
        ("0.4", "expected a number, or auto(duplicates=0.02)"),
        ("auto(duplicate=0.02)", "unknown name 'duplicate'; did you mean 'duplicates'?"),
        ("auto(refusals=0.02)", "did you mean 'refused'?"),
        ("auto(x=0.02)", "unknown name 'x'; known: duplicates, refused, start"),
        ("auto()", "no share came"),
        ("auto(start=1)", "no share came"),
        ("auto(duplicates=0.02, refused=0.1)", "both duplicates and refused came"),
        ("auto(duplicates=0.02, duplicates=0.03)", "duplicates came twice"),
        ("auto(duplicates=2%)", "duplicates=2% came: expected a number"),
        ("auto(duplicates)", "duplicates= came: expected a number"),
        ("auto(duplicates=nan)", "expected a number"),
        ("auto(duplicates=2)", "expected a share between 0 and 1, as in 0.02 (for 2% write 0.02)"),
        ("auto(duplicates=0)", "expected a share between 0 and 1"),
        ("auto(duplicates=-0.1)", "expected a share between 0 and 1"),
        ("auto(duplicates=0.02, start=9)", "expected the first round's η, from 0 to 8"),
        ("auto(duplicates=0.02, start=-1)", "expected the first round's η, from 0 to 8"),
    ],
)
def test_what_does_not_read_is_explained(text, part):
    with pytest.raises(ValueError) as error:
        Target.parse(text)
    assert part in str(error.value)


def test_a_target_that_was_not_parsed_is_checked_too():
    with pytest.raises(ValueError, match="'copies' came: expected 'duplicates' or 'refused'"):
        Target("copies", 0.02)
    with pytest.raises(ValueError, match="duplicates=nan came"):
        Target("duplicates", float("nan"))


def test_the_course_of_a_run():
    target = Target.parse(TWO_PERCENT)
    rows = course(target, [Seen(0.4, 10, 5), Seen(0.8, 0, 0), Seen(1.2, 20, 1)])
    assert rows == [
        {"round": 0, "eta": 0.4, "share": 0.5, "smoothed": 0.5, "target": 0.02},
        {"round": 1, "eta": 0.8, "share": None, "smoothed": 0.5, "target": 0.02},
        # (0.64 · 5 + 1) / (0.64 · 10 + 20)
        {"round": 2, "eta": 1.2, "share": 0.05, "smoothed": 0.1591, "target": 0.02},
    ]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert course(target, []) == []
    assert course(target, [Seen(0.4, 0, 0)])[0]["smoothed"] is None


def test_a_target_that_is_reached_needs_no_word():
    assert verdict(Target.parse(TWO_PERCENT), []) is None
    runs = [
        simulate(Target("duplicates", 0.02, start), HEAVY[name], seed, rounds=14)[0]
        for name in HEAVY
        for start in (0.0, 5.0)
        for seed in range(2)
    ]
    said = [verdict(Target.parse(TWO_PERCENT), run) for run in runs]
    assert said.count(None) >= 0.9 * len(said)


@pytest.mark.parametrize(
    ("text", "response", "part"),
    [
        (TWO_PERCENT, lambda eta: 0.2, "η at its bound of 8"),
        (TWO_PERCENT, lambda eta: 0.06 + 0.5 * exp(-eta), "η at its bound of 8"),
        ("auto(duplicates=0.1, start=2)", lambda eta: 0.01, "already without repulsion (η = 0)"),
        ("auto(refused=0.05)", lost_beyond(falling(0.5, 3), 2), "no η is expected to reach it"),
    ],
)
def test_a_target_out_of_reach_is_said_to_be(text, response, part):
    target = Target.parse(text)
    history, _ = simulate(target, response, seed=0)
    assert part in verdict(target, history)


def test_a_run_that_was_too_short_is_told_so():
    target = Target.parse(TWO_PERCENT)
    assert verdict(target, [Seen(0.4, 64, 30)]) == (
        "auto(duplicates=0.02) was not reached: 46.9% of the 64 texts of the last round were near duplicates, "
        "with η still on its way (from 0.40 to 0.40): draw more rounds"
    )
    assert verdict(target, [Seen(0.4, 64, 2)]) is None, "which is as likely at 3% as not"
    assert "no text of the last 2 rounds came to the gate" in verdict(target, [Seen(0.4, 0, 0), Seen(0.0, 0, 0)])


@pytest.mark.parametrize(
    ("hits", "missed"), [(0, True), (4, True), (5, False), (20, False), (39, False), (40, True), (1000, True)]
)
def test_the_binomial_test_of_the_verdict(hits, missed):
    """By scipy.stats.binom, of 1,000 texts: P(X <= 4 | 1%) = .029, P(X <= 5) = .066 and, at 3%, P(X >= 39) = .062,
    P(X >= 40) = .044; one and three hundredths being the edges of what is near enough to two."""
    assert (verdict(Target.parse(TWO_PERCENT), [Seen(1.0, 1000, hits)]) is not None) == missed
