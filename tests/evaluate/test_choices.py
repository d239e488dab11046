"""Questions that share words with their answers are learnt; what says nothing is at chance."""

import random
from math import isnan

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from steer.evaluate.choices import ChoiceHead, Encoder, Question, _load, _logits, answer_accuracy, share_right
from steer.evaluate.downstream import SETS
from steer.evaluate.embed import HiddenStates
from steer.evaluate.folders import digest

THINGS = [
    "kettle",
    "harbour",
    "bread",
    "lantern",
    "river",
    "paper",
    "stone",
    "garden",
    "engine",
    "ladder",
    "window",
    "bridge",
]


def ask(count, seed, *, right=True, choices=(2, 5)):
    """Questions that name the thing they ask for, among two to five; or, not `right`, answers at random."""
    rng = random.Random(seed)
    questions = []
    for _ in range(count):
        things = rng.sample(THINGS, rng.randint(*choices))
        answer = rng.randrange(len(things))
        asked = things[answer] if right else rng.choice(things)
        questions.append(
            Question(f"which of these is the old {asked}?", tuple(f"a {thing}" for thing in things), answer)
        )
    return questions


@pytest.mark.parametrize("separate", [True, False], ids=["separate", "halves"])
def test_words_in_common_are_learnt(separate):
    result = answer_accuracy(ask(60, 1) if separate else None, ask(120, 2), ask(60, 3))
    assert result.reason is None
    assert all(usefulness.mean > 0.9 for usefulness in result.sets.values())
    assert all(isnan(usefulness.macro_f1) for usefulness in result.sets.values())
    assert result.curve[-1][1] == result.sets
    assert "choice head on tfidf" in result.signature


def test_answers_at_random_teach_nothing_and_wrong_ones_the_contrary():
    real, test = ask(100, 1, choices=(4, 4)), ask(100, 2, choices=(4, 4))
    noise = answer_accuracy(real, test, ask(100, 3, right=False, choices=(4, 4)), points=1)
    assert noise.sets["synthetic"].mean < noise.sets["real"].mean - 0.2
    wrong = [Question(q.question, q.choices, (q.answer + 1) % 4) for q in ask(100, 3, choices=(4, 4))]
    assert answer_accuracy(real, test, wrong, points=1).sets["synthetic"].mean < 0.1


def test_an_embedder_that_sees_nothing_is_exactly_at_chance():
    # Also where the answer always stands first: a tie is no answer.
    def first(questions):
        return [Question(q.question, (q.choices[q.answer], "another", "a third"), 0) for q in questions]

    nothing = ChoiceHead(HiddenStates(lambda texts: np.ones((len(texts), 3)), "constant"))
    result = answer_accuracy(*(first(ask(40, seed)) for seed in (1, 2, 3)), answerer=nothing)
    assert [result.sets[name].mean for name in SETS] == pytest.approx([1 / 3] * 3)
    assert result.chance == pytest.approx(1 / 3)


def test_chance_is_guessing_whatever_the_number_of_choices():
    two, four = Question("?", ("a", "b"), 0), Question("?", ("a", "b", "c", "d"), 3)
    assert answer_accuracy(None, [two, four], []).chance == pytest.approx(3 / 8)


def test_choices_that_read_the_same_tie():
    same = [Question(f"{i}?", ("the same",) * 5, i % 5) for i in range(20)]
    noise = ChoiceHead(HiddenStates(lambda texts: np.random.default_rng(0).normal(size=(len(texts), 40)), "noise"))
    result = answer_accuracy(ask(30, 1), same, ask(30, 2), answerer=noise, points=1)
    assert [score for name in SETS for score in result.sets[name].scores] == pytest.approx([1 / 5] * 15)


def test_each_question_weighs_the_same_whatever_its_choices():
    # 12 questions for yes; 8 for no, which are 32 pairs of choices.
    signs = HiddenStates(lambda texts: np.array([[1.0, text == "yes"] for text in texts]), "signs")
    train = [Question("?", ("yes", "no"), 0)] * 12 + [Question("?", ("no", "yes", "yes", "yes", "yes"), 0)] * 8
    answer, _ = ChoiceHead(signs).over([*train, Question("?", ("yes", "no"), 0)])
    ((yes, no),) = answer(np.arange(20), np.array([20]), 0)
    assert yes > no


SHARES = [
    ([[1, 2, 3]], [2], 1.0),
    ([[1, 2, 3]], [0], 0.0),
    ([[1, 3, 3]], [2], 1 / 2),
    ([[1, 3, 3]], [0], 0.0),
    ([[1, 0], [2, 2, 2, 2]], [0, 1], 5 / 8),
    ([[np.nan, np.nan]], [0], 1 / 2),
    ([[np.nan, -5.0]], [0], 0.0),
]


@pytest.mark.parametrize(("scores", "answers", "expected"), SHARES)
def test_share_right_by_hand(scores, answers, expected):
    assert share_right([np.array(row, float) for row in scores], answers) == pytest.approx(expected)


