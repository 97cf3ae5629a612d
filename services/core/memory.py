"""Memory that serving and training a model of a given shape need: estimates by formula, in bytes.

Weights are counted in bfloat16, requests and samples by their number of tokens. The estimates are
for planning devices: engines reserve different amounts, and fragmentation comes on top.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
BFLOAT16 = 2
RUNTIME = GIB
"""The device's context, kernels and workspaces."""
TEXT_TOKENS = 256
"""Question, template and answer, without the visual tokens."""
REQUESTS_AT_ONCE = 16
BATCHED_TOKENS = 8192
"""Prompt tokens that are computed together."""
WIDTHS_AT_WORK = 16
"""Values of hidden width that a token needs in a layer."""
ADAMW_BYTES = 16
"""Bytes per trained parameter: bfloat16 weight 2, gradient 2; float32 weight 4, moments 8."""
LAYER_BYTES = 34
"""Bytes per token and hidden width that one layer keeps for the backward pass.

Korthikanti et al., 2022, with fused attention.
"""
LOGIT_BYTES = 10
"""Bytes per token and vocabulary entry: bfloat16 logit, float32 copy and its gradient."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The language model inside a vision-language model."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary: int

    @property
    def cache_bytes(self) -> int:
        """Keys and values of one token, in bfloat16."""
        return 2 * BFLOAT16 * self.layers * self.key_value_heads * self.head_size

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of adapters: `rank` times input and output width of each linear layer."""
        queries = self.heads * self.head_size
        keys = self.key_value_heads * self.head_size
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        feed_forward = 3 * (self.hidden + self.intermediate)
        return rank * self.layers * (attention + feed_forward)


def serving_bytes(parameters: int, shape: Shape, visual_tokens: int) -> int:
    """Weights, cache for REQUESTS_AT_ONCE requests of one image, BATCHED_TOKENS being computed."""
    cache = REQUESTS_AT_ONCE * (visual_tokens + TEXT_TOKENS) * shape.cache_bytes
    at_work = BATCHED_TOKENS * shape.hidden * WIDTHS_AT_WORK * BFLOAT16
    return parameters * BFLOAT16 + cache + at_work + RUNTIME


def training_bytes(parameters: int, shape: Shape, visual_tokens: int, lora_rank: int = 0) -> int:
    """Full fine-tuning with AdamW, or adapters of `lora_rank`, with gradient checkpointing.

    One sample is computed at a time.
    """
    trained = shape.adapter_parameters(lora_rank) if lora_rank else parameters
    frozen = parameters if lora_rank else 0
    kept = shape.hidden * (BFLOAT16 * shape.layers + LAYER_BYTES) + shape.vocabulary * LOGIT_BYTES
    return (
        trained * ADAMW_BYTES + frozen * BFLOAT16 + (visual_tokens + TEXT_TOKENS) * kept + RUNTIME
    )
