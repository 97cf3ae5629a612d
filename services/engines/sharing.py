"""Prompts of a batch about the same image share its pixels and its features.

Questions about an image tend to arrive together: an annotation has several, and streams send an
image once. Encoding it costs more than answering: a tower of 0.6B parameters reads four patches
for each token that the language model reads.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

MODEL_TYPES = frozenset({"qwen2_vl", "qwen2_5_vl", "idefics3", "internvl", "llava_onevision"})
"""Model types that are tested to answer the same. LLaVA needs all pixels to count image tokens."""

_PIXELS = "pixel_"
"""Prefix of pixel tensors (pixel_values, pixel_attention_mask); others have a row per image."""


class DistinctImages:
    """An image processor that processes each distinct image of a call once.

    Pixels are returned once, every other tensor once for each occurrence.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Sequence[Sequence[Any]], **settings: Any) -> Any:
        """Processes `images`: a list of one image for each prompt."""
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
    """Place of each key's first occurrence."""
    first: dict[Any, int] = {}
    return [first.setdefault(key, place) for place, key in enumerate(keys)]


def _ranks(places: Sequence[int]) -> list[int]:
    """Number of each place among the distinct ones."""
    rank = {place: number for number, place in enumerate(sorted(set(places)))}
    return [rank[place] for place in places]


def can_share(model: Any) -> bool:
    """Whether a model takes image features instead of pixels (none does in transformers 5.16)."""
    return (
        model.config.model_type in MODEL_TYPES
        and "mm_encoder_outputs" in inspect.signature(model.forward).parameters
    )


def share_features(model: Any, inputs: Any, places: Sequence[int]) -> dict[str, Any]:
    """Inputs for `generate`, made from the pixels of distinct images.

    `places`: where each prompt's image occurs first; a prompt has one image. The tower's features
    are (tokens, width) for each image, or one tensor (tiles, tokens, width); they are put in the
    order of the prompts.
    """
    firsts = sorted(set(places))
    ranks = _ranks(places)
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
    """Features of the images at `ranks`; `tokens` is the number of tokens of each image."""
    if not isinstance(features, torch.Tensor):
        return [features[rank] for rank in ranks]
    tiles = tokens * len(features) // tokens.sum()
    of_each = features.split(tiles.tolist())
    return torch.cat([of_each[rank] for rank in ranks])
