"""A model on this machine as a judge."""

from dataclasses import replace

import pytest
import torch
from judging import made_study
from tiny import make_model, make_tokenizer

from steer.engine.requests import Completion
from steer.study.judge import (
    Answer,
    LocalJudge,
    judge_of,
    judges,
)
from steer.study.judge.ask import asks
from steer.study.plan import CREATIVE, PLAUSIBLE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random model that holds a whole prompt."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tokenizer = make_tokenizer()
    model = make_model("llama", len(tokenizer))
    model.config.max_position_embeddings = 4096
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def local(folder):
    return judge_of(f"model:{folder}", device="cpu", dtype="float32")


def slowly(folder, text, letter):
    """The log-probability of a letter after a text, by one pass of transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    before, after = (tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, letter))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        logits = model(torch.tensor([before + after])).logits[0].log_softmax(-1)
    return sum(logits[len(before) - 1 + i, token].item() for i, token in enumerate(after))


def test_a_local_judge_takes_the_likelier_letter(local, folder):
    study = made_study(2)
    asked = list(asks(study, local.ties))
    assert all("tie" not in ask.prompt for ask in asked)
    for ask in asked:
        answer = local.answer(ask)
        expected = [slowly(folder, f"{ask.prompt}\n", letter) for letter in "AB"]
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)
        assert answer.choice == "AB"[expected.index(max(expected))]
        assert (answer.tokens_in, answer.tokens_out) == local.tokens(ask)


def test_a_letter_may_be_several_tokens(local, folder, monkeypatch):
    ask = next(asks(made_study(1), ties=False))
    several = replace(local)
    monkeypatch.setattr("steer.study.judge.local.LETTERS", ("A\n", "B\n\n"))
    answer = several.answer(ask)
    expected = [slowly(folder, f"{ask.prompt}\n", letter) for letter in ("A\n", "B\n\n")]
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_chat_model_is_asked_in_its_own_template(local, folder, tmp_path):
    from transformers import AutoTokenizer

    template = "{% for m in messages %}<user>{{ m.content }}</user>{% endfor %}<assistant>"
    chatty = replace(local)
    chatty.__dict__["_loaded"] = replace(local._loaded, tokenizer=AutoTokenizer.from_pretrained(folder))
    chatty._loaded.tokenizer.chat_template = template
    ask = next(asks(made_study(1), ties=False))
    answer = chatty.answer(ask)
    expected = [slowly(folder, f"<user>{ask.prompt}</user><assistant>", letter) for letter in "AB"]
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)


def test_a_local_judge_says_the_same_every_time(local, run, tmp_path):
    """Of the same files, whatever is asked with it; and it is not asked twice, nor loaded, where all is known."""
    study = made_study(9, questions=(CREATIVE, PLAUSIBLE))
    first, again = run(study, local), run(study, local, "again", "none")
    assert (first.rows, len(first.rows)) == (again.rows, 36)
    alone = [local.answer(ask) for ask in reversed(list(asks(study, ties=False)))][::-1]
    assert [row.logprobs for row in first.rows] == [answer.logprobs for answer in alone]
    assert first.spent.tokens_in == first.estimate.tokens_in
    unloaded = LocalJudge(local.model, local.name, "cpu", "float32")
    assert run(study, unloaded).rows == first.rows
    assert "_loaded" not in vars(unloaded)
    assert "dtype=bfloat16" in replace(unloaded, dtype="bfloat16").signature
    assert judges(tmp_path / "study", study) == {"tiny": first.rows}


def test_a_prompt_that_is_too_long_is_undecided(local):
    ask = next(asks(made_study(1), ties=False))
    short = local.tokens(ask)[0]
    spare = 4096 - 1 - short
    fits = replace(ask, prompt="\n" * spare + ask.prompt)
    assert local.tokens(fits) == (4095, 0)
    assert local.answer(fits).choice
    answer = local.answer(replace(ask, prompt="\n" + fits.prompt))
    assert (answer.choice, answer.said) == (None, "no answer: 4096 tokens to read, and the model holds 4096")


def test_a_model_that_is_not_there_is_told(run):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        run(made_study(1), judge_of("model:./nowhere", device="cpu", dtype="float32"))


def test_an_equal_probability_is_a_tie(local, monkeypatch):
    even = [Completion(combined=[-1.0]), Completion(combined=[-0.5, -0.5])]
    monkeypatch.setattr("steer.engine.decode.decode", lambda *_, **__: even)
    ask = next(asks(made_study(1), ties=False))
    assert local.answer(ask) == Answer("tie", "A -1.0000, B -1.0000", local.tokens(ask)[0], 0, (-1.0, -1.0))


def test_the_shipped_model_can_be_asked(run):
    judged = run(made_study(1), judge_of("model:steer-nano", device="cpu"))
    assert len(judged.rows) == 4
    assert {row.answer for row in judged.rows} <= {"a", "b", "tie"}
