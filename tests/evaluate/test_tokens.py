"""Each tokenisation by hand, and which one "auto" takes."""

import pytest
from tiny import TEXTS, make_tokenizer

from steer.evaluate.tokens import AUTO_SAMPLE, tokeniser, unspaced_share

ENGLISH = "The rings of a giant planet thin out, slowly."
CHINESE = "行星的光环慢慢变薄。"
THAI = "น้ำกำลังไหล"


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("whitespace", "Well,  WELL\tthen.", ["well,", "well", "then."]),
        ("whitespace", "", []),
        ("whitespace", " \n\u3000", []),
        ("words", "Well,  WELL\tthen!", ["well", "well", "then"]),
        ("words", "don't — x_1 …", ["don", "t", "x_1"]),
        ("words", "हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # combining marks stand inside the words
        ("words", "?! …", []),
        ("characters", "你好。世界", ["你", "好", "。", "世", "界"]),
        ("characters", "用GPT-4写 A poem", ["用", "gpt-4", "写", "a", "poem"]),
        ("characters", "コーヒーと パン!", ["コ", "ー", "ヒ", "ー", "と", "パ", "ン", "!"]),
        ("characters", "わーーい", ["わ", "ー", "ー", "い"]),
        ("characters", THAI, ["น้ำ", "กำ", "ลั", "ง", "ไ", "ห", "ล"]),  # a vowel sign stays on its consonant
        ("characters", "か\u3099", ["か\u3099"]),
        ("characters", "한국어 문장", ["한국어", "문장"]),
        ("characters", "cafe\u0301 don't", ["cafe\u0301", "don't"]),
        ("characters", "", []),
    ],
)
def test_tokens_by_hand(kind, text, expected):
    assert tokeniser(kind).split(text) == expected


def test_characters_of_spaced_scripts_are_whitespace(write):
    for text in [*write(5, 0), "a\x1cb\x85c", "Ein Satz, zwei Sätze."]:
        assert tokeniser("characters").split(text) == tokeniser("whitespace").split(text)


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ([], "whitespace"),
        (["", "123 !?"], "whitespace"),
        ([ENGLISH], "whitespace"),
        ([CHINESE, CHINESE], "characters"),
        ([THAI], "characters"),
        (["aaaa好"], "whitespace"),  # a fifth is not more than a fifth
        (["aaa好"], "characters"),
        (["12345678 ,,, a好"], "characters"),  # only letters count
        ([ENGLISH] * 3 + [CHINESE], "whitespace"),
        ([ENGLISH, CHINESE * 3], "characters"),
        (["한국어 문장은 띄어 쓴다"], "whitespace"),
    ],
)
def test_auto_looks_at_the_letters(texts, kind):
    auto, named = tokeniser("auto", texts), tokeniser(kind)
    assert auto.split is named.split
    assert auto.name.startswith(named.name)


def test_the_name_says_why_characters():
    assert "auto: 100% of letters in scripts without spaces" in tokeniser("auto", iter([CHINESE])).name
    assert "auto" not in tokeniser("characters", [CHINESE]).name


def test_mixed_text_stays_sensible():
    chosen = tokeniser("auto", [CHINESE, ENGLISH])
    assert chosen.split(ENGLISH) == tokeniser("whitespace").split(ENGLISH)
    assert chosen.split(CHINESE) == list(CHINESE)


def test_a_long_corpus_is_sampled_evenly():
    texts = ["a" * AUTO_SAMPLE, "好" * AUTO_SAMPLE, "a" * 2 * AUTO_SAMPLE]
    assert unspaced_share(texts) == pytest.approx(1 / 4, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "near"),
    [
        ("Characters", "did you mean characters?"),
        ("wordz", "did you mean words?"),
        ("model:", "did you mean model:NAME_OR_FOLDER?"),
        ("models", "did you mean model:NAME_OR_FOLDER?"),
        ("", "expected one of auto, whitespace, words, characters, model:NAME_OR_FOLDER"),
    ],
)
def test_unknown_kinds_name_the_known(kind, near):
    with pytest.raises(ValueError, match="unknown tokenisation") as error:
        tokeniser(kind)
    assert near in str(error.value)


def test_names_differ():
    assert len({tokeniser(kind).name for kind in ("whitespace", "words", "characters")}) == 3


def test_tokens_of_a_model(tmp_path):
    made = make_tokenizer()
    made.save_pretrained(tmp_path / "small")
    loaded = tokeniser(f"model:{tmp_path / 'small'}")
    assert loaded.split(TEXTS[0]) == made.tokenize(TEXTS[0])
    assert "".join(loaded.split(TEXTS[0])).replace("Ġ", " ") == TEXTS[0]
    assert loaded.split("") == []
    assert loaded.split("a\ud800") == made.tokenize("a?")
    assert loaded.name.startswith("tokens of small (")
    assert str(tmp_path) not in loaded.name

    make_tokenizer(300).save_pretrained(tmp_path / "again" / "small")
    assert tokeniser(f"model:{tmp_path / 'again' / 'small'}").name != loaded.name


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match="no tokenizer found under"):
        tokeniser(f"model:{tmp_path}")
