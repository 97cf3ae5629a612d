"""TinyLLaVA on StableLM 2 (bczhou/TinyLLaVA-2.0B) as transformers' LlavaForConditionalGeneration.

Its code drops the last layer of the SigLIP tower, takes the features before the tower's last norm,
and pads images to squares. The tower is in the checkpoint or in the model that config.json names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaImageProcessor,
    LlavaProcessor,
    StableLmConfig,
)

from services.core.errors import InvalidInput
from services.engines.conversion import arcade, shards
from services.engines.conversion.converted import Converted, Tensors, read_json, unknown_tensor
from services.engines.conversion.shards import ShardReader

ARCHITECTURE = "TinyLlavaStablelmForCausalLM"
IMAGE_TOKEN = "<image>"
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""Start of every prompt that the model was trained on."""
CHAT_TEMPLATE = (
    "{% macro text_of(content) %}{% if content is string %}{{ content }}{% else %}"
    "{% for part in content %}"
    "{% if part.type in ('image', 'image_url') %}" + IMAGE_TOKEN + "\n"
    "{% elif 'text' in part %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}{% endmacro %}"
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ text_of(message.content) }} {% else %}"
    "{% if loop.first %}" + SYSTEM + " {% endif %}"
    "{{ message.role | upper }}: {{ text_of(message.content) }}"
    "{% if message.role == 'assistant' %}" + arcade.END + "{% else %} {% endif %}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
TOWER = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
"""SigLIP-so400m, unless the tower's own config.json is there."""
_IN_CHECKPOINT = "model.vision_tower.vision_tower."
_PREFIXES = {
    "vision_model.": "vision_tower.vision_model.",
    "model.mm_projector.0.": "multi_modal_projector.linear_1.",
    "model.mm_projector.2.": "multi_modal_projector.linear_2.",
    "model.embed_tokens.": "language_model.model.embed_tokens.",
    "model.layers.": "language_model.model.layers.",
    "model.norm.": "language_model.model.norm.",
    "lm_head.": "language_model.lm_head.",
}
_UNUSED = re.compile(
    r"text_model\.|logit_(scale|bias)$|vision_model\.head\.|.*(position_ids|inv_freq)$"
)
"""Rest of a whole SigLIP, and buffers that are computed."""
_LAYER = re.compile(r"vision_model\.encoder\.layers\.(\d+)\.")


def plan(folder: Path) -> Converted:
    """Raises InvalidInput: a part of the checkpoint is of a kind that Llava doesn't have."""
    published = read_json(folder / "config.json")
    _require_known(published)
    named = str(published.get("mm_vision_tower") or "an unnamed tower")
    has_tower = any(name.startswith(_IN_CHECKPOINT) for name in ShardReader.of(folder).names())
    further = () if has_tower else (shards.find(named),)
    tower = _tower(further[0] if further else Path(named))
    tokenizer = arcade.read(folder, IMAGE_TOKEN)
    config = _config(published, tower, tokenizer)
    return Converted(
        config=config,
        processor=_processor(tokenizer, tower, pads=published.get("image_aspect_ratio") == "pad"),
        generation=GenerationConfig(
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
        ),
        tensors=_Renaming(
            tower_layers=tower["num_hidden_layers"],
            tokens=frozenset(tokenizer.get_vocab().values()) - {config.image_token_index},
            rows=config.get_text_config().vocab_size,
        ),
        further=further,
    )


def _require_known(published: Mapping[str, Any]) -> None:
    """Raises InvalidInput: a setting whose meaning is unknown here."""
    known = {
        "mm_projector_type": ("mlp2x_gelu",),
        "mm_patch_merge_type": ("flat", None),
        "mm_use_im_start_end": (False, None),
        "image_aspect_ratio": ("pad", "square", None),
        "hidden_act": ("silu", None),
        "tie_word_embeddings": (False, None),
    }
    for name, values in known.items():
        if published.get(name) not in values:
            fitting = " or ".join(str(value) for value in values if value is not None)
            raise InvalidInput(
                f"config.json has {name} {published.get(name)!r}; a {ARCHITECTURE} can be "
                f"converted with {fitting}",
                field="source",
                reason="CHECKPOINT_UNKNOWN",
            )


def _tower(folder: Path) -> dict[str, Any]:
    """The tower's configuration without the layer and the head that are never used."""
    path = folder / "config.json"
    found = read_json(path) if path.is_file() else {}
    shape = {**TOWER, **found.get("vision_config", found)}
    return {
        **{name: shape[name] for name in TOWER},
        "num_hidden_layers": shape["num_hidden_layers"] - 1,
        "model_type": "siglip_vision_model",
        "vision_use_head": False,
    }


def _config(published: Mapping[str, Any], tower: dict[str, Any], tokenizer: Any) -> LlavaConfig:
    image = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
    text = StableLmConfig(
        vocab_size=max(published["vocab_size"], image + 1),
        hidden_size=published["hidden_size"],
        intermediate_size=published["intermediate_size"],
        num_hidden_layers=published["num_hidden_layers"],
        num_attention_heads=published["num_attention_heads"],
        num_key_value_heads=published["num_key_value_heads"],
        max_position_embeddings=published["max_position_embeddings"],
        layer_norm_eps=published.get("norm_eps", 1e-5),
        use_qkv_bias=published.get("use_qkv_bias", True),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(published.get("rope_theta", 10_000)),
            "partial_rotary_factor": published.get("rope_pct", 0.25),
        },
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaConfig(
        text_config=text,
        vision_config=dict(tower),
        image_token_index=image,
        image_seq_length=(tower["image_size"] // tower["patch_size"]) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        architectures=["LlavaForConditionalGeneration"],
        dtype=published.get("torch_dtype", "float16"),
    )


def _processor(tokenizer: Any, tower: dict[str, Any], *, pads: bool) -> LlavaProcessor:
    size = {"height": tower["image_size"], "width": tower["image_size"]}
    images = LlavaImageProcessor(
        do_pad=pads,
        size=size,
        do_center_crop=False,
        crop_size=size,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=tower["patch_size"],
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


@dataclass(frozen=True, slots=True)
class _Renaming:
    """Published tensors under Llava's names."""

    tower_layers: int
    tokens: frozenset[int]
    """Ids of the published tokens."""
    rows: int
    """Rows of the embeddings, one for each id."""

    def __call__(self, name: str, tensor: Any) -> Tensors:
        own = name.removeprefix(_IN_CHECKPOINT)
        layer = _LAYER.match(own)
        if _UNUSED.match(own) or (layer and int(layer[1]) >= self.tower_layers):
            return
        prefix = next((prefix for prefix in _PREFIXES if own.startswith(prefix)), None)
        if prefix is None:
            raise unknown_tensor(name, ARCHITECTURE)
        by_token = own in ("model.embed_tokens.weight", "lm_head.weight")
        yield (
            _PREFIXES[prefix] + own.removeprefix(prefix),
            self._filled(tensor) if by_token else tensor,
        )

    def _filled(self, rows: Any) -> Any:
        """Rows without a token get the mean of the others.

        The mean of the logits is never the highest: no such id is ever generated. The published
        code removes these rows when it loads the model.
        """
        free = [row for row in range(self.rows) if row not in self.tokens]
        used = sorted(self.tokens)
        filled = rows.new_empty(self.rows, rows.shape[1])
        filled[: len(rows)] = rows[: self.rows]
        filled[free] = rows[used].float().mean(0).to(rows.dtype)
        return filled
