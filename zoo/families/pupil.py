"""A model in training, with the parts that only training needs."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import PreTrainedTokenizerFast

from zoo.anatomy import Model, connect, see
from zoo.architecture import Size
from zoo.families.lessons import Exercise, Told
from zoo.families.spotting import Names, Spotter
from zoo.families.transplant import Original, compare, norms_of, recorded
from zoo.packing import View, compute_loss, find_right, look


class Pupil(nn.Module):
    """A model with a Spotter and Names; only `model` is saved."""

    def __init__(
        self,
        model: Model,
        size: Size,
        tokenizer: PreTrainedTokenizerFast,
        original: Original | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self._spotter = Spotter(size.vision_width)
        self._names = Names(tokenizer, size.hidden)
        self._original = original

    def compute_loss(self, exercise: Exercise, told: Told = Told.ALL) -> torch.Tensor:
        """Sum of the losses of spots, names and replies that `told` includes."""
        with torch.autocast("cpu", torch.bfloat16):
            if told is Told.REPLIES:
                view = self._look_with_a_still_tower(exercise)
                return self._name(view, exercise) + self._reply(view, exercise)
            if told is Told.TOWER:
                return self._imitate(exercise)
            view = look(self.model, exercise.batch)
            loss = self._spotter.compute_loss(view.patches, exercise.spots) + self._name(
                view, exercise
            )
            return loss if told is Told.SPOTS else loss + self._reply(view, exercise)

    def _look_with_a_still_tower(self, exercise: Exercise) -> View:
        """A view that trains only the connector, not the tower."""
        with torch.no_grad():
            patches = see(self.model, exercise.batch.pixels, exercise.batch.grid)
        return View(patches, connect(self.model, patches))

    def _imitate(self, exercise: Exercise) -> torch.Tensor:
        """Loss of the contents that another tower has, and of names."""
        pixels, grid = exercise.batch.pixels, exercise.batch.grid
        assert self._original is not None
        with recorded(norms_of(self.model)) as seen:
            view = look(self.model, exercise.batch)
        contents = compare(seen, self._original.look(pixels, grid), grid)
        return contents + self._name(view, exercise)

    def _name(self, view: View, exercise: Exercise) -> torch.Tensor:
        """Loss of the words that a visual token gives without the language model's layers."""
        left = self.model.model.get_decoder().norm(view.tokens)
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
