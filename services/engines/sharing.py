"""Prompts of a batch about the same image share its pixels and what the vision tower makes of them.

Questions about an image tend to come together (an annotation has several, streams send an image once), and looking at it costs
more than answering: a tower of 0.6B parameters reads four patches for each token that the language model reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

MODEL_TYPES = frozenset({"qwen2_vl", "qwen2_5_vl", "idefics3", "internvl", "llava_onevision"})
"""Seen to answer the same. LLaVA's processor counts an image's tokens on its pixels, so it needs all of them."""

_PIXELS = "pixel_"
"""How the tensors of pixels begin (pixel_values, pixel_attention_mask); all others have an entry for each image."""


class DistinctImages:
    """An image processor that works on each image of a call once. What it says of an image, it says as often as it is there."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Sequence[Sequence[Any]], **settings: Any) -> Any:
        """`images`: one list of one image for each prompt."""
        places = distinct([id(image) for (image,) in images])
        if len(set(places)) == len(images):
            return self._processor(images, **settings)
        found = self._processor([images[place] for place in sorted(set(places))], **settings)
        ranks = _ranks(places)
        for name, value in found.items():
            if not name.startswith(_PIXELS):
                found[name] = (
                    value[ranks]
                    if isinstance(value, torch.Tensor)
                    else [value[rank] for rank in ranks]
                )
        return found


def distinct(keys: Sequence[Any]) -> list[int]:
    """Where each key occurs for the first time."""
    first: dict[Any, int] = {}
    return [first.setdefault(key, place) for place, key in enumerate(keys)]


def _ranks(places: Sequence[int]) -> list[int]:
    """The number of each among the distinct ones."""
    rank = {place: number for number, place in enumerate(sorted(set(places)))}
    return [rank[place] for place in places]


def can_share(model: Any) -> bool:
    """Whether a model of that type takes image features in place of pixels (transformers 5.16 has none that does)."""
    return (
        model.config.model_type in MODEL_TYPES
        and "mm_encoder_outputs" in inspect.signature(model.forward).parameters
    )


def share_features(model: Any, inputs: Any, places: Sequence[int]) -> dict[str, Any]:
    """What to `generate` from, given the pixels of distinct images and where each prompt's image occurs first.

    The tower's features, (tokens, width) for each image or one tensor of tiles (tiles, tokens, width), are put in the order of
    the prompts. A prompt has one image.
    """
    firsts, ranks = sorted(set(places)), _ranks(places)
    if len(firsts) == len(places):
        return dict(inputs)
    taken = inspect.signature(model.base_model.get_image_features).parameters
    given = {
        name: value if name.startswith(_PIXELS) else value[firsts]
        for name, value in inputs.items()
        if name in taken
    }
    features = model.base_model.get_image_features(**given, return_dict=True)
    tokens = (inputs["input_ids"][firsts] == model.config.image_token_id).sum(-1)
    features.pooler_output = _repeated(features.pooler_output, tokens, ranks)
    text = {name: value for name, value in inputs.items() if not name.startswith(_PIXELS)}
    return {**text, "mm_encoder_outputs": {"image": features}}


def _repeated(features: Any, tokens: torch.Tensor, ranks: Sequence[int]) -> Any:
    """`features` of images that fill so many `tokens` each, one for each of `ranks`."""
    if not isinstance(features, torch.Tensor):
        return [features[rank] for rank in ranks]
    tiles = tokens * len(features) // tokens.sum()
    of_each = features.split(tiles.tolist())
    return torch.cat([of_each[rank] for rank in ranks])
