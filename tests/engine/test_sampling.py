"""Filters against those of `transformers`, the noise against the distribution it claims, draws against both."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from steer.config import Sampling
from steer.engine.sampling import candidates, draw, exponential, filtered, largest, min_p, plausible, top_k, top_p
from steer.engine.tally import Tally

INF = math.inf
# Multiples of a quarter meet each other often (ties); -inf is what a mask leaves of a token.
NUMBERS = st.one_of(st.integers(-16, 16).map(lambda n: n / 4), st.floats(-30, 30, width=32), st.just(-INF))
SHARES = st.floats(1e-9, 1.0)


@st.composite
def rows_of_logits(draw):
    """(B, V) float32 logits, at least one of each row finite."""
    size = draw(st.integers(1, 12))
    rows = draw(st.lists(st.lists(NUMBERS, min_size=size, max_size=size), min_size=1, max_size=3))
    return torch.tensor([[0.0 if max(row) == -INF else row[0], *row[1:]] for row in rows])


def warped(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """What `transformers` makes of the logits: temperature, top-k, top-p, min-p."""
    warpers = [TemperatureLogitsWarper(float(sampling.temperature))]
    warpers += [TopKLogitsWarper(sampling.top_k)] if sampling.top_k else []
    warpers += [TopPLogitsWarper(sampling.top_p)] if sampling.top_p < 1 else []
    warpers += [MinPLogitsWarper(sampling.min_p)] if sampling.min_p else []
    for warper in warpers:
        logits = warper(None, logits)
    return logits


def logits_of(*probabilities: float) -> torch.Tensor:
    """(1, V) logits of these probabilities, off by a constant as a model's are."""
    return torch.tensor([probabilities]).log() + 3.0


def kept(logits: torch.Tensor) -> list[int]:
    (row,) = logits
    return [i for i, value in enumerate(row.tolist()) if value > -INF]


# Filters


@given(logits=rows_of_logits(), k=st.integers(1, 15), p=SHARES, share=SHARES)
@settings(deadline=None, max_examples=150)
def test_each_filter_equals_that_of_transformers(logits, k, p, share):
    assert torch.equal(top_k(logits, k), TopKLogitsWarper(k)(None, logits))
    assert torch.equal(top_p(logits, p), TopPLogitsWarper(p)(None, logits))
    assert torch.equal(min_p(logits, share), MinPLogitsWarper(share)(None, logits))


@given(
    logits=rows_of_logits(), temperature=st.floats(0.05, 5), k=st.integers(0, 15), p=SHARES, share=st.floats(0.0, 1.0)
)
@settings(deadline=None, max_examples=150)
def test_the_chain_equals_that_of_transformers(logits, temperature, k, p, share):
    sampling = Sampling(temperature=temperature, top_k=k, top_p=p, min_p=share)
    found = filtered(logits, sampling)
    assert torch.equal(found.softmax(-1), warped(logits, sampling).softmax(-1))
    assert (found > -INF).any(-1).all()


CASES = [  # settings, probabilities, the tokens that stay
    ({"top_k": 2}, (0.1, 0.5, 0.4), [1, 2]),
    ({"top_k": 2}, (0.2, 0.4, 0.2, 0.2), [0, 1, 2, 3]),
    ({"top_k": 9}, (0.1, 0.5, 0.4), [0, 1, 2]),
    ({"top_p": 0.7}, (0.1, 0.5, 0.15, 0.25), [1, 3]),
    ({"top_p": 0.8}, (0.1, 0.5, 0.15, 0.25), [1, 2, 3]),
    ({"top_p": 1e-9}, (0.1, 0.5, 0.4), [1]),
    ({"min_p": 0.25}, (0.1, 0.5, 0.15, 0.25), [1, 2, 3]),
    ({"min_p": 1.0}, (0.1, 0.5, 0.15, 0.25), [1]),
    # Temperature comes first: at 2 these are .18, .40, .22, .28 and at .5 they are .03, .71, .06, .18.
    ({"temperature": 2, "top_p": 0.8}, (0.1, 0.5, 0.15, 0.25), [1, 2, 3]),
    ({"temperature": 2, "min_p": 0.5}, (0.1, 0.5, 0.15, 0.25), [1, 2, 3]),
    ({"temperature": 0.5, "min_p": 0.2}, (0.1, 0.5, 0.15, 0.25), [1, 3]),
    # Top-k before top-p: of .5, .25 alone, .5 holds two thirds.
    ({"top_k": 2, "top_p": 0.6}, (0.1, 0.5, 0.15, 0.25), [1]),
    ({"top_p": 0.6}, (0.1, 0.5, 0.15, 0.25), [1, 3]),
    ({"top_p": 0.7}, (0.1, 0.5, 0.0, 0.4), [1, 3]),
]


