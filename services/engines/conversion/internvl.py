"""InternVL2 (1B to 8B) as InternVLForConditionalGeneration."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

from transformers import (
    GenerationConfig,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLProcessor,
    InternVLVideoProcessor,
)

from services.core.errors import InvalidInput
from services.engines.conversion.conversations import find_conversation
from services.engines.conversion.converted import (
    Converted,
    ConvertTensor,
    Tensors,
    read_json,
    unknown_tensor,
)
from services.engines.conversion.language_models import language_model
from services.engines.conversion.tokenizers import read_tokenizer

_IMAGE = "<IMG_CONTEXT>"
_NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": _IMAGE,
    # Frames of a video are images: a token of their own would have no embedding.
    "video_token": _IMAGE,
}
_NORMALIZATION: dict[str, Any] = {
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}
_TOP = {
    "vision_model.embeddings.class_embedding": "vision_tower.embeddings.cls_token",
    "vision_model.embeddings.position_embedding": "vision_tower.embeddings.position_embeddings",
    **{
        f"vision_model.embeddings.patch_embedding.{kind}": (
            f"vision_tower.embeddings.patch_embeddings.projection.{kind}"
        )
        for kind in ("weight", "bias")
    },
    **{
        f"mlp1.{number}.{kind}": f"multi_modal_projector.{part}.{kind}"
        for number, part in ((0, "layer_norm"), (1, "linear_1"), (3, "linear_2"))
        for kind in ("weight", "bias")
    },
}
_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.(.+)")
_PARTS = {
    "ls1": "lambda_1",
    "ls2": "lambda_2",
    **{
        f"{part}.{kind}": f"{new}.{kind}"
        for part, new in {
            "attn.proj": "attention.projection_layer",
            "attn.q_norm": "attention.q_norm",
            "attn.k_norm": "attention.k_norm",
            "mlp.fc1": "mlp.fc1",
            "mlp.fc2": "mlp.fc2",
            "norm1": "layernorm_before",
            "norm2": "layernorm_after",
        }.items()
        for kind in ("weight", "bias")
    },
}
_FUSED = ("attn.qkv.weight", "attn.qkv.bias")


def plan(folder: Path) -> Converted:
    """The conversion of the checkpoint in `folder`.

    Raises InvalidInput: a setting or a file that the class in transformers has no place for.
    """
    published = read_json(folder / "config.json")
    config, tensors = read_architecture(published)
    conversation = find_conversation(published["template"])
    tokenizer = read_tokenizer(folder, _NAMED)
    config.image_token_id = tokenizer.convert_tokens_to_ids(_IMAGE)
    height, width = (published["vision_config"]["image_size"],) * 2
    size = {"height": height, "width": width}
    processor = InternVLProcessor(
        GotOcr2ImageProcessor(
            size=size,
            crop_to_patches=True,
            min_patches=published["min_dynamic_patch"],
            max_patches=published["max_dynamic_patch"],
            **_NORMALIZATION,
        ),
        tokenizer,
        InternVLVideoProcessor(size=size, **_NORMALIZATION),
        image_seq_length=config.image_seq_length,
        chat_template=conversation.template(_IMAGE),
    )
    generation = _generation(folder, tokenizer, conversation.end)
    return Converted(config=config, processor=processor, generation=generation, tensors=tensors)


def read_architecture(published: dict[str, Any]) -> tuple[InternVLConfig, ConvertTensor]:
    """Configuration of the model, but for its image token, and the conversion of its tensors.

    Raises InvalidInput: a setting that the class in transformers doesn't have.
    """
    _require_same_mathematics(published)
    text = language_model(published["llm_config"])
    vision = published["vision_config"]
    per_side = vision["image_size"] // vision["patch_size"] * published["downsample_ratio"]
    config = InternVLConfig(
        text_config=text.config.to_dict(),
        vision_config=_vision_config(vision),
        image_seq_length=int(per_side**2),
        downsample_ratio=published["downsample_ratio"],
        tie_word_embeddings=False,
        architectures=["InternVLForConditionalGeneration"],
        dtype=published.get("torch_dtype") or "bfloat16",
    )
    return config, partial(_tensors, text=text.tensors)


_ASSUMED = {
    "ps_version": "v2",
    "select_layer": -1,
    "dynamic_image_size": True,
    "use_thumbnail": True,
    "pad2square": False,
}
"""Settings of InternVL2 that its class in transformers has built in."""


def _require_same_mathematics(published: dict[str, Any]) -> None:
    """Raises InvalidInput: a setting that the class in transformers doesn't have."""
    size = published["vision_config"]["image_size"]
    assumed = {**_ASSUMED, "force_image_size": size}
    differing = [
        f"{name}={published[name]!r} (must be {value!r})"
        for name, value in assumed.items()
        if published.get(name, value) != value
    ]
    if differing:
        raise InvalidInput(
            f"InternVLForConditionalGeneration has no {', '.join(differing)}: "
            "the checkpoint can't be converted",
            field="source",
        )


def _vision_config(published: dict[str, Any]) -> dict[str, Any]:
    same = (
        "hidden_size intermediate_size num_hidden_layers num_attention_heads num_channels "
        "image_size patch_size hidden_act norm_type layer_norm_eps initializer_range"
    ).split()
    return {
        **{name: published[name] for name in same},
        "attention_bias": published["qkv_bias"],
        "use_qk_norm": published["qk_normalization"],
    }


def _generation(folder: Path, tokenizer: Any, end: str) -> GenerationConfig:
    """The published ends of a reply, and that of the conversation format."""
    path = folder / "generation_config.json"
    ends = read_json(path).get("eos_token_id", []) if path.is_file() else []
    ends = {*(ends if isinstance(ends, list) else [ends]), tokenizer.convert_tokens_to_ids(end)}
    return GenerationConfig(eos_token_id=sorted(ends), pad_token_id=tokenizer.pad_token_id)


def _tensors(name: str, tensor: Any, *, text: ConvertTensor) -> Tensors:
    """Tensors of the class in transformers. Raises InvalidInput: an unknown name."""
    part, _, rest = name.partition(".")
    if part == "language_model":
        return [(f"language_model.{new}", converted) for new, converted in text(rest, tensor)]
    if name in _TOP:
        return [(_TOP[name], tensor)]
    found = _LAYER.fullmatch(name)
    if not found or (found[2] not in _PARTS and found[2] not in _FUSED):
        raise unknown_tensor(name, "InternVL2")
    layer = f"vision_tower.encoder.layer.{found[1]}"
    if found[2] in _PARTS:
        return [(f"{layer}.{_PARTS[found[2]]}", tensor)]
    kind = found[2].removeprefix("attn.qkv.")
    return [
        (f"{layer}.attention.{letter}_proj.{kind}", third)
        for letter, third in zip("qkv", tensor.chunk(3), strict=True)
    ]
