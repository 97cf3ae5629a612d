"""A model in training, with the parts that only training needs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast, Qwen2VLForConditionalGeneration

from zoo.architecture import Size
from zoo.families.lessons import Exercise, Told
from zoo.families.spotting import Names, Spotter
from zoo.packing import View, compute_loss, find_right, look


class Pupil(nn.Module):
    """A model with a Spotter and Names; only `model` is saved."""

    def __init__(
        self, model: Qwen2VLForConditionalGeneration, size: Size, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__()
        self.model = model
        self._spotter = Spotter(size.vision_width)
        self._names = Names(tokenizer, size.hidden)

    def compute_loss(self, exercise: Exercise, told: Told = Told.ALL) -> torch.Tensor:
        """Sum of the losses of spots, names and replies that `told` includes."""
        with torch.autocast("cpu", torch.bfloat16):
            if told is Told.REPLIES:
                view = self._look_with_a_still_tower(exercise)
                return self._name(view, exercise) + self._reply(view, exercise)
            view = look(self.model, exercise.batch)
            loss = self._spotter.compute_loss(view.patches, exercise.spots) + self._name(
                view, exercise
            )
            return loss if told is Told.SPOTS else loss + self._reply(view, exercise)

    def _look_with_a_still_tower(self, exercise: Exercise) -> View:
        """A view that trains only the merger, not the rest of the tower."""
        with torch.no_grad():
            patches = look(self.model, exercise.batch).patches
        return View(patches, self.model.model.visual.merger(patches))

    def _name(self, view: View, exercise: Exercise) -> torch.Tensor:
        """Loss of the words that a visual token gives without the language model's layers."""
        left = self.model.model.language_model.norm(view.tokens)
        return self._names.compute_loss(left, self.model.lm_head, exercise.spots)

    def _reply(self, view: View, exercise: Exercise) -> torch.Tensor:
        # The fused kernel's backward pass takes four times as long for rows of this length.
        with sdpa_kernel(SDPBackend.MATH):
            return compute_loss(self.model, exercise.batch, view)

    @torch.no_grad()
    def find_right(self, exercise: Exercise) -> tuple[list[bool], list[bool]]:
        """Is the reply to each question right, and the name of each spot that is not nothing?"""
        with torch.autocast("cpu", torch.bfloat16):
            view = look(self.model, exercise.batch)
            spots = self._spotter.find_right(view.patches, exercise.spots)
            is_asked = exercise.batch.conversations > 0
            return find_right(self.model, exercise.batch, view) if is_asked else [], spots.tolist()