@pytest.mark.parametrize(("options", "probabilities", "expected"), CASES, ids=str)
def test_filters_on_written_logits(options, probabilities, expected):
    sampling = Sampling(**{"top_p": 1.0, **options})
    logits = logits_of(*probabilities)
    found = filtered(logits, sampling)
    assert kept(found) == expected
    assert torch.allclose(found[:, expected], logits[:, expected] / sampling.temperature)


def test_top_p_keeps_no_more_than_it_needs():
    """Two of four equal tokens hold exactly half."""
    assert len(kept(top_p(torch.zeros(1, 4), 0.5))) == 2
    assert len(kept(top_p(torch.zeros(1, 4), 0.51))) == 3


def test_switched_off_filters_change_nothing():
    logits = logits_of(0.1, 0.5, 0.4)
    assert torch.equal(filtered(logits, Sampling(temperature=1, top_k=0, top_p=1, min_p=0)), logits)


# Mask


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [
        (1.0, [1]),
        (0.7, [1]),
        (0.4, [1, 3]),
        (0.2, [1, 2, 3]),
        (0.1, [1, 2, 3]),
        (0.05, [0, 1, 2, 3]),
        (1e-30, [0, 1, 2, 3]),
    ],
)
def test_plausible_alpha_compares_with_the_likeliest(alpha, expected):
    reference = logits_of(0.04, 0.5, 0.16, 0.3, 0.0)
    passed = plausible(reference, alpha, None)
    assert passed.dtype == torch.bool
    assert passed[0].nonzero()[:, 0].tolist() == expected
    assert torch.equal(plausible(reference - 40, alpha, None), passed)


def test_plausible_looks_at_each_row_alone():
    both = torch.cat([logits_of(0.6, 0.3, 0.1), logits_of(0.1, 0.1, 0.8) + 20])
    assert plausible(both, 0.4, None).tolist() == [[True, True, False], [False, False, True]]
    assert plausible(both, None, 0.7).tolist() == [[True, True, False], [False, False, True]]


@given(logits=rows_of_logits(), p=SHARES)
@settings(deadline=None, max_examples=50)
def test_plausible_top_p_is_the_nucleus(logits, p):
    assert torch.equal(plausible(logits, None, p), TopPLogitsWarper(p)(None, logits) > -INF)


# Noise


def noise(seeds, steps, size: int) -> torch.Tensor:
    """(B, size) variates of B seeds and steps, either of them one number for all."""
    seeds, steps = torch.broadcast_tensors(torch.as_tensor(seeds), torch.as_tensor(steps))
    return exponential(seeds.reshape(-1), steps.reshape(-1), torch.arange(size))


def test_noise_is_the_same_in_any_batch():
    seeds, steps = torch.tensor([3, 7, 7, -1, 2**63 - 1]), torch.tensor([0, 0, 5, 1000, 3])
    together = exponential(seeds, steps, torch.arange(40))
    order = torch.tensor([4, 2, 0, 3, 1])
    assert torch.equal(exponential(seeds[order], steps[order], torch.arange(40)), together[order])
    for row in range(len(seeds)):
        assert torch.equal(exponential(seeds[row : row + 1], steps[row : row + 1], torch.arange(40))[0], together[row])
    assert torch.equal(exponential(seeds, steps, torch.arange(11)), together[:, :11])
    assert len(together.flatten().unique()) == together.numel()


def test_noise_stays_what_it_is():
    """Another noise would be as good, and would change the text of every seed that anyone has noted down."""
    found = noise([0, 1, 2**40 + 5], [0, 9, 300], 3)
    expected = [
        [2.148241282, 0.564803243, 0.026789425],
        [0.575817585, 0.147666797, 0.695489526],
        [1.278892875, 0.558895350, 0.047425848],
    ]
    assert torch.allclose(found, torch.tensor(expected), rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("seeds", "steps", "size"),
    [
        (torch.arange(400), 0, 250),
        (12345, torch.arange(400), 250),
        (7, 3, 100_000),
        (torch.arange(100_000), 1, 1),
        (7, torch.arange(100_000), 1),
        (torch.arange(400) << 40, torch.arange(400), 250),
    ],
    ids=["seeds", "steps", "columns", "seeds at one column", "steps at one column", "high seeds"],
)
def test_noise_is_standard_exponential(seeds, steps, size):
    found = noise(seeds, steps, size).flatten().double()
    assert len(found) == 100_000
    assert found.min() > 0
    # The mean has a standard error of .0032, the variance one of .0089.
    assert abs(found.mean() - 1) < 0.013
    assert abs(found.var() - 1) < 0.036
    assert stats.kstest(found.numpy(), "expon").pvalue > 1e-3


