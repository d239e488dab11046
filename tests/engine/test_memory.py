"""How many texts are in flight, and in which precision."""

import pytest
import torch
from tiny import TEXTS, make_model, make_pair, make_tokenizer

from steer import guidance as g
from steer.engine import memory, models, streams
from steer.engine.contexts import contexts
from steer.engine.memory import plan
from steer.engine.network import REMEMBERED, Network
from steer.engine.streams import Flight


@pytest.mark.parametrize("shared", [0, 2**40])
def test_the_slots_take_what_was_stated(shared, monkeypatch):
    monkeypatch.setattr(streams, "SHARED", shared)
    pair = make_pair()
    shown = [contexts(pair.tokenizer, "Stars?", [text]) for text in TEXTS]
    flight = Flight(pair, g.steer(), shown, 8, 30)
    flight.start(range(len(shown)), shown)
    slots = flight._streams[0].slots
    taken = sum(tensor.nbytes for store in (slots.keys, slots.values) for tensor in store)
    logits = 3 * 4 * 8 * pair.base.vocabulary
    assert flight.nbytes - taken - logits == REMEMBERED * pair.base.bytes_per_token


def test_merged_weights_are_counted_and_left_out_where_they_do_not_fit(monkeypatch):
    pair = make_pair()
    shown = [contexts(pair.tokenizer, "Stars?")]
    adapted, plain, bare = (Flight(pair, 1.0 * stream, shown, 1, 8) for stream in (g.domain, g.domain.at(0.5), g.base))
    assert adapted.nbytes - bare.nbytes == plain.nbytes - bare.nbytes == pair.base.dial.nbytes
    monkeypatch.setattr(Network, "free_memory", lambda network: pair.base.dial.nbytes)
    assert adapted.nbytes == bare.nbytes
    with adapted.engaged(merge=True):
        assert pair.base.dial.merged_at is None


def test_what_a_lane_needs():
    pair = make_pair()
    shown = [contexts(pair.tokenizer, "Stars?", TEXTS[:1])] * 40
    few, many = (plan(pair, g.steer(), shown, 30, lanes) for lanes in (4, 8))
    # Keys and values of 2 layers, 2 heads of 8 numbers, in float32; copied contexts and 30 tokens in each of 3 rows.
    assert pair.base.bytes_per_token == 2 * 2 * 2 * 8 * 4
    longest = len(shown[0].negatives)
    assert longest < 64
    assert many.needed - few.needed == 4 * (3 * (longest + 30) * 256 + 3 * 4 * 320)
    assert many.free == pytest.approx(pair.base.free_memory(), rel=0.2)
    assert str(many).startswith("8 texts in flight need 0.00 GiB beside the model, ")


def test_lanes_are_as_many_as_fit_unless_they_are_given(monkeypatch):
    pair = make_pair()
    shown = [contexts(pair.tokenizer, "Stars?", TEXTS[:1])] * 40
    assert plan(pair, g.steer(), shown, 30).lanes == memory.LANES
    assert plan(pair, g.steer(), shown[:5], 30).lanes == 5
    room = plan(pair, g.steer(), shown, 30, 8).needed
    monkeypatch.setattr(Network, "free_memory", lambda network: room / 0.8 + 1)
    assert plan(pair, g.steer(), shown, 30).lanes == 8
    assert plan(pair, g.steer(), shown, 30, 20).lanes == 20
    monkeypatch.setattr(Network, "free_memory", lambda network: 0)
    assert plan(pair, g.steer(), shown, 30).lanes == 1


@pytest.mark.parametrize(
    ("large", "quicker", "expected"), [(0, True, "bfloat16"), (0, False, "float32"), (10**9, True, "float32")]
)
def test_half_precision_where_it_pays(tmp_path, monkeypatch, large, quicker, expected):
    make_model("llama", 320).save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    monkeypatch.setattr(models, "LARGE", large)
    monkeypatch.setattr(models, "_bfloat16_is_quicker", lambda: quicker)
    assert models.load(str(tmp_path)).base.dtype == getattr(torch, expected)
    assert models.load(str(tmp_path), dtype="float32").base.dtype == torch.float32
