"""A TinyLLaVA with random weights, in the layout that bczhou/TinyLLaVA-2.0B is published in."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

END = "<|endoftext|>"
SPECIAL_TOKENS = 32
ROPE_SHARE = 0.25
IN_CHECKPOINT = "model.vision_tower.vision_tower."


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shape of tower and language model. A head is 32 wide, which vLLM's CPU attention supports."""

    width: int = 64
    mlp: int = 128
    layers: int = 2
    heads: int = 2
    tower_width: int = 64
    tower_mlp: int = 128
    tower_layers: int = 3
    """The last one is not used, and not in the checkpoint."""
    tower_heads: int = 2
    side: int = 28
    patch: int = 7


PUBLISHED = Sizes(
    width=2048,
    mlp=5632,
    layers=24,
    heads=32,
    tower_width=1152,
    tower_mlp=4304,
    tower_layers=27,
    tower_heads=16,
    side=384,
    patch=14,
)
PUBLISHED_ROWS = 100_352


def ranks() -> list[bytes]:
    """Tokens by rank: all bytes, then the merges of the bundled pair's tokenizer."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    from zoo.architecture import build_tokenizer

    tokenizer = build_tokenizer()
    as_byte = {character: byte for byte, character in bytes_to_unicode().items()}
    words = sorted(
        (index, word)
        for word, index in tokenizer.get_vocab().items()
        if len(word) > 1 and index not in tokenizer.added_tokens_decoder
    )
    single = [bytes([byte]) for byte in range(256)]
    return single + [bytes(as_byte[character] for character in word) for _, word in words]


def publish(
    folder: Path,
    sizes: Sizes = Sizes(),
    *,
    tokens: list[bytes] | None = None,
    has_tower: bool = True,
    **settings: Any,
) -> Path:
    """Write the checkpoint. The tower's configuration, and weights if not here, are in siglip/."""
    import torch
    from safetensors.torch import save_file

    tokens = tokens or ranks()
    rows = len(tokens) + 1 + SPECIAL_TOKENS + 7  # one free id before the special tokens, 7 behind
    tower = folder / "siglip"
    tower.mkdir(parents=True)
    torch.manual_seed(0)
    seen = _drawn(tower_shapes(sizes))
    told = _drawn(language_shapes(sizes, rows))
    if has_tower:
        told |= {IN_CHECKPOINT + name: tensor for name, tensor in seen.items()}
    else:
        save_file(seen, tower / "model.safetensors", metadata={"format": "pt"})
    save_file(told, folder / "model.safetensors", metadata={"format": "pt"})
    (tower / "config.json").write_text(json.dumps(_tower_config(sizes)))
    config = {**config_of(sizes, rows), "mm_vision_tower": str(tower), **settings}
    (folder / "config.json").write_text(json.dumps(config))
    lines = (base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))
    (folder / "arcade100k.tiktoken").write_bytes(b"".join(lines))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END, "pad_token": END}))
    return folder


def _drawn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """Random tensors: answers depend on question and image."""
    import torch

    return {name: _scaled(name, torch.randn(shape)) for name, shape in shapes.items()}


def _scaled(name: str, noise: Any) -> Any:
    if "norm" in name:
        return noise * 0.1 + (1.0 if name.endswith("weight") else 0.0)
    if noise.dim() == 1:
        return noise * 0.1
    is_embedding = "embed_tokens" in name or "position_embedding" in name
    return noise if is_embedding else noise * noise[0].numel() ** -0.5


def _linear(name: str, rows: int, columns: int, *, bias: bool = True) -> dict[str, Any]:
    weight = {f"{name}.weight": (rows, columns)}
    return {**weight, f"{name}.bias": (rows,)} if bias else weight


def _norm(name: str, width: int) -> dict[str, Any]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def tower_shapes(sizes: Sizes) -> dict[str, Any]:
    """Names and shapes of the tower's tensors, without the last layer and the head."""
    width = sizes.tower_width
    start = "vision_model.embeddings."
    shapes: dict[str, Any] = {
        f"{start}patch_embedding.weight": (width, 3, sizes.patch, sizes.patch),
        f"{start}patch_embedding.bias": (width,),
        f"{start}position_embedding.weight": ((sizes.side // sizes.patch) ** 2, width),
        **_norm("vision_model.post_layernorm", width),
    }
    for layer in range(sizes.tower_layers - 1):
        at = f"vision_model.encoder.layers.{layer}."
        shapes |= {**_norm(f"{at}layer_norm1", width), **_norm(f"{at}layer_norm2", width)}
        for part in ("q", "k", "v", "out"):
            shapes |= _linear(f"{at}self_attn.{part}_proj", width, width)
        shapes |= _linear(f"{at}mlp.fc1", sizes.tower_mlp, width)
        shapes |= _linear(f"{at}mlp.fc2", width, sizes.tower_mlp)
    return shapes


def language_shapes(sizes: Sizes, rows: int) -> dict[str, Any]:
    """Names and shapes of the tensors of connector and language model."""
    width = sizes.width
    shapes: dict[str, Any] = {
        "model.embed_tokens.weight": (rows, width),
        "lm_head.weight": (rows, width),
        **_norm("model.norm", width),
        **_linear("model.mm_projector.0", width, sizes.tower_width),
        **_linear("model.mm_projector.2", width, width),
    }
    for layer in range(sizes.layers):
        at = f"model.layers.{layer}."
        for norm in ("input_layernorm", "post_attention_layernorm"):
            shapes |= _norm(f"{at}{norm}", width)
        for part in ("q", "k", "v", "o"):
            shapes |= _linear(f"{at}self_attn.{part}_proj", width, width, bias=part != "o")
        for part in ("gate", "up"):
            shapes |= _linear(f"{at}mlp.{part}_proj", sizes.mlp, width, bias=False)
        shapes |= _linear(f"{at}mlp.down_proj", width, sizes.mlp, bias=False)
    return shapes


def _tower_config(sizes: Sizes) -> dict[str, Any]:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": sizes.tower_width,
        "intermediate_size": sizes.tower_mlp,
        "num_hidden_layers": sizes.tower_layers,
        "num_attention_heads": sizes.tower_heads,
        "image_size": sizes.side,
        "patch_size": sizes.patch,
    }


def config_of(sizes: Sizes, rows: int) -> dict[str, Any]:
    """The published configuration."""
    return {
        "architectures": ["TinyLlavaStablelmForCausalLM"],
        "model_type": "tiny_llava_stablelm",
        "vocab_size": rows,
        "hidden_size": sizes.width,
        "intermediate_size": sizes.mlp,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.heads,
        "hidden_act": "silu",
        "rope_pct": ROPE_SHARE,
        "rope_theta": 10000,
        "norm_eps": 1e-5,
        "use_qkv_bias": True,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "mm_vision_tower": "bczhou/TinyLLaVA-2.0B-SigLIP",
        "mm_hidden_size": sizes.tower_width,
        "mm_projector_type": "mlp2x_gelu",
        "mm_patch_merge_type": "flat",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad",
        "tokenizer_padding_side": "right",
    }
