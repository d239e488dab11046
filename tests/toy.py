"""A world in which a whole run takes seconds: a language of sixty words, real texts in it, and a model whose texts end
by themselves."""

import json
import random
from pathlib import Path

import torch
from tiny import add_adapter
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from steer.engine.models import Pair
from steer.engine.network import Network
from steer.records import Record

torch.set_num_threads(1)  # for matrices this small a second thread is only waited for

LANGUAGE = (
    "old young dim bright red cold warm small large dwarf giant spiral distant nearby faint dusty stars galaxies "
    "planets moons rings comets pulsars clusters haloes discs bulges winds jets clouds grow shrink cool heat spin "
    "drift merge collapse expand glow faster slower early late often rarely twice before after inside outside beyond "
    "around because when while and of the"
)
WORDS = LANGUAGE.split()
SPECIAL = ("<end>", "<pad>", "<unk>")
LABELS = ("dark", "light")


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; every word that is not of the language is <unk>."""
    words = [*SPECIAL, *LABELS, "Write", "a", "text.", *WORDS]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", pad_token="<pad>", unk_token="<unk>")


def model(end: float = 2.2, positions: int = 128, seed: int = 0) -> GPT2LMHeadModel:
    """Random weights, and about one word in eight an end of text.

    The bias of the last norm is a direction of its own, in which a word's embedding says how likely it is always.
    """
    torch.manual_seed(seed)
    size = len(tokenizer())
    shape = {"vocab_size": size, "n_positions": positions, "n_embd": 32, "n_layer": 2, "n_head": 4}
    made = GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=None, eos_token_id=0))
    likely = torch.zeros(size)
    likely[0], likely[1:3], likely[3 : -len(WORDS)] = end, -2.0, -2.0
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
        direction, strength = torch.nn.functional.normalize(torch.randn(32), dim=0), 10.0
        words = made.transformer.wte.weight
        words -= (words @ direction)[:, None] * direction
        words += (likely / strength)[:, None] * direction
        made.transformer.ln_f.bias.copy_(strength * direction)
    return made.eval()


def pair(**options: float) -> Pair:
    return Pair(Network(add_adapter(model(**options)), "toy"), tokenizer(), "toy")


def rows(count: int = 40, seed: int = 0) -> list[dict[str, str]]:
    """Real texts of three to twelve words, and a few so short that the model will hit upon them."""
    rng = random.Random(seed)
    texts = {" ".join(rng.sample(WORDS, rng.randint(3, 12))) for _ in range(count * 2)}
    texts = [*sorted(texts)[: count - 4], *WORDS[:4]]
    return [{"text": text, "label": LABELS[i % 3 == 0]} for i, text in enumerate(texts)]


def records(count: int = 40) -> tuple[Record, ...]:
    return tuple(Record(f"r{i:02d}", row, row["text"]) for i, row in enumerate(rows(count)))


def write_data(path: Path, count: int = 40) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows(count)), encoding="utf-8")
    return path


def write_model(folder: Path, **options: float) -> Path:
    made = model(**options)
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def write_adapter(folder: Path, **options: float) -> Path:
    add_adapter(model(**options)).save_pretrained(folder)
    return folder