def test_order_of_choices_and_seed():
    sources = [ask(40, seed, right=False) for seed in (1, 2, 3)]
    result = answer_accuracy(*sources)
    assert repr(result) == repr(answer_accuracy(*sources))  # its F1 is NaN, which equals nothing
    assert result.sets != answer_accuracy(*sources, seed=1).sets

    def backwards(questions):
        return [Question(q.question, q.choices[::-1], len(q.choices) - 1 - q.answer) for q in questions]

    turned = answer_accuracy(*map(backwards, sources))
    assert [turned.sets[name].mean for name in SETS] == pytest.approx(
        [result.sets[name].mean for name in SETS], abs=0.02
    )


def test_too_few_and_none():
    assert "too few" in answer_accuracy(ask(50, 1), ask(9, 2), ask(50, 3)).reason
    nothing = answer_accuracy(None, [], [])
    assert "too few" in nothing.reason
    assert isnan(nothing.chance)
    assert isnan(nothing.sets["real"].mean)
    assert isnan(share_right([], []))


@pytest.mark.parametrize(("choices", "answer"), [((), 0), (("a",), 0), (("a", "b"), 2), (("a", "b"), -1)])
def test_a_question_without_its_answer_is_refused(choices, answer):
    with pytest.raises(ValueError, match="expected one of two or more"):
        Question("which?", choices, answer)


def test_an_embedder_of_broken_numbers_is_named():
    broken = ChoiceHead(HiddenStates(lambda texts: np.full((len(texts), 3), np.nan), "broken", name="broken"))
    with pytest.raises(ValueError, match="broken gave values that are not finite"):
        answer_accuracy(None, ask(30, 1), ask(30, 2), answerer=broken)


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A random BERT of two layers that knows the words of the questions, without a choice head."""
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "which", "of", "these", "is", "the", "old", "a", "?", *THINGS]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    marks = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=16, **marks).save_pretrained(folder)
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **size)).save_pretrained(folder)
    return folder


def test_the_encoder_goes_through_the_protocol_the_same_each_time(bert):
    sources, one = [ask(30, seed) for seed in (1, 2, 3)], Encoder(str(bert), epochs=1, device="cpu")
    state = torch.random.get_rng_state()
    result = answer_accuracy(*sources, answerer=one, splits=2, points=1)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(0 <= score <= 1 for usefulness in result.sets.values() for score in usefulness.scores)
    torch.manual_seed(7)
    assert repr(answer_accuracy(*sources, answerer=one, splits=2, points=1)) == repr(result)
    assert f"sha256={digest(bert)}" in result.signature
    assert "epochs=1" in result.signature


def test_the_encoder_learns_and_masks_what_is_filled_up(bert):
    # The answer is the kettle, whatever is asked. Questions of two choices stand in batches with such of five.
    def kettles(count, seed):
        rng = random.Random(seed)
        for _ in range(count):
            things = rng.sample(THINGS[1:], rng.choice([1, 4]))
            answer = rng.randint(0, len(things))
            yield Question("which of these?", (*things[:answer], "kettle", *things[answer:]), answer)

    answer, _ = Encoder(str(bert), epochs=8, learning_rate=3e-3, device="cpu").over(questions := list(kettles(120, 1)))
    scores = answer(np.arange(80), np.array([*range(80, 120), 80]), 0)
    # No dropout in the test: the same question, in other company, is answered the same.
    assert scores.pop() == pytest.approx(scores[0], abs=1e-5)
    assert [len(row) for row in scores] == [len(q.choices) for q in questions[80:]]
    assert all(np.isfinite(row).all() for row in scores)
    assert share_right(scores, [q.answer for q in questions[80:]]) > 0.9


def test_choices_that_a_question_lacks_are_never_likely(bert):
    model, tokenizer = _load(Encoder(str(bert), device="cpu"), bert)
    model.eval()
    few, many = Question("which?", ("a kettle", "a river"), 0), Question("which?", ("a river",) * 5, 0)
    logits = _logits(model, tokenizer, [few, many], 16)
    assert torch.isneginf(logits).tolist() == [[False, False, True, True, True], [False] * 5]
    assert torch.allclose(logits[:1, :2], _logits(model, tokenizer, [few], 16), atol=1e-6)


def test_an_encoder_that_cannot_be_had_is_named(bert, tmp_path):
    def use(model, **settings):
        return answer_accuracy(None, ask(30, 1), ask(30, 2), answerer=Encoder(str(model), **settings), points=1)

    with pytest.raises(ValueError, match="no such folder"):
        use(tmp_path / "nowhere")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ValueError, match="only these are loaded"):
        use(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match="cannot be loaded"):
        use(tmp_path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        use(bert, device="abacus")


def test_an_encoder_without_its_own_weights_is_refused(bert, tmp_path):
    from safetensors.torch import load_file, save_file

    for file in bert.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = {name: value for name, value in load_file(bert / "model.safetensors").items() if "layer.1" not in name}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="its files lack 16 weights"):
        answer_accuracy(None, ask(30, 1), ask(30, 2), answerer=Encoder(str(tmp_path)), points=1)