def test_neighbours_are_uncorrelated():
    """Neither plainly nor in size alone; 100,000 pairs of independent numbers correlate by .003, and .013 fails."""
    seeds, steps = torch.meshgrid(torch.arange(51), torch.arange(51), indexing="ij")
    cube = exponential(seeds.flatten(), steps.flatten(), torch.arange(41)).reshape(51, 51, 41)
    uniform = torch.exp(-cube.double()) - 0.5
    for a, b in [
        (uniform[1:], uniform[:-1]),
        (uniform[:, 1:], uniform[:, :-1]),
        (uniform[:, :, 1:], uniform[:, :, :-1]),
        (uniform[1:, :-1], uniform[:-1, 1:]),
        (uniform[:-1, :, 1:], uniform[1:, :, :-1]),
        (uniform, uniform.transpose(0, 1)),
    ]:
        a, b = a.flatten(), b.flatten()
        a, b = a[a != b], b[a != b]  # seed and step transposed meet themselves on the diagonal
        for x, y in [(a, b), (a.abs(), b.abs())]:
            assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 4 / math.sqrt(100_000)


@pytest.mark.parametrize(("bits", "expected"), [(0, 2.0**-53), (2**63, math.log(2)), (2**64 - 1, 53 * math.log(2))])
def test_noise_is_finite_and_positive_at_its_extremes(bits, expected):
    """An infinite variate would make a token as impossible as one that is refused."""
    assert noise(seed_of(bits), 0, 1).item() == pytest.approx(expected)


def seed_of(bits: int) -> int:
    """The seed whose noise at step 0 and column 0 is made of these 64 bits: SplitMix64, walked backwards."""

    def unmixed(z: int) -> int:
        for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
            whole = z
            for _ in range(64 // shift):
                whole = z ^ (whole >> shift)
            z = whole * pow(factor, -1, 2**64) % 2**64
        return z

    key = (unmixed(bits) - 0x9E3779B97F4A7C15) % 2**64
    seed = unmixed(unmixed(key))
    return seed - 2**64 if seed >= 2**63 else seed


# Draws


LOGITS = torch.tensor([2.0, 1.9, 1.0, 0.5, 0.5, 0.0, -0.5, -1.0, -3.0, -INF])


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=1, top_p=1),
        Sampling(temperature=2, top_p=1),
        Sampling(temperature=2, top_p=0.9),
        Sampling(temperature=2, top_k=7, top_p=0.95, min_p=0.2),
        Sampling(temperature=0.2, top_p=1),
        Sampling(temperature=0.2, top_p=0.99, top_k=5),
        Sampling(temperature=0.2, min_p=0.001),
    ],
    ids=lambda s: f"T {s.temperature}, k {s.top_k}, p {s.top_p}, min p {s.min_p}",
)
@pytest.mark.parametrize("along", ["seeds", "steps"])
def test_draws_fit_the_filtered_softmax(sampling, along):
    """Chi-square of 20,000 draws; cells expected less than 5 times are one."""
    number = torch.arange(20_000)
    seeds, steps = (number, torch.full_like(number, 4)) if along == "seeds" else (torch.full_like(number, 4), number)
    tokens = draw(LOGITS.expand(20_000, -1), seeds, steps, sampling).tokens
    expected = 20_000 * warped(LOGITS[None].double(), sampling)[0].softmax(-1)
    counts = tokens.bincount(minlength=len(LOGITS)).double()
    assert not counts[expected == 0].any()
    rare = expected < 5
    cells = torch.stack([torch.cat([x[~rare], x[rare].sum()[None]]) for x in (counts, expected)])
    observed, fitted = cells[:, cells[1] > 0].numpy()
    assert stats.chisquare(observed, fitted).pvalue > 1e-3


