"""Are synthetic multiple-choice questions useful? What a model trained on them answers of real questions.

    accuracy   on held-out real questions, by the protocol of `steer.evaluate.downstream`; range [0, 1], higher is
               better. A tie of k choices that holds the answer counts 1/k

Who answers: `ChoiceHead`, a linear head on frozen embeddings, offline and modest; or `Encoder`, a small encoder that is
fine-tuned to choose.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steer.evaluate.corpus import Question
from steer.evaluate.downstream import Grade, Indices, Pool, Result, compare
from steer.evaluate.embed import Embedder, Embeddings, TfidfSvd, in_a_line, vectors
from steer.evaluate.folders import digest, fetched

if TYPE_CHECKING:
    from torch import Tensor

Scores = Sequence[NDArray[np.float64]]  # per question, one score per choice


class Answerer(Protocol):
    """What is trained to answer."""

    def over(self, questions: Sequence[Question]) -> tuple["Answer", str]:
        """How to answer questions of a pool, by their positions in it, and the signature of that."""
        ...


class Answer(Protocol):
    """Trains anew on some questions of a pool and scores the choices of others."""

    def __call__(self, train: Indices, test: Indices, seed: int) -> Scores: ...


def answer_accuracy(
    real_train: Sequence[Question] | None,
    real_test: Sequence[Question],
    synthetic: Sequence[Question],
    *,
    answerer: Answerer | None = None,
    groups: ArrayLike | None = None,
    seed: int = 0,
    splits: int = 5,
    points: int = 5,
) -> Result:
    """Accuracy of an answerer, by what it was trained on; chance is that of guessing.

    answerer: `ChoiceHead()` if None. The others are as in `downstream.classify`: `real_train` None halves `real_test`,
    `groups` numbers the near-duplicate clusters of all questions in order. Raises ValueError on an encoder that cannot
    be loaded, and on an embedder that gives anything but finite (N, D).
    """
    questions = [*(real_train or ()), *real_test, *synthetic]
    none = np.zeros(len(questions), dtype=np.int64)  # the positions of the answers are no classes
    clusters = np.arange(len(questions)) if groups is None else np.asarray(groups)
    pool = Pool(None if real_train is None else len(real_train), len(real_test), none, clusters)
    answer, signature = (answerer or ChoiceHead()).over(questions)

    def learn(train: Indices, test: Indices, seed: int) -> Grade:
        return Grade(share_right(answer(train, test, seed), [questions[i].answer for i in test]))

    chance = float(np.mean([1 / len(q.choices) for q in real_test])) if len(real_test) else float("nan")
    return compare(learn, pool, chance, signature, seed=seed, splits=splits, points=points)


def share_right(scores: Scores, answers: Sequence[int]) -> float:
    """Share of the questions whose answer scores highest, in [0, 1]; a tie of k counts 1/k. NaN of no questions."""
    # What is not a number says nothing for its choice; where all are such, all tie.
    rows = [np.nan_to_num(row, nan=-np.inf) for row in scores]
    tops = [row == row.max() for row in rows]
    right = [top[answer] / top.sum() for top, answer in zip(tops, answers, strict=True)]
    return float(np.mean(right)) if right else float("nan")


@dataclass(frozen=True)
class ChoiceHead:
    """A linear head on frozen embeddings, trained to score the answer above each other choice of its question.

    embedder: TF-IDF and SVD, fitted on the words of all questions and choices, if None. The head is a logistic
    regression of the differences (answer - other) without intercept, in which each question weighs the same: with two
    choices the conditional logit (McFadden 1974), with more its pairwise form.

    It knows an answer by words or topics in common with its question, and little else. CommonsenseQA (chance 0.20) is
    out of its reach with TF-IDF (0.21); with a static embedder it has 0.36 after 12 questions, and no more after 1,600.
    """

    embedder: Embedder | None = None

    def over(self, questions: Sequence[Question]) -> tuple[Answer, str]:
        texts = sorted({text for q in questions for text in (q.question, *q.choices)})
        embedder = self.embedder or TfidfSvd(texts)
        embedded = vectors(embedder, texts)
        if not np.isfinite(embedded).all():
            raise ValueError(f"embedder {embedder.name} gave values that are not finite")
        vector = dict(zip(texts, embedded, strict=True))
        features = [_features(vector[q.question], np.array([vector[c] for c in q.choices])) for q in questions]

        def answer(train: Indices, test: Indices, seed: int) -> Scores:
            head = _head([features[i] for i in train], [questions[i].answer for i in train])
            # What differs by less than rounding is a tie.
            return [np.round(features[i] @ head, 9) for i in test]

        return answer, f"choice head on {embedder.signature}"


def _features(question: Embeddings, choices: Embeddings) -> Embeddings:
    """(D,) and (K, D) -> (K, 3D + 1): the choice, its product with and distance from the question, and their cosine."""
    lengths = np.linalg.norm(question) * np.linalg.norm(choices, axis=1)
    cosine = np.divide(choices @ question, lengths, out=np.zeros(len(choices)), where=lengths > 0)
    return np.column_stack([choices, choices * question, np.abs(choices - question), cosine])


def _head(features: Sequence[Embeddings], answers: Sequence[int]) -> NDArray[np.float64]:
    """The weights (F,) of features (K, F) per question that put answers above other choices."""
    from sklearn.linear_model import LogisticRegression

    gaps = [np.delete(f[a] - f, a, axis=0) for f, a in zip(features, answers, strict=True)]
    pairs = np.concatenate(gaps)
    weights = np.concatenate([np.full(len(gap), 1 / len(gap)) for gap in gaps])
    scale = np.sqrt((pairs**2).mean(axis=0))
    scale[scale == 0] = 1
    # The ridge penalty lets the one cosine say as much as the D numbers of each vector together.
    scale[:-1] *= ((pairs.shape[1] - 1) / 3) ** 0.5
    # Without an intercept a gap and its negative cost the same, so every other one is turned: two classes to learn.
    sign = np.resize([1.0, -1.0], len(pairs))
    model = LogisticRegression(C=0.1, fit_intercept=False, max_iter=1000)
    model.fit(pairs / scale * sign[:, None], sign, sample_weight=weights)
    return np.asarray(model.coef_[0] / scale, dtype=np.float64)


@dataclass(frozen=True)
class Encoder:
    """A small encoder with a choice head (`AutoModelForMultipleChoice`), fine-tuned from the start for every split.

    model: a Hub id or a folder, with safetensors. learning_rate: its peak, after a tenth of the steps, falling to zero.
    max_length: tokens of question and choice together. device: "auto" is the GPU if there is one. On a CPU the same
    seed gives the same accuracy.
    """

    model: str
    epochs: int = 3
    batch_size: int = 8
    learning_rate: float = 5e-5
    max_length: int = 128
    device: str = "auto"

    def over(self, questions: Sequence[Question]) -> tuple[Answer, str]:
        folder = _folder(self.model)

        def answer(train: Indices, test: Indices, seed: int) -> Scores:
            return _fine_tuned(self, folder, [questions[i] for i in train], [questions[i] for i in test], seed)

        settings = f"epochs={self.epochs} batch={self.batch_size} lr={self.learning_rate:g} length={self.max_length}"
        return answer, f"encoder={self.model} sha256={digest(folder)} {settings}"


def _folder(model: str) -> Path:
    """The folder of a model, downloaded if it is a Hub id, so that every split sees the same files."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        if folder.exists() or model.startswith((".", "/", "~")) or model.count("/") > 1:
            raise ValueError(f"model {model}: there is no such folder")
        folder = fetched(model)
    if not list(folder.glob("*.safetensors")):
        raise ValueError(f"model {model} has no weights in *.safetensors; only these are loaded")
    return folder


