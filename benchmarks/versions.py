"""Versions with different answers: a checkpoint, and the same with noise or with an adapter."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForImageTextToText

from services.core.presets import Hyperparameters
from services.engines.checkpoint import weights_sha256
from services.engines.fake import FakeModel
from services.student.lora import add_adapter, save_adapter

NOISE = 1.5
"""Times each matrix's standard deviation: changes a third of the answers, which remain words."""
ADAPTER_STD = 0.4
"""Standard deviation of an adapter's second matrix, which is zero before training."""
LORA_RANK = 8


def noisy(base: Path, folder: Path, seed: int) -> Path:
    """A checkpoint with noise on the output side of every block of the language model."""
    model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto")
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                tensor.add_(
                    torch.randn(tensor.shape).to(tensor.dtype) * tensor.float().std() * NOISE
                )
    return _saved(model, base, folder)


def adapted(base: Path, folder: Path, seed: int) -> Path:
    """A checkpoint with a random adapter for `base` in folder/adapter, merged into its weights."""
    model: Any = AutoModelForImageTextToText.from_pretrained(base, dtype="float32")
    peft = add_adapter(
        model, Hyperparameters(learning_rate=1e-3, lora_rank=LORA_RANK, lora_alpha=float(LORA_RANK))
    )
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, tensor in peft.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=ADAPTER_STD)
    save_adapter(peft, weights_sha256(base), folder / "adapter")
    return _saved(peft.merge_and_unload(), base, folder)


def fake(folder: Path, skill: float, *, is_adapter: bool = False, latency_s: float = 0.0) -> Path:
    model = FakeModel(skill=skill, latency_s=latency_s)
    model.write(folder)
    if is_adapter:
        model.write(folder / "adapter")
    return folder


def _saved(model: Any, base: Path, folder: Path) -> Path:
    model.save_pretrained(folder)
    for file in base.iterdir():
        if file.is_file() and not (folder / file.name).exists() and ".safetensors" not in file.name:
            shutil.copy2(file, folder / file.name)
    return folder