def test_each_row_draws_from_its_own_logits_with_its_own_noise():
    rows = torch.stack([LOGITS, LOGITS.flip(0), LOGITS * 3, LOGITS.roll(4)])
    seeds, steps = torch.tensor([1, 1, 9, 2]), torch.tensor([5, 6, 0, 0])
    together = draw(rows, seeds, steps, Sampling(top_p=0.95)).tokens
    one_by_one = (draw(rows[i : i + 1], seeds[i : i + 1], steps[i : i + 1], Sampling(top_p=0.95)) for i in range(4))
    alone = [drawn.tokens.item() for drawn in one_by_one]
    assert together.tolist() == alone
    # A weighted race: the variate over the probability, smallest first.
    race = exponential(seeds, steps, torch.arange(10)) / filtered(rows, Sampling(top_p=0.95)).softmax(-1)
    assert together.tolist() == race.argmin(-1).tolist()


def test_temperature_zero_is_the_largest_logit():
    rows = torch.randn(50, 30, generator=torch.Generator().manual_seed(0))
    rows[0, 3:9] = 100.0  # a tie goes to the first
    rows[1, 5:] = -INF
    number = torch.arange(50)
    for sampling in (Sampling(temperature=0), Sampling(temperature=0, top_k=3, top_p=0.2, min_p=0.9)):
        assert torch.equal(draw(rows, number, number, sampling).tokens, rows.argmax(-1))
    assert draw(rows, number, number, Sampling(temperature=0)).tokens[0] == 3


def test_almost_greedy_is_greedy():
    rows = torch.randn(200, 30, generator=torch.Generator().manual_seed(0))
    number = torch.arange(200)
    assert torch.equal(draw(rows, number, number, Sampling(temperature=1e-5)).tokens, rows.argmax(-1))
    assert torch.equal(draw(rows, number, number, Sampling(temperature=3, top_k=1)).tokens, rows.argmax(-1))


def test_half_precision_logits_are_drawn_as_numbers_of_full_precision():
    rows, number = LOGITS.expand(100, -1).bfloat16(), torch.arange(100)
    half, full = (draw(kind, number, number, Sampling()).tokens for kind in (rows, rows.float()))
    assert torch.equal(half, full)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": math.nan},
        {"temperature": -0.1},
        {"temperature": INF},
        {"top_p": 0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"min_p": -0.1},
        {"min_p": 1.5},
        {"min_p": math.nan},
        {"top_k": -1},
        {"max_new_tokens": 0},
        {"temprature": 1.0},
    ],
    ids=str,
)
def test_settings_without_a_meaning_are_refused(options):
    with pytest.raises(ValidationError, match=next(iter(options))):
        Sampling(**options)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        Sampling().temperature = 2.0


# The likeliest tokens


LARGE = 3000  # tokens, more than are looked at first


@pytest.mark.parametrize("size", [LARGE, 16_384, 20_003])
def test_the_largest_are_found_in_blocks(size):
    torch.manual_seed(size)
    rows = torch.randn(5, size)
    rows[1, :-3] = -INF
    rows[2, 7:1100] += 100
    values, tokens = largest(rows, 1024)
    assert torch.equal(values, rows.topk(1024).values)
    assert torch.equal(rows.gather(1, tokens), values)
    assert all(len(set(row)) == 1024 for row in tokens.tolist())


@pytest.mark.parametrize("size", [LARGE, 20_003])
@pytest.mark.parametrize("spread", [0.1, 1.0, 4.0])
@pytest.mark.parametrize(
    "options",
    [
        {"top_p": 0.9},
        {"top_p": 0.5, "temperature": 1.7},
        {"top_p": 1.0, "top_k": 50},
        {"top_p": 0.9, "top_k": 1500},
        {"top_p": 0.8, "top_k": 40, "min_p": 0.05},
        {"top_p": 1.0, "min_p": 0.02},
        {"top_p": 0.999},
    ],
    ids=str,
)
def test_among_the_likeliest_the_same_token_is_drawn(options, spread, size):
    """Flat rows, where all of them would not do, and steep ones: every draw is that of the whole vocabulary."""
    sampling, tally = Sampling(**options), Tally()
    torch.manual_seed(0)
    rows = torch.randn(40, size) * spread
    rows[3, 100:] = -INF
    seeds, steps = torch.arange(40), torch.arange(40) % 7
    everything = filtered(rows, sampling) - exponential(seeds, steps, torch.arange(size)).log()
    assert torch.equal(draw(rows, seeds, steps, sampling, tally).tokens, everything.argmax(-1))
    scores, tokens, enough = candidates(rows, sampling)
    assert tally.full_sorts == int((~enough).sum())
    expected = filtered(rows, sampling) > -INF
    for row in enough.nonzero()[:, 0].tolist():
        found = set(tokens[row][scores[row] > -INF].tolist())
        # Summed from the other end, the last token may fall on the other side of .999 by rounding.
        assert len(found ^ set(expected[row].nonzero()[:, 0].tolist())) <= (sampling.top_p == 0.999)


