"""A model that is taught, with the part that only training needs."""

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
    """`model` is what is kept."""

    def __init__(
        self, model: Qwen2VLForConditionalGeneration, size: Size, tokenizer: PreTrainedTokenizerFast
    ) -> None:
        super().__init__()
        self.model = model
        self._spotter = Spotter(size.vision_width)
        self._names = Names(tokenizer, size.hidden)

    def compute_loss(self, exercise: Exercise, told: Told = Told.ALL) -> torch.Tensor:
        """Of the spots, of what they are called, and of the replies: the sum of those that are `told`."""
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
        """What is learned is how patches are put to the language model, not how they are seen."""
        with torch.no_grad():
            patches = look(self.model, exercise.batch).patches
        return View(patches, self.model.model.visual.merger(patches))

    def _name(self, view: View, exercise: Exercise) -> torch.Tensor:
        """What the language model would say of a visual token that it left as it is."""
        left = self.model.model.language_model.norm(view.tokens)
        return self._names.compute_loss(left, self.model.lm_head, exercise.spots)

    def _reply(self, view: View, exercise: Exercise) -> torch.Tensor:
        # The fused kernel's backward pass takes four times as long for rows of this length.
        with sdpa_kernel(SDPBackend.MATH):
            return compute_loss(self.model, exercise.batch, view)

    @torch.no_grad()
    def find_right(self, exercise: Exercise) -> tuple[list[bool], list[bool]]:
        """Of each question, in their order, and of each spot that is not nothing."""
        with torch.autocast("cpu", torch.bfloat16):
            view = look(self.model, exercise.batch)
            spots = self._spotter.find_right(view.patches, exercise.spots)
            is_asked = exercise.batch.conversations > 0
            return find_right(self.model, exercise.batch, view) if is_asked else [], spots.tolist()
