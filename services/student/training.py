"""Parity Leveler (paper, Section 3.3, Algorithm 4): trains a student on a parity set, in a process of its own.

    python -m services.student.training STORE/jobs/<id>

The whole student trains, vision tower and connector included, with AdamW, cosine decay and warm-up (Table 11), from fp32
master weights. Stopped at any moment and started again it goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)

from services.core.presets import Hyperparameters
from services.core.tasks import answer_prompt
from services.engines.chat import user_turn
from services.engines.images import load_image
from services.student.datasets import DatasetStore, TrainingSample
from services.student.job import Job, Stopwatch, die_with_parent

IGNORED = -100
CHECKPOINT_EVERY_STEPS = 50


class Collator:
    """Samples -> a right-padded batch whose labels are the answer and the end-of-turn token, nothing else.

    The prompt is tokenized exactly as the engine does to serve it (image tokens expanded, generation prompt included), then
    the answer's tokens follow as they would be generated. Nothing is truncated.
    """

    def __init__(self, processor: Any, datasets: DatasetStore, template: str) -> None:
        self._processor = processor
        self._datasets = datasets
        self._template = template

    def __call__(self, samples: list[TrainingSample]) -> dict[str, torch.Tensor]:
        tokenizer = self._processor.tokenizer
        texts = [
            self._processor.apply_chat_template(
                user_turn(answer_prompt(sample.question, self._template)), add_generation_prompt=True, tokenize=False
            )
            for sample in samples
        ]
        images = [[load_image(self._datasets.image_path(sample.image_sha256).read_bytes()).pixels] for sample in samples]
        inputs = self._processor(text=texts, images=images, padding=True, padding_side="right", return_tensors="pt")
        targets = [
            tokenizer(sample.answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for sample in samples
        ]
        return append_targets(dict(inputs), targets, pad=tokenizer.pad_token_id or 0)


def append_targets(inputs: dict[str, torch.Tensor], targets: list[list[int]], pad: int) -> dict[str, torch.Tensor]:
    """Puts each row's target tokens behind its prompt. Tensors shaped (batch, length) grow with it; pixels stay as they are."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    lengths = mask.sum(-1).tolist()
    width = max(length + len(target) for length, target in zip(lengths, targets, strict=True))
    batch = {name: tensor for name, tensor in inputs.items() if tensor.shape != ids.shape}
    for name in (name for name, tensor in inputs.items() if tensor.shape == ids.shape):
        grown = torch.full((len(targets), width), pad if name == "input_ids" else 0, dtype=inputs[name].dtype)
        for row, length in enumerate(lengths):
            grown[row, :length] = inputs[name][row, :length]
        batch[name] = grown
    batch["labels"] = torch.full((len(targets), width), IGNORED, dtype=ids.dtype)
    for row, (length, target) in enumerate(zip(lengths, targets, strict=True)):
        tokens = torch.tensor(target, dtype=ids.dtype)
        span = slice(length, length + len(target))
        batch["input_ids"][row, span] = tokens
        batch["attention_mask"][row, span] = 1
        batch["labels"][row, span] = tokens
    return batch


class Leveler(Trainer):
    """Trainer with the loss of Eq. 3 ("sample": sum over tokens, mean over samples) or the token mean ("token")."""

    def __init__(self, *, loss: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._loss = loss

    def compute_loss(
        self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        logits = outputs.logits[:, :-1].flatten(0, 1).float()
        total = cross_entropy(logits, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum")
        items = labels.shape[0] if self._loss == "sample" else int((labels != IGNORED).sum())
        loss = total / items
        return (loss, outputs) if return_outputs else loss

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Reads a checkpoint as `from_pretrained` does.

        `save_pretrained` writes some architectures (Qwen2-VL) under their older tensor names; the trainer's own way of
        reading does not translate them back, warns, and would go on from the base weights (transformers 5.19).
        """
        model = model or self.model
        saved = type(model).from_pretrained(resume_from_checkpoint, dtype=model.dtype, use_safetensors=True)
        model.load_state_dict(saved.state_dict())


class Reporter(TrainerCallback):
    """Writes progress.json."""

    def __init__(self, folder: Path, batch_size: int) -> None:
        self._folder = folder
        self._batch_size = batch_size
        self._watch: Stopwatch | None = None
        self._loss = 0.0

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self._loss = float((logs or {}).get("loss", self._loss))

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._watch = Stopwatch(self._folder, self._batch_size, state.global_step, state.max_steps)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        assert self._watch is not None
        self._watch.report(state.global_step, self._loss)


def training_arguments(settings: Hyperparameters, samples: int, checkpoints: Path) -> TrainingArguments:
    """The trainer's settings, for a given number of samples (the last, partial batch counts as a step)."""
    steps = math.ceil(samples / settings.batch_size) * settings.epochs
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=settings.batch_size,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        optim="adamw_torch",
        bf16=on_gpu,
        use_cpu=not on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=10,
        save_steps=CHECKPOINT_EVERY_STEPS,
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=on_gpu,
    )


def save(model: Any, dtype: torch.dtype, base: Path, output: Path) -> None:
    """Writes the checkpoint as the base is: same number format, same tokenizer, processor and template files."""
    beside = output.with_name("output.partial")
    shutil.rmtree(beside, ignore_errors=True)
    model.to(dtype).save_pretrained(beside)
    for file in base.iterdir():
        if file.is_file() and not (beside / file.name).exists() and ".safetensors" not in file.name:
            shutil.copy2(file, beside / file.name)
    beside.rename(output)


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end: the trainer writes trainer_state.json last."""
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((str(path) for path in by_step if _is_json(path / "trainer_state.json")), None)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def train(folder: Path) -> None:
    """Does the job in `folder`, from its last checkpoint if there is one."""
    output = folder / "output"
    if output.is_dir():
        return
    job = Job.read(folder)
    settings = job.hyperparameters
    base = Path(job.base_folder)
    datasets = DatasetStore(Path(job.store))
    samples = datasets.samples(job.dataset)
    set_seed(settings.seed)
    processor = AutoProcessor.from_pretrained(base)
    dtype = AutoModelForImageTextToText.from_pretrained(base, dtype="auto", use_safetensors=True).dtype
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32, use_safetensors=True)
    trainer = Leveler(
        loss=settings.loss,
        model=model,
        args=training_arguments(settings, len(samples), folder / "checkpoints"),
        train_dataset=samples,
        data_collator=Collator(processor, datasets, job.training_template),
        callbacks=[Reporter(folder, settings.batch_size)],
    )
    trainer.train(resume_from_checkpoint=last_whole_checkpoint(folder / "checkpoints"))
    save(trainer.model, dtype, base, output)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


if __name__ == "__main__":
    die_with_parent()
    train(Path(sys.argv[1]))
