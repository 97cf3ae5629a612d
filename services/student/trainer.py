"""The trainer of a job: its settings, samples and model, ready to start."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, TrainingArguments, set_seed

from services.core.presets import Hyperparameters
from services.core.training_memory import SampleSize
from services.engines.dimensions import count_patches
from services.student.attempts import execution_of
from services.student.base_answers import (
    BaseAnswers,
    BaseRespondent,
    anchors_among,
    read_answers,
    write_answers,
)
from services.student.batches import EffectiveBatches
from services.student.checkpoints import CheckpointClock, read_student
from services.student.datasets import DatasetStore, TrainingSample
from services.student.encoding import EncodedSamples, Encoder, Row, collate
from services.student.execution import Execution
from services.student.job import Job
from services.student.leveler import Leveler, Reporter
from services.student.loss_notes import LossNotes
from services.student.store import verified

MEASURED = 32
"""Samples that are encoded to estimate the memory of the largest."""
AT_ONCE = 4
"""Answers for each sample of a micro batch that are computed together: they keep no activations."""
PLAIN_LENGTH = 512
"""Longest sequence whose attention scores take less memory than its other activations."""


def computes_in_bf16(execution: Execution) -> bool:
    """Whether the training computes in bfloat16 on this machine."""
    return execution.precision == "bf16" or (
        execution.precision == "auto"
        and torch.cuda.is_available()
        and torch.cuda.is_bf16_supported()
    )


def training_arguments(
    settings: Hyperparameters, execution: Execution, samples: int, checkpoints: Path
) -> TrainingArguments:
    """Settings of the trainer for a number of samples. A last, partial batch counts as a step."""
    steps = math.ceil(samples / settings.batch_size) * settings.epochs
    micro_batch, accumulation = execution.divide(settings.batch_size)
    on_gpu = torch.cuda.is_available()
    sharding = {
        "activation_checkpointing": execution.gradient_checkpointing,
        # The whole model and its optimizer would be gathered, and the weights written twice.
        "state_dict_type": "SHARDED_STATE_DICT",
        "cpu_offload": execution.offload,
    }
    return TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        optim="adamw_torch_fused",
        bf16=computes_in_bf16(execution),
        use_cpu=not on_gpu,
        gradient_checkpointing=execution.gradient_checkpointing and not execution.uses_fsdp,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        # Some towers end in unused layers (LLaVA takes the penultimate features).
        ddp_find_unused_parameters=True,
        # The norm of gradients that are in this machine's memory is reduced there.
        ddp_backend="cuda:nccl,cpu:gloo" if execution.offload and on_gpu else None,
        # The annotation of `fsdp` lags behind its documentation.
        fsdp=execution.uses_fsdp or None,  # type: ignore[arg-type]
        fsdp_config=sharding if execution.uses_fsdp else None,
        # Or else each process would hold the gradients of the whole model between micro batches.
        accelerator_config=(
            {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
            if execution.uses_fsdp
            else None
        ),
        dataloader_num_workers=execution.workers,
        dataloader_persistent_workers=execution.workers > 0,
        dataloader_pin_memory=on_gpu,
        seed=settings.seed,
        data_seed=settings.seed,
        logging_steps=10,
        save_strategy="no",  # CheckpointClock saves
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
    )


def prepare(folder: Path, job: Job) -> tuple[Leveler, torch.dtype]:
    """The trainer with its model on the device, and the model's number format on disk."""
    settings = job.hyperparameters
    execution = execution_of(folder, job)
    base = Path(job.base_folder)
    set_seed(settings.seed)
    with verified(base):
        encoder = _encoder_of(job)
        in_bf16 = computes_in_bf16(execution)
        attention = _attention(job) if in_bf16 and not torch.cuda.is_available() else None
        model, dtype = read_student(base, settings, in_bf16=in_bf16, attention=attention)
    chosen, besides = _told(folder, job, model, encoder)
    encoder.forget_others(chosen)
    samples = EncodedSamples(chosen, encoder, besides, has_places=True)
    arguments = training_arguments(settings, execution, len(samples), folder / "checkpoints")
    batches = EffectiveBatches(
        len(samples),
        settings.batch_size,
        arguments.per_device_train_batch_size,
        processes=arguments.world_size,
        process=arguments.process_index,
        seed=settings.seed,
        lengths=samples.lengths() if execution.group_by_length else (),
    )
    trainer = Leveler(
        loss=settings.loss,
        batches=batches,
        losses=LossNotes(
            folder,
            batches,
            epochs=settings.epochs,
            samples=len(samples),
            rank=arguments.process_index,
        ),
        tower_rate=settings.tower_rate,
        model=model,
        args=arguments,
        train_dataset=samples,
        data_collator=partial(collate, pad_token=encoder.pad_token),
        callbacks=[Reporter(folder, settings.batch_size), CheckpointClock()],
    )
    return trainer, dtype


