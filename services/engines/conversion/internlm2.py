"""InternLM2 as a Llama: the same mathematics under other names, with fused projections split."""

from __future__ import annotations

import re
from typing import Any

from transformers import LlamaConfig

from services.engines.conversion.converted import Tensors, unknown_tensor

_TOP = {
    "model.tok_embeddings.weight": "model.embed_tokens.weight",
    "model.norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_LAYER = re.compile(r"(model\.layers\.\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "attention.wo": "self_attn.o_proj",
    "attention_norm": "input_layernorm",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "ffn_norm": "post_attention_layernorm",
}
_SAME = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads "
    "num_key_value_heads hidden_act max_position_embeddings initializer_range rms_norm_eps "
    "bos_token_id eos_token_id pad_token_id"
).split()


def text_config(published: dict[str, Any]) -> LlamaConfig:
    """Configuration of the language model.

    Dynamic scaling of positions is left out. It changes nothing within `max_position_embeddings`,
    which is the window of both engines then; beyond it, engines scale differently.
    """
    scaling = published.get("rope_scaling") or {}
    is_linear = scaling.get("type") == "linear"
    rope = {"rope_type": "linear", "factor": scaling["factor"]} if is_linear else {}
    return LlamaConfig(
        **{name: published[name] for name in _SAME if name in published},
        attention_bias=published.get("bias", False),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(published.get("rope_theta", 10_000)),
            **rope,
        },
        tie_word_embeddings=False,
    )


def text_tensors(name: str, tensor: Any, config: LlamaConfig) -> Tensors:
    """Tensors of the Llama. Raises InvalidInput: an unknown name."""
    if name in _TOP:
        return [(_TOP[name], tensor)]
    found = _LAYER.fullmatch(name)
    if not found:
        raise unknown_tensor(name, "InternLM2")
    layer, part, kind = found.groups()
    if part == "attention.wqkv":
        return _split(f"{layer}.self_attn", kind, tensor, config)
    if part not in _PARTS:
        raise unknown_tensor(name, "InternLM2")
    return [(f"{layer}.{_PARTS[part]}.{kind}", tensor)]


def _split(attention: str, kind: str, fused: Any, config: LlamaConfig) -> Tensors:
    """Splits `wqkv`, shape (heads with keys, queries of each + 2, head size, ...), into three.

    Each group has the query heads that share a key head, then that key head and its value head.
    """
    groups = config.num_key_value_heads
    head_size = config.hidden_size // config.num_attention_heads
    rest = fused.shape[1:]
    heads = fused.reshape(groups, -1, head_size, *rest)
    return [
        (f"{attention}.q_proj.{kind}", heads[:, :-2].reshape(-1, *rest)),
        (f"{attention}.k_proj.{kind}", heads[:, -2].reshape(-1, *rest)),
        (f"{attention}.v_proj.{kind}", heads[:, -1].reshape(-1, *rest)),
    ]
