"""What stands before a text: the prompt, and other texts in each of three forms."""

import pytest
import toy

from steer.engine.contexts import contexts, prompt_ids, written

PROMPT = "Write a text."
FORMS = {
    "texts": ["old stars\n\n", "old stars\n\nred moons\n\n"],
    "pairs": ["Write a text.\nold stars\n\n", "Write a text.\nold stars\n\nWrite a text.\nred moons\n\n"],
    "list": ["1. old stars\n\n", "1. old stars\n2. red moons\n\n"],
}


@pytest.mark.parametrize("form", FORMS)
def test_examples_stand_before_the_prompt_in_their_form(form):
    examples = ["old stars", "red moons"]
    assert [written(PROMPT, examples[:n], form) for n in range(3)] == ["", *FORMS[form]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("template", [None, "{% for m in messages %}dark {{ m.content }} light{% endfor %}"])
def test_the_form_reaches_the_model(form, template):
    """A base model reads it as it is, a chat model as one message."""
    tokenizer = toy.tokenizer()
    tokenizer.chat_template = template
    examples = ["old stars", "red moons"]
    text = FORMS[form][1] + PROMPT
    expected = tokenizer(f"dark {text} light" if template else f"{text}\n")["input_ids"]
    assert prompt_ids(tokenizer, PROMPT, examples, form) == tuple(expected)
    shown = contexts(tokenizer, PROMPT, examples, form)
    assert shown.negatives == tuple(expected)
    assert shown.prompt == prompt_ids(tokenizer, PROMPT)
    assert contexts(tokenizer, PROMPT, (), form).negatives == shown.prompt


def test_texts_are_the_form_unless_another_is_asked_for():
    tokenizer = toy.tokenizer()
    given = (tokenizer, PROMPT, ["old stars", "red moons"])
    assert contexts(*given) == contexts(*given, "texts")
    assert len({contexts(*given, form).negatives for form in FORMS}) == 3