def test_the_whole_row_is_sorted_only_where_it_must_be():
    tally, number = Tally(), torch.zeros(2, dtype=torch.long)
    rows = torch.stack([torch.zeros(LARGE), torch.linspace(0, 30, LARGE)])
    draw(rows, number, number, Sampling(top_p=0.9), tally)
    assert tally.full_sorts == 1


# Entropy


FILTERS = [
    {"top_p": 1.0},
    {"top_p": 0.9},
    {"temperature": 0.5, "top_p": 0.7},
    {"temperature": 1.8, "top_k": 40, "top_p": 1.0},
    {"top_k": 1500, "top_p": 0.95},
    {"top_p": 1.0, "min_p": 0.05},
]


@pytest.mark.parametrize("size", [12, LARGE])
@pytest.mark.parametrize("options", FILTERS, ids=str)
def test_the_entropy_is_that_of_what_is_drawn_from(options, size):
    """Also where only the likeliest tokens are looked at; of the flat row these are not enough."""
    sampling, tally = Sampling(**options), Tally()
    rows = torch.randn(20, size, generator=torch.Generator().manual_seed(0)) * 4
    rows[3, 7:] = -INF
    rows[4] = 0.0
    found = draw(rows, torch.arange(20), torch.arange(20), sampling, tally).entropy
    shares = filtered(rows, sampling).double().softmax(-1)
    assert torch.allclose(found.double(), torch.special.entr(shares).sum(-1), atol=1e-4)
    assert (tally.full_sorts > 0) == (size == LARGE and options != {"top_p": 1.0})


@pytest.mark.parametrize("size", [1, 7, LARGE])
def test_the_entropy_is_largest_where_all_are_alike_and_none_where_one_is_left(size):
    rows, number = torch.zeros(2, size), torch.arange(2)
    rows[1, 0] = 1.0
    assert draw(rows, number, number, Sampling(top_p=1)).entropy[0].item() == pytest.approx(math.log(size), abs=1e-5)
    for sure in (Sampling(top_k=1), Sampling(temperature=0), Sampling(top_p=1e-6), Sampling(min_p=1)):
        assert draw(rows[1:], number[1:], number[1:], sure).entropy.tolist() == [0.0]


# A drawn prefix


def test_only_the_first_tokens_are_drawn_before_a_greedy_text():
    rows, seeds = LOGITS.expand(60, -1), torch.arange(60)
    steps = torch.arange(60) % 6
    greedy = Sampling(temperature=0, prefix=3, top_p=0.8)
    found, drawn = (draw(rows, seeds, steps, kind) for kind in (greedy, greedy.opening))
    first = steps < 3
    assert torch.equal(found.tokens[first], drawn.tokens[first])
    assert torch.equal(found.entropy[first], drawn.entropy[first])
    assert found.tokens[~first].tolist() == [0] * 30
    assert not found.entropy[~first].any()
    assert len(set(found.tokens[first].tolist())) > 2
    assert greedy.opening == Sampling(top_p=0.8)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_beams": 4, "penalty_alpha": 0.6, "top_k": 4}, "num_beams and penalty_alpha are two ways to search"),
        ({"penalty_alpha": 0.6}, "top_k says among how many candidates, 2 or more"),
        ({"penalty_alpha": 0.6, "top_k": 1}, "top_k says among how many candidates, 2 or more"),
        ({"penalty_alpha": 1.1, "top_k": 4}, "penalty_alpha"),
        ({"num_beams": 0}, "num_beams"),
        ({"prefix": 1}, "prefix is for a decoder that draws nothing"),
        ({"prefix": -1, "temperature": 0}, "prefix"),
    ],
    ids=str,
)
def test_ways_to_search_that_do_not_go_together_are_refused(options, said):
    with pytest.raises(ValidationError, match=said):
        Sampling(**options)


@pytest.mark.parametrize(
    ("options", "searches", "deterministic"),
    [
        ({}, False, False),
        ({"temperature": 0, "prefix": 2}, False, True),
        ({"num_beams": 4, "prefix": 2}, True, True),
        ({"penalty_alpha": 0.6, "top_k": 4, "prefix": 2}, True, True),
        ({"num_beams": 1, "top_k": 4}, False, False),
    ],
    ids=str,
)
def test_what_draws_nothing_is_known(options, searches, deterministic):
    sampling = Sampling(**options)
    assert (sampling.searches, sampling.deterministic) == (searches, deterministic)
    assert not sampling.opening.deterministic
