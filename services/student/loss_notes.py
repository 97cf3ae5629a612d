"""Notes of each sample's loss while the trainer computes it: no further forward pass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback, TrainerControl, TrainerState

from services.student.batches import EffectiveBatches
from services.student.encoding import IGNORED
from services.student.sample_losses import resumed

WAITING = 64
"""Micro batches whose losses wait on the device: reading each at once would hold it up."""


class LossNotes(TrainerCallback):
    """Callback that keeps the losses of the samples that this process meets (sample_losses.py)."""

    def __init__(
        self, folder: Path, batches: EffectiveBatches, *, epochs: int, samples: int, rank: int
    ) -> None:
        self._folder = folder
        self._batches = batches
        self._rank = rank
        self._kept = resumed(folder, rank, epochs, samples)
        self._waiting: list[tuple[int, torch.Tensor, torch.Tensor]] = []

    def take(
        self, logits: torch.Tensor, targets: torch.Tensor, inputs: dict[str, torch.Tensor]
    ) -> None:
        """Notes the losses of a micro batch. Anchors have none, nor have rows without labels."""
        learned = (targets != IGNORED).any(1)
        if "anchors" in inputs:
            learned = learned & (inputs["anchors"] == 0)
        losses = torch.stack(list(_mean_losses(logits.detach(), targets)))
        losses = torch.where(learned, losses, torch.nan)
        self._waiting.append((self._batches.epoch, inputs["places"], losses))
        if len(self._waiting) >= WAITING:
            self._settle()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Writes them before a checkpoint: steps that a kill repeats are noted once more."""
        if control.should_save:
            self._write()

    def on_train_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._write()

    def _write(self) -> None:
        self._settle()
        self._kept.write(self._folder, self._rank)

    def _settle(self) -> None:
        for epoch, places, losses in self._waiting:
            for place, loss in zip(places.tolist(), losses.tolist(), strict=True):
                if math.isfinite(loss):
                    self._kept.note(epoch, place, loss)
        self._waiting.clear()


def _mean_losses(logits: torch.Tensor, targets: torch.Tensor) -> Iterator[torch.Tensor]:
    """Mean over the tokens of each row: one by one, since a copy of all logits may be large."""
    for scores, wanted in zip(logits, targets, strict=True):
        yield cross_entropy(scores.float(), wanted, ignore_index=IGNORED)
