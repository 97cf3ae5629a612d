"""Checkpoints of a training: its start, the one to resume from, and its result."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import (
    AutoModelForImageTextToText,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from services.core.presets import Hyperparameters
from services.engines.checkpoint import weights_sha256
from services.engines.patches import multiply_patches
from services.engines.tensors import require_whole
from services.student.lora import add_adapter, save_adapter
from services.student.manifest import ADAPTER
from services.student.trainable import freeze

EVERY_STEPS = 50
EVERY_S = 600.0
COSTS_AT_MOST = 20


def read_model(base: Path, attention: str | None = None) -> Any:
    """Read a checkpoint in its own number format. Raises InvalidInput: it is not whole.

    `attention`: an implementation of transformers; None: the usual one.
    """
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        base,
        dtype="auto",
        use_safetensors=True,
        output_loading_info=True,
        attn_implementation=attention,
    )
    model, info = loaded
    require_whole(base, info)
    multiply_patches(model)
    return model


def read_student(
    base: Path,
    settings: Hyperparameters,
    *,
    in_bf16: bool = False,
    attention: str | None = None,
) -> tuple[Any, torch.dtype]:
    """Read the model to train, with any adapter, and its number format on disk.

    Trained weights are in fp32. Frozen ones, such as an adapter's base, keep their own format if
    the training computes in bfloat16 (`in_bf16`): nothing is added to them, so nothing is rounded
    away.
    """
    model = read_model(base, attention)
    dtype = model.dtype
    is_partial = freeze(model, settings)
    if in_bf16 and is_partial:
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    elif not (settings.lora_rank and in_bf16):
        model = model.float()
    return (add_adapter(model, settings) if settings.lora_rank else model), dtype


def gather(trainer: Trainer, base: Path, settings: Hyperparameters) -> Any:
    """The whole trained model on the first process's CPU; on the others, None.

    Shards are gathered one tensor after another (all processes take part), so no device holds the
    model. The first process's memory holds it in fp32, and once more in the format of its base.
    Gradients and optimizer state, which may be in the same memory, are freed first.
    """
    trained: Any = trainer.model
    optimizer: Any = trainer.optimizer
    optimizer.state.clear()
    trained.zero_grad()
    shards = trainer.accelerator.get_state_dict(trained)
    if not trainer.is_world_process_zero():
        return None
    model = read_model(base)
    whole = add_adapter(model, settings) if settings.lora_rank else model
    whole.load_state_dict(shards)
    return whole


def save(model: Any, dtype: torch.dtype, base: Path, output: Path) -> None:
    """Write a checkpoint in the form of its base: number format, tokenizer, processor, template.

    A model with an adapter is written twice: merged, and as the adapter alone in `adapter/`.
    """
    if isinstance(model, PeftModel):
        save_adapter(model, weights_sha256(base), output / ADAPTER)
        model = model.merge_and_unload(safe_merge=True)
    model.to(dtype).save_pretrained(output)
    for file in base.iterdir():
        if file.is_file() and not (output / file.name).exists() and ".safetensors" not in file.name:
            shutil.copy2(file, output / file.name)


def is_due(step: int, since_s: float, cost_s: float) -> bool:
    """Whether to write a checkpoint after a step, N seconds after the last one, which cost M.

    That is each EVERY_STEPS steps, or after EVERY_S seconds. Writing takes at most 1 /
    COSTS_AT_MOST of the time: a checkpoint of a 2B model has 26 GB.
    """
    return since_s >= cost_s * COSTS_AT_MOST and (step % EVERY_STEPS == 0 or since_s >= EVERY_S)


class CheckpointClock(TrainerCallback):
    """Callback that saves a checkpoint when it is due. The result follows the last step."""

    def __init__(self) -> None:
        self._saved = self._decided = time.monotonic()
        self._cost_s = 0.0

    def on_train_begin(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = time.monotonic()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._decided = time.monotonic()
        due = is_due(state.global_step, self._decided - self._saved, self._cost_s)
        is_last = state.global_step >= state.max_steps
        control.should_save = not is_last and _as_the_first_process(due, args)

    def on_save(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._saved = time.monotonic()
        self._cost_s = self._saved - self._decided


def _as_the_first_process(decision: bool, args: Any) -> bool:
    """The first process's decision in all: clocks differ, and all write a checkpoint together."""
    if args.world_size == 1:
        return decision
    shared = torch.tensor(int(decision), device=args.device)
    torch.distributed.broadcast(shared, 0)
    return bool(shared.item())


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint. The trainer writes trainer_state.json last."""
    steps = (path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*"))
    for step in sorted((int(step) for step in steps if step.isdecimal()), reverse=True):
        checkpoint = folder / f"checkpoint-{step}"
        if _is_json(checkpoint / "trainer_state.json"):
            return str(checkpoint)
    return None


def remove_unfinished(folder: Path) -> None:
    """Remove checkpoints that a kill interrupted: they take as much disk as whole ones."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not _is_json(checkpoint / "trainer_state.json"):
            shutil.rmtree(checkpoint, ignore_errors=True)


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False
