"""A model that is taught, with the part that only training needs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import Qwen2VLForConditionalGeneration

from zoo.families.lessons import Exercise
from zoo.families.spotting import Spotter
from zoo.packing import compute_loss, find_right, look


class Pupil(nn.Module):
    """`model` is what is kept."""

    def __init__(self, model: Qwen2VLForConditionalGeneration, vision_width: int) -> None:
        super().__init__()
        self.model = model
        self._spotter = Spotter(vision_width)

    def compute_loss(self, exercise: Exercise, *, is_silent: bool = False) -> torch.Tensor:
        """Of the replies and of the spots; of the spots alone where nothing is said."""
        with torch.autocast("cpu", torch.bfloat16):
            view = look(self.model, exercise.batch)
            loss = self._spotter.compute_loss(view.patches, exercise.spots)
            if is_silent:
                return loss
            # The fused kernel's backward pass takes four times as long for rows of this length.
            with sdpa_kernel(SDPBackend.MATH):
                return loss + compute_loss(self.model, exercise.batch, view)

    @torch.no_grad()
    def find_right(self, exercise: Exercise) -> tuple[list[bool], list[bool]]:
        """Of each question, in their order, and of each spot that is not nothing."""
        with torch.autocast("cpu", torch.bfloat16):
            view = look(self.model, exercise.batch)
            spots = self._spotter.find_right(view.patches, exercise.spots)
            is_asked = exercise.batch.conversations > 0
            return find_right(self.model, exercise.batch, view) if is_asked else [], spots.tolist()
