"""From base to domain: what is learnt, from which tokens, and what is left as it was."""

import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy
from safetensors.torch import load_file

from steer import guidance as g
from steer.config import Finetuning
from steer.domain import COMPANIONS, _collate, _examples, finetune
from steer.engine.contexts import prompt_ids, text_ids
from steer.engine.logprobs import guided_logprobs
from steer.engine.models import load
from steer.records import Record
from steer.task import Task

PLAIN = Task(data="x")
LABELLED = Task(data="x", instruction="Write a {label} text.")
QUICK = Finetuning(epochs=1, rank=2)
RECORDS = toy.records()


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    return toy.write_model(tmp_path_factory.mktemp("models") / "base")


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory):
    """An adapter that has learnt something, and what `finetune` said of it."""
    folder = tmp_path_factory.mktemp("tuned") / "adapter"
    settings = Finetuning(epochs=8, patience=8, rank=4, learning_rate=3e-2, batch_size=4)
    return folder, finetune(PLAIN, RECORDS[:24], RECORDS[24:32], folder, model=str(base), settings=settings)


def tokenizer(**options: object):
    made = toy.tokenizer()
    for name, value in options.items():
        setattr(made, name, value)
    return made


def examples(task: Task, records, *, limit: int | None = 1000, companions: float = 0.0, seed: int = 0, **options):
    pair = SimpleNamespace(tokenizer=tokenizer(**options), context_limit=limit)
    return _examples(task, records, pair, Finetuning(companions=companions), "texts", seed)


