"""From base to domain: a LoRA adapter, fine-tuned on the real texts with the loss on the text alone."""

import os
import random
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from steer.config import Finetuning, Form
from steer.engine.contexts import prompt_ids, text_ids
from steer.engine.models import load
from steer.progress import Progress
from steer.records import Record, write_json
from steer.task import Task

EVALUATIONS = 10  # at least so many evaluations on the validation texts, or one an epoch
ECHO = 0.5  # of the sequences with companions that echo, so many have the text itself among them
COMPANIONS = 10  # at most so many other examples before a prompt

Examples = list[dict[str, list[int]]]  # input_ids and labels


def finetune(
    task: Task,
    train: Sequence[Record],
    validation: Sequence[Record],
    out: str | Path,
    *,
    model: str = "steer-nano",
    settings: Finetuning | None = None,
    form: Form = "texts",
    seed: int = 0,
    revision: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> dict[str, Any]:
    """Fine-tune `model` on the records and save the adapter of the best epoch to the folder `out`, whole or not at all.

    form: how companions stand before a prompt, as the negatives will.

    Returns what happened, and leaves it in the folder as finetuning.json: steps and epochs run, validation loss at each
    evaluation and training loss on the way there (nats a token), examples left out as longer than the model's context.
    Raises ValueError where no example fits, and where `out` holds something else than an adapter.
    """
    from peft import LoraConfig, get_peft_model
    from transformers import set_seed

    settings = settings or Finetuning()
    out = Path(out)
    if out.exists() and any(out.iterdir()) and not (out / "adapter_config.json").is_file():
        raise ValueError(f"{out} holds something else than an adapter, which would be replaced; choose another folder")
    pair = load(model, revision=revision, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
    sets = [_examples(task, part, pair, settings, form, seed) for part in (train, validation)]
    if not sets[0] or not sets[1]:
        prompt = min(len(prompt_ids(pair.tokenizer, task.prompt(record.fields))) for record in train)
        raise ValueError(
            f"none of the {len(train)} training texts (or of the {len(validation)} for validation) fits the "
            f"{pair.context_limit} tokens that {model} holds, after a prompt of {prompt}: shorten task.instruction, "
            "use shorter texts or a model with a longer context"
        )
    set_seed(seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(pair.base.model, config)
    an_epoch = -(-len(sets[0]) // settings.batch_size)
    steps = min(settings.epochs * an_epoch, settings.max_steps)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".finetune-", dir=out.parent) as scratch,
        Progress("finetune", steps) as progress,
    ):
        trainer = _trainer(adapted, sets, settings, seed, steps, min(an_epoch, -(-steps // EVALUATIONS)), scratch)
        trainer.add_callback(_losses_to(progress))
        trainer.train()
        whole = Path(scratch) / "adapter"
        adapted.save_pretrained(whole)
        (whole / "README.md").unlink(missing_ok=True)
        left_out = len(train) + len(validation) - sum(map(len, sets))
        facts = {**_history(trainer.state, an_epoch), "too_long": left_out}
        write_json(whole / "finetuning.json", facts)
        if out.exists():
            os.replace(out, Path(scratch) / "before")
        os.replace(whole, out)
    return facts


def _trainer(
    adapted: Any, sets: Sequence[Examples], settings: Finetuning, seed: int, steps: int, every: int, scratch: str
) -> Any:
    """A silent Trainer on the training and validation sets that keeps the best of its evaluations."""
    from transformers import EarlyStoppingCallback, Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    arguments = TrainingArguments(
        output_dir=scratch,
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate or 0.5 / adapted.config.get_text_config().hidden_size,
        lr_scheduler_type="cosine",
        warmup_steps=0.05,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        logging_strategy="steps",
        logging_steps=1,
        save_total_limit=1,
        save_only_model=True,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        use_cpu=adapted.device.type == "cpu",
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
        seed=seed,
    )
    trainer = Trainer(
        model=adapted,
        args=arguments,
        train_dataset=sets[0],
        eval_dataset=sets[1],
        data_collator=_collate,
        callbacks=[EarlyStoppingCallback(settings.patience)],
    )
    # It prints every log line to standard output, where only results belong.
    trainer.remove_callback(PrinterCallback)
    return trainer


def _history(state: Any, an_epoch: int) -> dict[str, Any]:
    """Steps and epochs run, and the losses in nats a token at each evaluation and on the way there."""
    losses = [row["loss"] for row in state.log_history if "loss" in row]  # one a step
    evaluations = [row for row in state.log_history if "eval_loss" in row]
    evaluated_at = [row["step"] for row in evaluations]
    return {
        "steps": state.global_step,
        "epochs": round(state.global_step / an_epoch, 1),
        "evaluated_at": evaluated_at,
        "training_loss": [round(fmean(losses[a:b]), 4) for a, b in pairwise([0, *evaluated_at])],
        "validation_loss": [round(row["eval_loss"], 4) for row in evaluations],
    }


def _examples(
    task: Task, records: Sequence[Record], pair: Any, settings: Finetuning, form: Form, seed: int
) -> Examples:
    """Prompt, text and end of text as ids, with labels on the text and its end only; too long ones are left out.

    A share `companions` of the examples has others of the same labels before its prompt, as many as fit.
    """
    rng = random.Random(seed)
    limit = pair.context_limit or 10**9
    alike = _likeness(records) if settings.companions and settings.companions_by == "nearest" else None
    rows = []
    for i, record in enumerate(records):
        text = [*text_ids(pair.tokenizer, record.text), pair.tokenizer.eos_token_id]
        prompt = task.prompt(record.fields)
        before: list[str] = []
        if rng.random() < settings.companions:
            others = [j for j, r in enumerate(records) if j != i and task.prompt(r.fields) == prompt]
            if alike is not None:
                others = sorted(others, key=lambda j: -alike[i, j])[:COMPANIONS]
            most = rng.randint(1, COMPANIONS) if settings.companions_by == "echo" else COMPANIONS
            before = [records[j].text for j in rng.sample(others, min(most, len(others)))]
            if settings.companions_by == "echo" and before and rng.random() < ECHO:
                before[rng.randrange(len(before))] = record.text
        while before and len(prompt_ids(pair.tokenizer, prompt, before, form)) + len(text) > limit:
            before.pop()
        shown = prompt_ids(pair.tokenizer, prompt, before, form)
        if len(shown) + len(text) <= limit:
            rows.append({"input_ids": [*shown, *text], "labels": [-100] * len(shown) + text})
    return rows


def _likeness(records: Sequence[Record]) -> Any:
    """(N, N) cosines of the texts' TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(token_pattern=r"\S+").fit_transform(record.text for record in records)
    return (words @ words.T).toarray()


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Rows of different length -> (B, T) tensors, filled up on the right; the filling is masked and has no label."""

    def stack(name: str, fill: int) -> Tensor:
        return pad_sequence([torch.tensor(row[name]) for row in rows], batch_first=True, padding_value=fill)

    mask = pad_sequence([torch.ones(len(row["input_ids"]), dtype=torch.long) for row in rows], batch_first=True)
    return {"input_ids": stack("input_ids", 0), "attention_mask": mask, "labels": stack("labels", -100)}


def _losses_to(progress: Progress) -> Any:
    """A Trainer callback that shows the steps done and the newest losses."""
    from transformers import TrainerCallback

    class Losses(TrainerCallback):  # type: ignore[misc]
        note = ""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            progress.advance(1, self.note)

        def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
            losses = [row["loss"] for row in state.log_history if "loss" in row]
            trained = f"loss {losses[-1]:.3f}, " if losses else ""
            self.note = f"{trained}validation {metrics['eval_loss']:.3f}"

    return Losses()
