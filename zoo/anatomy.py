"""Parts of a model in training under one name each, for Qwen2-VL and Idefics3.

Patches are ordered by the visual token that they are merged into. All images are squares of one
size.
"""

from __future__ import annotations

from math import isqrt

import torch
from PIL import Image
from torch import nn
from transformers import (
    Idefics3ForConditionalGeneration,
    Idefics3Processor,
    Qwen2VLForConditionalGeneration,
    Qwen2VLProcessor,
)

from zoo.architecture import MERGE

Model = Qwen2VLForConditionalGeneration | Idefics3ForConditionalGeneration
Processor = Qwen2VLProcessor | Idefics3Processor


def prepare(processor: Processor, images: list[Image.Image]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels, and the grids (images, 3) of patches: moments, rows, columns."""
    prepared = processor.image_processor(images, return_tensors="pt")
    if isinstance(processor, Qwen2VLProcessor):
        return prepared.pixel_values, prepared.image_grid_thw
    side = MERGE * isqrt(processor.image_seq_len)
    return prepared.pixel_values[0], torch.tensor([[1, side, side]] * len(images))


def tower(model: Model) -> dict[str, torch.Tensor]:
    """Weights of the vision tower without the connector, by name."""
    whole: nn.Module = model.model.visual if _is_qwen(model) else model.model.vision_model
    return {
        name: parameter.detach()
        for name, parameter in whole.named_parameters()
        if not name.startswith("merger.")
    }


def see(model: Model, pixels: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Output of the vision tower: (patches, vision width)."""
    seen: torch.Tensor
    if _is_qwen(model):
        seen = model.model.visual(pixels, grid_thw=grid).last_hidden_state
        return seen
    seen = model.model.vision_model(pixel_values=pixels).last_hidden_state
    return arrange(seen, grid)


def arrange(seen: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Order an Idefics3's patches (images, patches, width), row by row, as a Qwen2-VL's."""
    images, _, width = seen.shape
    rows, columns = (int(count) // MERGE for count in grid[0, 1:])
    blocks = seen.view(images, rows, MERGE, columns, MERGE, width)
    return blocks.transpose(2, 3).reshape(-1, width)


def cut(pixels: torch.Tensor, patch: int) -> torch.Tensor:
    """Cut an Idefics3's pixels (images, channels, side, side) into a Qwen2-VL's patches."""
    images, channels, side, _ = pixels.shape
    tokens = side // patch // MERGE
    cells = pixels.view(images, channels, tokens, MERGE, patch, tokens, MERGE, patch)
    patches = cells.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6).expand(*[-1] * 6, 2, -1, -1)
    return patches.reshape(images * (side // patch) ** 2, -1)


def connect(model: Model, patches: torch.Tensor) -> torch.Tensor:
    """Visual tokens of the output of `see`: (visual tokens, width)."""
    tokens: torch.Tensor
    if _is_qwen(model):
        tokens = model.model.visual.merger(patches)
    else:
        tokens = model.model.connector.modality_projection(
            patches.view(-1, MERGE**2 * patches.shape[-1])
        )
    return tokens


def place(model: Model, alone: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Rotary positions of one conversation's tokens (1, length): (length), or (3, length)."""
    if not _is_qwen(model):
        return torch.arange(alone.shape[1])
    positions: torch.Tensor
    positions, _ = model.model.get_rope_index(
        alone,
        mm_token_type_ids=(alone == model.config.image_token_id).int(),
        image_grid_thw=grid[:1],
    )
    return positions[:, 0]


def _is_qwen(model: Model) -> bool:
    return isinstance(model, Qwen2VLForConditionalGeneration)