def digest(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


# -- what is learnt ----------------------------------------------------------------------------------------------


def test_fine_tuning_lowers_the_loss(base, tuned):
    folder, facts = tuned
    pair = load(str(base), folder)
    for records in (RECORDS[:24], RECORDS[24:32]):
        scored = [guided_logprobs(pair, g.domain - 0.5 * g.base, prompt=PLAIN.prompt(), text=r.text) for r in records]
        losses = {name: -torch.cat([one.streams[name] for one in scored]).mean() for name in ("base", "domain")}
        assert losses["domain"] < losses["base"] - 0.05
    assert facts["steps"] == 48
    assert facts["epochs"] == 8
    assert facts["too_long"] == 0
    assert len(facts["validation_loss"]) == len(facts["training_loss"]) == len(facts["evaluated_at"]) >= 8
    assert facts["evaluated_at"][-1] == 48
    assert facts["training_loss"][-1] < facts["training_loss"][0]
    assert json.loads((folder / "finetuning.json").read_text()) == facts


def test_the_validation_loss_is_that_of_text_and_end_alone(base, tuned):
    """The best of the losses told is what the saved adapter has, token by token, on the validation texts."""
    folder, facts = tuned
    pair = load(str(base), folder)
    total, tokens = 0.0, 0
    for record in RECORDS[24:32]:
        ids = [*prompt_ids(pair.tokenizer, PLAIN.prompt()), *text_ids(pair.tokenizer, record.text), 0]
        inputs = torch.tensor([ids])
        with torch.no_grad():
            states = pair.base._decoder(input_ids=inputs, use_cache=False).last_hidden_state
            logprobs = pair.base.head(states)[0].log_softmax(-1)
        first = len(prompt_ids(pair.tokenizer, PLAIN.prompt()))
        for position in range(first, len(ids)):
            total -= float(logprobs[position - 1, ids[position]])
            tokens += 1
    # The trainer averages over batches of equal weight; texts differ in length, so this is near and not equal.
    assert total / tokens == pytest.approx(min(facts["validation_loss"]), abs=0.05)


def test_the_seed_decides_the_weights(base, tmp_path):
    found = {}
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
        finetune(PLAIN, RECORDS[:12], RECORDS[12:16], tmp_path / name, model=str(base), settings=QUICK, seed=seed)
        found[name] = load_file(tmp_path / name / "adapter_model.safetensors")
    assert all(torch.equal(tensor, found["same"][name]) for name, tensor in found["one"].items())
    assert not all(torch.equal(tensor, found["other"][name]) for name, tensor in found["one"].items())


def test_the_base_model_is_left_as_it_was(base, tuned):
    folder, _ = tuned
    fresh = toy.write_model(base.parent / "fresh")
    assert digest(base) == digest(fresh)
    alone, adapted = load(str(base)), load(str(base), folder)
    for record in RECORDS[:3]:
        plain = guided_logprobs(alone, g.base, prompt="Write a text.", text=record.text).combined
        switched_off = guided_logprobs(adapted, g.base, prompt="Write a text.", text=record.text).combined
        assert torch.allclose(plain, switched_off, atol=1e-6)


def test_the_number_of_steps_is_limited(base, tmp_path):
    settings = Finetuning(epochs=50, max_steps=3, batch_size=4, rank=2)
    facts = finetune(PLAIN, RECORDS[:12], RECORDS[12:16], tmp_path / "a", model=str(base), settings=settings)
    assert facts["steps"] == 3


# -- which tokens are learnt -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [PLAIN, LABELLED], ids=["plain", "labelled"])
def test_the_loss_is_on_the_text_and_its_end_alone(task):
    tokens = tokenizer()
    for row, record in zip(examples(task, RECORDS), RECORDS, strict=True):
        prompt = list(prompt_ids(tokens, task.prompt(record.fields)))
        text = [*text_ids(tokens, record.text), tokens.eos_token_id]
        assert row == {"input_ids": prompt + text, "labels": [-100] * len(prompt) + text}
        assert row["input_ids"].count(tokens.eos_token_id) == 1


def test_a_batch_is_filled_up_with_what_has_no_loss_and_is_not_seen():
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    batch = {name: tensor.tolist() for name, tensor in _collate(rows).items()}
    assert batch["labels"] == [[-100, 6, 7], [8, -100, -100]]
    assert batch["attention_mask"] == [[1, 1, 1], [1, 0, 0]]
    assert batch["input_ids"][0] == [5, 6, 7]
    assert batch["input_ids"][1][:1] == [8]


def test_companions_stand_before_the_prompt():
    tokens = tokenizer()
    rows = examples(PLAIN, RECORDS, companions=1.0)
    prompt = prompt_ids(tokens, PLAIN.prompt())
    for row, record in zip(rows, RECORDS, strict=True):
        own = [*prompt, *text_ids(tokens, record.text), 0]
        assert row["input_ids"][-len(own) :] == own
        shown = tokens.decode(row["input_ids"][: -len(own)])
        others = [other for other in RECORDS if other.id != record.id]
        assert len(shown) > len(record.text)
        # What stands before is whole other examples: taken away, nothing is left.
        for other in sorted(others, key=lambda other: -len(other.text)):
            shown = shown.replace(other.text, "", 1)
        assert not shown.strip()
    assert examples(PLAIN, RECORDS, companions=1.0) == rows
    assert examples(PLAIN, RECORDS, companions=1.0, seed=1) != rows
    with_some = [
        len(r["input_ids"]) > len(o["input_ids"])
        for r, o in zip(examples(PLAIN, RECORDS, companions=0.5), examples(PLAIN, RECORDS), strict=True)
    ]
    assert 8 < sum(with_some) < 32


def test_companions_have_the_labels_of_the_example():
    tokens = tokenizer()
    fields = [
        {"label": label, "text": word} for label, word in zip(["dark", "light"] * 15, toy.WORDS[4:34], strict=True)
    ]
    records = [Record(f"r{i}", f, f["text"]) for i, f in enumerate(fields)]
    label = {record.text: record.fields["label"] for record in records}
    for row, record in zip(examples(LABELLED, records, companions=1.0), records, strict=True):
        shown = tokens.decode(row["input_ids"]).split()[:COMPANIONS]
        assert len(set(shown)) == COMPANIONS
        assert {label[word] for word in shown} == {record.fields["label"]}
        assert record.text not in shown


@pytest.mark.parametrize("limit", [8, 12, 16, 24, 40, 80])
def test_companions_never_overflow_the_context(limit):
    rows = examples(PLAIN, RECORDS, limit=limit, companions=1.0)
    plain = examples(PLAIN, RECORDS, limit=limit)
    assert rows
    assert all(len(row["input_ids"]) <= limit for row in rows)
    # A companion never costs an example its place.
    assert len(rows) == len(plain)
    assert sum(len(row["input_ids"]) for row in rows) > sum(len(row["input_ids"]) for row in plain)


def test_a_chat_model_is_asked_in_its_own_template():
    template = (
        "{% for m in messages %}dark {{ m.content }} light{% endfor %}{% if add_generation_prompt %} Write{% endif %}"
    )
    tokens = tokenizer(chat_template=template)
    row = examples(PLAIN, RECORDS[:1], chat_template=template)[0]
    asked = row["labels"].count(-100)
    assert tokens.decode(row["input_ids"][:asked]) == "dark Write a text. light Write"
    assert tokens.decode(row["input_ids"][asked:-1]) == RECORDS[0].text


def test_what_is_too_long_is_left_out_and_counted(tmp_path, base):
    words = toy.WORDS * 10
    long = Record("long", {}, " ".join(words[:125]))  # 3 of the prompt, and the end: 129 of 128 tokens
    fits = Record("fits", {}, " ".join(words[:124]))
    assert len(examples(PLAIN, [long, fits], limit=128)) == 1
    assert len(examples(PLAIN, [long, fits], limit=129)) == 2
    assert len(examples(PLAIN, [long, fits], limit=None)) == 2
    facts = finetune(
        PLAIN, [*RECORDS[:8], long], [*RECORDS[8:12], fits], tmp_path / "a", model=str(base), settings=QUICK
    )
    assert facts["too_long"] == 1
    with pytest.raises(
        ValueError, match=r"none of the 1 training texts \(or of the 4 for validation\) fits the 128 tokens"
    ):
        finetune(PLAIN, [long], RECORDS[8:12], tmp_path / "b", model=str(base), settings=QUICK)
    assert not (tmp_path / "b").exists()


# -- the folder --------------------------------------------------------------------------------------------------


def test_the_adapter_appears_whole_or_not_at_all(base, tmp_path, monkeypatch):
    def fine_tuned(**options: int):
        return finetune(PLAIN, RECORDS[:8], RECORDS[8:12], tmp_path / "out", model=str(base), settings=QUICK, **options)

    def failing(*arguments):
        raise OSError("the disk is full")

    real = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda source, to: failing() if Path(to).name == "out" else real(source, to))
        with pytest.raises(OSError, match="the disk is full"):
            fine_tuned()
    assert list(tmp_path.iterdir()) == []
    fine_tuned()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {"adapter_config.json", "adapter_model.safetensors", "finetuning.json"} <= set(digest(tmp_path / "out"))
    # An older adapter stays until the new one is whole, and then goes whole.
    (tmp_path / "out" / "stale.txt").write_text("old")
    before = digest(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("transformers.Trainer.train", failing)
        with pytest.raises(OSError, match="the disk is full"):
            fine_tuned(seed=1)
    assert digest(tmp_path / "out") == before
    fine_tuned(seed=1)
    after = digest(tmp_path / "out")
    assert "stale.txt" not in after
    assert after["adapter_model.safetensors"] != before["adapter_model.safetensors"]


def test_a_folder_of_something_else_is_never_replaced(base, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than an adapter"):
        finetune(PLAIN, RECORDS[:8], RECORDS[8:12], tmp_path, model=str(base), settings=QUICK)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_nothing_but_results_goes_to_standard_output(base, tmp_path, capsys):
    finetune(PLAIN, RECORDS[:8], RECORDS[8:12], tmp_path / "a", model=str(base), settings=QUICK)
    out, err = capsys.readouterr()
    assert out == ""
    assert "finetune: 1 of 1" in err


# -- companions and their form -----------------------------------------------------------------------------------


def test_the_nearest_companions_are_the_most_alike_by_their_words():
    """Each text shares one, two or three of its words with others; the nearest are those that share most."""
    shared = [["old", "red", "stars"][: 1 + i % 3] for i in range(30)]
    texts = [" ".join([*same, toy.WORDS[20 + i]]) for i, same in enumerate(shared)]
    records = [Record(f"r{i}", {"text": text}, text) for i, text in enumerate(texts)]
    pair, tokens = SimpleNamespace(tokenizer=tokenizer(), context_limit=None), tokenizer()
    settings = Finetuning(companions=1.0, companions_by="nearest")
    rows = _examples(PLAIN, records, pair, settings, "list", 0)
    for row, record, same in zip(rows, records, shared, strict=True):
        before = tokens.decode(row["input_ids"][: row["labels"].count(-100)])
        companions = [other for other in records if other.text in before]
        assert record not in companions
        if len(same) == 3:  # of these there are nine others, which come first
            assert sum("stars" in other.text for other in companions) == 9
    assert _examples(PLAIN, records, pair, settings, "list", 0) == rows


def test_companions_are_drawn_at_random_unless_the_nearest_are_asked_for():
    pair = SimpleNamespace(tokenizer=tokenizer(), context_limit=None)

    def rows(**options: object):
        return _examples(PLAIN, RECORDS, pair, Finetuning(companions=0.5, **options), "texts", 0)

    assert rows() == rows(companions_by="random") == examples(PLAIN, RECORDS, companions=0.5)
    nearest = rows(companions_by="nearest")
    assert nearest != rows()
    # How many examples have companions is asked of the same chance.
    alone = examples(PLAIN, RECORDS)
    assert all(a["input_ids"][-4:] == b["input_ids"][-4:] for a, b in zip(nearest, alone, strict=True))
    assert examples(PLAIN, RECORDS, companions=0.0) == alone


def test_an_echo_has_the_text_itself_among_its_companions_every_other_time():
    tokens = tokenizer()
    texts = [f"{word} stars" for word in toy.WORDS[:40]]
    records = [Record(f"r{i}", {"text": text}, text) for i, text in enumerate(texts)]
    pair = SimpleNamespace(tokenizer=tokens, context_limit=None)
    settings = Finetuning(companions=1.0, companions_by="echo")
    rows = _examples(PLAIN, records, pair, settings, "texts", 0)
    assert rows == _examples(PLAIN, records, pair, settings, "texts", 0)
    numbers, echoed = set(), 0
    for row, record in zip(rows, records, strict=True):
        words = tokens.decode(row["input_ids"][: row["labels"].count(-100)]).removesuffix("Write a text.").split()
        shown = [" ".join(pair) for pair in zip(words[::2], words[1::2], strict=True)]
        assert len(set(shown)) == len(shown)
        assert set(shown) <= set(texts)
        numbers.add(len(shown))
        echoed += record.text in shown
    assert min(numbers) == 1
    assert max(numbers) == COMPANIONS
    assert 10 < echoed < 30


@pytest.mark.parametrize("form", ["pairs", "list"])
@pytest.mark.parametrize("limit", [12, 24, 40])
def test_companions_of_any_form_never_overflow_the_context(form, limit):
    pair = SimpleNamespace(tokenizer=tokenizer(), context_limit=limit)
    rows, plain = (_examples(PLAIN, RECORDS, pair, Finetuning(companions=share), form, 0) for share in (1.0, 0.0))
    assert max(len(row["input_ids"]) for row in rows) <= limit
    assert len(rows) == len(plain)
    assert rows != plain


@pytest.mark.parametrize("form", ["texts", "pairs", "list"])
def test_companions_stand_in_the_form_of_the_negatives(form):
    tokens = tokenizer()
    pair = SimpleNamespace(tokenizer=tokens, context_limit=None)
    records = [Record(f"r{i}", {"text": word}, word) for i, word in enumerate(("stars", "moons"))]
    rows = _examples(PLAIN, records, pair, Finetuning(companions=1.0), form, 0)
    for row, record, other in zip(rows, records, reversed(records), strict=True):
        prompt = list(prompt_ids(tokens, "Write a text.", [other.text], form))
        text = [*text_ids(tokens, record.text), tokens.eos_token_id]
        assert row == {"input_ids": prompt + text, "labels": [-100] * len(prompt) + text}


def test_what_is_learnt_depends_on_the_form(base, tmp_path):
    settings = Finetuning(epochs=2, rank=2, learning_rate=3e-2, batch_size=4, companions=1.0)
    for form in ("texts", "pairs"):
        options = {"model": str(base), "settings": settings, "form": form}
        finetune(PLAIN, RECORDS[:12], RECORDS[12:16], tmp_path / form, **options)
    texts, pairs = (digest(tmp_path / form)["adapter_model.safetensors"] for form in ("texts", "pairs"))
    assert texts != pairs