def answer_anchors(folder: Path, job: Job) -> None:
    """Keep the base's answers to the job's anchors, if there are any, before its ranks start."""
    anchors = anchors_among(DatasetStore(Path(job.store)).samples(job.dataset))
    if not anchors or read_answers(folder, anchors) is not None:
        return
    base = Path(job.base_folder)
    with verified(base):
        encoder = _encoder_of(job)
        in_bf16 = computes_in_bf16(execution_of(folder, job))
        model, _ = read_student(base, job.hyperparameters, in_bf16=in_bf16)
    _ask_base(folder, job, model, encoder, anchors)


def _told(
    folder: Path, job: Job, model: Any, encoder: Encoder
) -> tuple[list[TrainingSample], dict[TrainingSample, Row]]:
    """The job's samples with the base's answers to its anchors, and the rest of these' rows."""
    samples = DatasetStore(Path(job.store)).samples(job.dataset)
    if not (anchors := anchors_among(samples)):
        return samples, {}
    answers = read_answers(folder, anchors) or _ask_base(folder, job, model, encoder, anchors)
    told = {anchor: replace(anchor, answer=answers[anchor].text) for anchor in anchors}
    besides = {told[anchor]: answers[anchor].row(anchor.weight) for anchor in anchors}
    return [told.get(sample, sample) for sample in samples], besides


def _ask_base(
    folder: Path, job: Job, model: Any, encoder: Encoder, anchors: Sequence[TrainingSample]
) -> BaseAnswers:
    execution = execution_of(folder, job)
    micro_batch, _ = execution.divide(job.hyperparameters.batch_size)
    base = BaseRespondent(
        model,
        encoder,
        max_new_tokens=job.contract.max_new_tokens,
        in_bf16=computes_in_bf16(execution),
    )
    answers = base.answer(anchors, AT_ONCE * micro_batch)
    write_answers(folder, answers)
    return dict(zip(anchors, answers, strict=True))


def largest_of(job: Job) -> SampleSize:
    """Size of the largest of some of the job's samples, encoded as they are trained."""
    base = Path(job.base_folder)
    samples = DatasetStore(Path(job.store)).samples(job.dataset)
    few = random.Random(job.hyperparameters.seed).sample(samples, min(MEASURED, len(samples)))
    encoder = _encoder_of(job)
    rows = [encoder(sample) for sample in few]
    return SampleSize(
        tokens=max(row["input_ids"].shape[1] for row in rows),
        patches=max(count_patches(base, list(row["pixel_values"].shape)) for row in rows),
    )


def _attention(job: Job) -> str | None:
    """Attention of a training on a CPU in bfloat16; None: the usual one.

    There the backward pass of fused attention takes twice as long as that of plain products. Only
    short sequences have room for those.
    """
    largest = largest_of(job)
    return "eager" if max(largest.tokens, largest.patches) <= PLAIN_LENGTH else None


def forget_rows() -> None:
    """Free the memory of rows that are kept for later jobs."""
    _encoder.cache_clear()


def _encoder_of(job: Job) -> Encoder:
    contract = job.contract
    return _encoder(job.base_folder, job.store, contract.training_template, contract.system_prompt)


@lru_cache(maxsize=1)
def _encoder(base: str, store: str, template: str, system_prompt: str) -> Encoder:
    """The encoder of a job, and of the jobs after it in this process that encode alike."""
    processor = AutoProcessor.from_pretrained(base)
    return Encoder(processor, DatasetStore(Path(store)), template, system_prompt)
