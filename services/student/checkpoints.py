"""Checkpoints of a training: its start, the one to resume from, and its result."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText

from services.core.presets import Hyperparameters
from services.engines.checkpoint import weights_sha256
from services.engines.tensors import require_whole
from services.student.lora import add_adapter, save_adapter
from services.student.manifest import ADAPTER


def read_student(base: Path, settings: Hyperparameters) -> tuple[Any, torch.dtype]:
    """Read the model to train, in fp32 and with any adapter, and its number format on disk."""
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        base, dtype="auto", use_safetensors=True, output_loading_info=True
    )
    model, info = loaded
    require_whole(base, info)
    dtype = model.dtype
    model = model.float()
    return (add_adapter(model, settings) if settings.lora_rank else model), dtype


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


def last_whole_checkpoint(folder: Path) -> str | None:
    """The newest complete checkpoint. The trainer writes trainer_state.json last."""
    steps = (path.name.removeprefix("checkpoint-") for path in folder.glob("checkpoint-*"))
    for step in sorted((int(step) for step in steps if step.isdecimal()), reverse=True):
        checkpoint = folder / f"checkpoint-{step}"
        if _is_json(checkpoint / "trainer_state.json"):
            return str(checkpoint)
    return None


def _is_json(path: Path) -> bool:
    try:
        return bool(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False