def _fine_tuned(
    settings: Encoder, folder: Path, train: Sequence[Question], test: Sequence[Question], seed: int
) -> Scores:
    """What a freshly loaded encoder scores the choices of the tested questions after training; it is not kept."""
    import torch
    from torch.nn.functional import cross_entropy

    size, steps = settings.batch_size, settings.epochs * -(-len(train) // settings.batch_size)
    warm = max(1, steps // 10)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # a choice head that the weights lack is drawn at random, and so is dropout
        model, tokenizer = _load(settings, folder)
        optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warm, (steps - step) / (steps - warm + 1))
        )
        model.train()
        for _ in range(settings.epochs):
            for batch in torch.randperm(len(train)).split(size):
                asked = [train[i] for i in batch]
                logits = _logits(model, tokenizer, asked, settings.max_length)
                loss = cross_entropy(logits, torch.tensor([q.answer for q in asked], device=logits.device))
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
                schedule.step()
        model.eval()
        with torch.inference_mode():
            batches = [test[start : start + size] for start in range(0, len(test), size)]
            scored = [_logits(model, tokenizer, batch, settings.max_length).double().cpu().numpy() for batch in batches]
    rows = [row for batch in scored for row in batch]
    return [row[: len(question.choices)] for row, question in zip(rows, test, strict=True)]


def _load(settings: Encoder, folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForMultipleChoice, AutoTokenizer
    from transformers.utils import logging

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it reports at length, for every split, that the head is new
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        model, info = AutoModelForMultipleChoice.from_pretrained(
            folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
        model.to(device)
    except Exception as error:  # what a damaged file or another architecture raises has no class in common
        raise ValueError(
            f"model {settings.model} cannot be loaded to choose answers: {in_a_line(str(error))}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    # transformers draws what is missing at random, which only the head and the pooler before it may be.
    encoder = f"{model.base_model_prefix}."
    if missing := [name for name in info["missing_keys"] if name.startswith(encoder) and "pooler" not in name]:
        raise ValueError(f"model {settings.model}: its files lack {len(missing)} weights, such as {min(missing)}")
    return model, tokenizer


def _logits(model: Any, tokenizer: Any, questions: Sequence[Question], max_length: int) -> "Tensor":
    """(B, K) scores of the choices of B questions; -inf where a question has fewer than K."""
    from torch.nn.utils.rnn import pad_sequence

    counts = [len(q.choices) for q in questions]
    asked, offered = [q.question for q in questions for _ in q.choices], [c for q in questions for c in q.choices]
    limit = min(max_length, tokenizer.model_max_length)
    inputs = tokenizer(asked, offered, truncation=True, max_length=limit, padding=True, return_tensors="pt")
    # The model scores each pair by itself, so all go as the choices of one question: (1, all choices, T).
    scores = model(**{name: ids.unsqueeze(0).to(model.device) for name, ids in inputs.items()}).logits[0]
    return pad_sequence(scores.split(counts), batch_first=True, padding_value=float("-inf"))
