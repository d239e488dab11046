"""What a group is pushed away from: whole texts, real and synthetic, drawn without repeats."""

import random
from collections import Counter

import pytest
import toy

from steer.config import Negatives
from steer.engine.contexts import prompt_ids
from steer.negatives import Pool, fitting
from steer.records import Record


def records(prefix: str, count: int, **fields: str) -> tuple[Record, ...]:
    return tuple(Record(f"{prefix}{i}", fields, f"text {prefix} {i}") for i in range(count))


def drawn(real: int, synthetic: int, seed: int = 0, **settings: object) -> list[Record]:
    pool = Pool(records("r", real), records("s", synthetic))
    return pool.draw(Negatives.model_validate(settings), {}, random.Random(seed))


def sides(negatives: list[Record]) -> tuple[int, int]:
    counted = Counter(record.id[0] for record in negatives)
    return counted["r"], counted["s"]


@pytest.mark.parametrize(
    ("real", "synthetic", "count", "share", "expected"),
    [
        (20, 20, 10, 0.5, (5, 5)),
        (20, 20, 10, 0.0, (0, 10)),
        (20, 20, 10, 1.0, (10, 0)),
        (20, 20, 10, 0.3, (3, 7)),
        (20, 20, 1, 0.8, (1, 0)),
        (20, 20, 0, 0.5, (0, 0)),
        # One side lacks: the other fills up.
        (20, 0, 10, 0.5, (10, 0)),
        (20, 2, 10, 0.5, (8, 2)),
        (20, 2, 10, 0.0, (8, 2)),
        (3, 20, 10, 0.5, (3, 7)),
        (3, 20, 10, 1.0, (3, 7)),
        # Both lack: what there is.
        (3, 2, 10, 0.5, (3, 2)),
        (0, 0, 10, 0.5, (0, 0)),
    ],
)
def test_the_share_of_real_texts(real, synthetic, count, share, expected):
    assert sides(drawn(real, synthetic, count=count, real_share=share)) == expected


def test_no_text_is_drawn_twice_and_the_sides_are_mixed():
    draws = [drawn(12, 12, seed, count=20) for seed in range(50)]
    assert all(len({record.id for record in draw}) == 20 for draw in draws)
    # Every text has its turn, and either side comes first in some draw.
    assert len({record.id for draw in draws for record in draw}) == 24
    assert {draw[0].id[0] for draw in draws} == {"r", "s"}


def test_the_draw_follows_from_the_seed():
    assert drawn(50, 50, 7) == drawn(50, 50, 7)
    assert drawn(50, 50, 7) != drawn(50, 50, 8)


def test_only_texts_of_the_same_labels_are_drawn():
    real = records("a", 5, label="x", tone="low") + records("b", 5, label="y", tone="low")
    pool = Pool(real, records("c", 5, label="x", tone="high"))

    def ids(**labels: str) -> set[str]:
        return {record.id[0] for record in pool.draw(Negatives(count=100), labels, random.Random(0))}

    assert ids(label="x") == {"a", "c"}
    assert ids(label="x", tone="low") == {"a"}
    assert ids(label="z") == ids(other="x") == set()
    assert ids() == {"a", "b", "c"}


def test_texts_given_by_hand_are_shown_as_they_stand():
    by_hand = drawn(20, 20, texts=["one", "two", "three"], count=2)
    assert [(record.id, record.text) for record in by_hand] == [("hand0", "one"), ("hand1", "two"), ("hand2", "three")]
    assert [record.text for record in drawn(20, 20, texts=["one"], count=10)] == ["one"]


def test_what_does_not_fit_is_dropped_whole_from_the_end():
    tokenizer, prompt = toy.tokenizer(), "Write a text."
    negatives = [Record(str(i), {}, " ".join(toy.WORDS[i : i + 4 + i])) for i in range(5)]
    whole = len(prompt_ids(tokenizer, prompt, [record.text for record in negatives]))
    bare = len(prompt_ids(tokenizer, prompt))
    kept_at = {}
    for room in range(whole + 2):
        kept = fitting(tokenizer, prompt, negatives, room)
        assert kept == negatives[: len(kept)]
        used = len(prompt_ids(tokenizer, prompt, [record.text for record in kept]))
        assert used <= max(room, bare)
        if len(kept) < len(negatives):  # and one more would not have fitted
            shown = [record.text for record in negatives[: len(kept) + 1]]
            assert len(prompt_ids(tokenizer, prompt, shown)) > room
        kept_at[room] = len(kept)
    assert set(kept_at.values()) == {0, 1, 2, 3, 4, 5}
    assert (kept_at[whole - 1], kept_at[whole]) == (4, 5)
    assert fitting(tokenizer, prompt, negatives, None) == negatives
    assert fitting(tokenizer, prompt, [], 0) == []


@pytest.mark.parametrize("form", ["texts", "pairs", "list"])
def test_what_fits_is_counted_in_the_form_it_is_shown_in(form):
    tokenizer, prompt = toy.tokenizer(), "Write a text."
    negatives = [Record(str(i), {}, " ".join(toy.WORDS[i : i + 5])) for i in range(6)]
    lengths = [len(prompt_ids(tokenizer, prompt, [n.text for n in negatives[:k]], form)) for k in range(7)]
    assert sorted(set(lengths)) == lengths
    for kept, length in enumerate(lengths):
        assert fitting(tokenizer, prompt, negatives, length, form) == negatives[:kept]
        assert fitting(tokenizer, prompt, negatives, length - 1, form) == negatives[: max(0, kept - 1)]
    # A prompt before each of them, or a number, takes room of its own.
    each = {"texts": 5, "pairs": 8, "list": 6}[form]
    assert lengths == [3 + each * k for k in range(7)]
