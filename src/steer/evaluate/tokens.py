"""What is a token? Named tokenisations, since the name decides every lexical score and belongs to its signature.

whitespace   lowercased, split at whitespace (arXiv 2308.07645); a mark stays with its word
words        lowercased runs of letters, digits and underscores; marks are not counted
characters   one token per character of a script that is written without spaces, whitespace in between
model:NAME   tokens of a transformers tokenizer, by name or folder; neither lowercased nor with special tokens
auto         characters where more than a fifth of the letters are of such scripts, else whitespace
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import regex

KINDS = ("auto", "whitespace", "words", "characters", "model:NAME_OR_FOLDER")
AUTO_SHARE = 0.2
AUTO_SAMPLE = 1_000_000  # characters

# The marks that lengthen a vowel in Japanese belong to no script in Unicode.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ーｰ\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
_CHARACTERS = regex.compile(rf"(?=[{UNSPACED}])\X|[^{UNSPACED}]+")
_WORDS = regex.compile(r"\w+")
_NO_LETTER = regex.compile(r"\P{L}+")
_SPACED = regex.compile(rf"[^{UNSPACED}]+")


@dataclass(frozen=True)
class Tokeniser:
    """How a text becomes tokens. name: for signatures; split: text -> tokens, none for a text without any."""

    name: str
    split: Callable[[str], list[str]]


def whitespace(text: str) -> list[str]:
    """Lowercased, split at whitespace."""
    return text.lower().split()


def word_characters(text: str) -> list[str]:
    """Lowercased runs of Unicode word characters (UTS 18, `\\w`): "don't" is two, a combining mark ends none."""
    found: list[str] = _WORDS.findall(text.lower())
    return found


def characters(text: str) -> list[str]:
    """Lowercased; grapheme clusters (UAX 29) of scripts without spaces, and what stands between at whitespace.

    Such scripts are Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar and Tibetan: "用GPT-4写 a poem" is five tokens,
    用, gpt-4, 写, a and poem.
    """
    return [token for run in text.lower().split() for token in _CHARACTERS.findall(run)]


def unspaced_share(texts: Iterable[str]) -> float:
    """Share of the texts' letters that are of scripts without spaces, in [0, 1]; 0 where there are no letters.

    Of more than a million characters, evenly spaced ones are counted.
    """
    joined = "".join(texts)
    letters = _NO_LETTER.sub("", joined[:: len(joined) // AUTO_SAMPLE + 1])
    return len(_SPACED.sub("", letters)) / len(letters) if letters else 0.0


def tokeniser(kind: str, texts: Iterable[str] = ()) -> Tokeniser:
    """The tokenisation of that kind, one of `KINDS`; `texts` are read by "auto" alone, and should be all sides' texts.

    Raises ValueError on another kind, and where no tokenizer can be loaded under the model's name.
    """
    if kind == "auto":
        share = unspaced_share(texts)
        if share <= AUTO_SHARE:
            return tokeniser("whitespace")
        chosen = tokeniser("characters")
        return Tokeniser(f"{chosen.name} (auto: {share:.0%} of letters in scripts without spaces)", chosen.split)
    if kind == "whitespace":
        return Tokeniser("lowercased, whitespace", whitespace)
    if kind == "words":
        return Tokeniser("lowercased, words without marks", word_characters)
    if kind == "characters":
        return Tokeniser("lowercased, characters of scripts without spaces, else whitespace", characters)
    family, _, name = kind.partition(":")
    if family == "model" and name:
        return _of_model(name)
    known = {choice.partition(":")[0]: choice for choice in KINDS}
    near = "".join(f"; did you mean {known[match]}?" for match in get_close_matches(family.lower(), known, 1))
    raise ValueError(f"unknown tokenisation {kind!r}; expected one of {', '.join(KINDS)}{near}")


def _of_model(name: str) -> Tokeniser:
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        why = str(error).partition("\n")[0]
        raise ValueError(f"no tokenizer found under {name!r}; expected a folder or a Hub name: {why}") from error

    def split(text: str) -> list[str]:
        # Tokenizers refuse lone surrogates. A text longer than the model's context is no fault here.
        sound = text.encode("utf-8", "replace").decode()
        return list(loaded.tokenize(sound, verbose=False))

    # A folder's place says nothing elsewhere, and a name's content can change.
    vocabulary = repr(sorted(loaded.get_vocab().items())).encode("utf-8", "surrogatepass")
    shown = Path(name).resolve().name if Path(name).is_dir() else name
    return Tokeniser(f"tokens of {shown} (vocabulary sha256={hashlib.sha256(vocabulary).hexdigest()[:12]})", split)
