"""Dimensions of a checkpoint on disk, and the size of its largest sample, for memory estimates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import AutoConfig

from services.core.memory import TEXT_TOKENS, Dimensions, Shape, Tower
from services.core.training_memory import SampleSize
from services.engines import weights
from services.engines.images import LoadedImage
from services.engines.model import Prompt
from services.engines.rendering import renderer

LARGE_PHOTOS = ((4032, 3024), (3584, 3584))
"""Pixels of photos that reach the pixel budget of every image processor, whole and in tiles."""


def read_dimensions(folder: Path) -> Dimensions:
    """Parameters from the headers of the weights, shapes from config.json.

    Raises InvalidInput: a damaged header; ValueError: an architecture unknown to transformers.
    """
    return dimensions(AutoConfig.from_pretrained(folder), weights.parameters(folder))


def dimensions(config: Any, parameters: int) -> Dimensions:
    """Dimensions of a model with this configuration of transformers."""
    text = config.get_text_config()
    heads = text.num_attention_heads
    language = Shape(
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        intermediate=text.intermediate_size,
        heads=heads,
        key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
        head_size=getattr(text, "head_dim", None) or text.hidden_size // heads,
        vocabulary=text.vocab_size,
    )
    return Dimensions(parameters, language, _tower(config))


def _tower(config: Any) -> Tower | None:
    vision = getattr(config, "vision_config", None)
    if vision is None:
        return None
    # Qwen2-VL: `hidden_size` is the width of the tower's output.
    hidden = getattr(vision, "embed_dim", None) or vision.hidden_size
    ratio = getattr(vision, "mlp_ratio", None) or 4
    return Tower(
        layers=getattr(vision, "depth", None) or vision.num_hidden_layers,
        hidden=hidden,
        intermediate=getattr(vision, "intermediate_size", None) or int(hidden * ratio),
    )


def largest_sample(folder: Path) -> SampleSize:
    """Size of a training sample with a large photo, by the checkpoint's own processor.

    Raises InvalidInput: unreadable processor.
    """
    render = renderer(folder)
    found = [render(Prompt(LoadedImage("", Image.new("RGB", side)), "")) for side in LARGE_PHOTOS]
    return SampleSize(
        tokens=max(rendering.tokens for rendering in found) + TEXT_TOKENS,
        patches=max(count_patches(folder, json.loads(one.grid)["pixel_values"]) for one in found),
    )


def count_patches(folder: Path, pixels: list[int]) -> int:
    """Patches in a tensor of pixels: one row each, or images of them: (..., channels, y, x)."""
    if len(pixels) == 2:
        return pixels[0]
    config: Any = AutoConfig.from_pretrained(folder)
    size = config.vision_config.patch_size
    height, width = size if isinstance(size, list | tuple) else (size, size)
    tiles = 1
    for count in pixels[:-3]:
        tiles *= count
    return tiles * (pixels[-2] // int(height)) * (pixels[-1] // int(width))
