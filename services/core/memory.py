"""How much memory a model of a given shape needs, to be served and to be trained: estimates by formula, in bytes.

Weights are counted in bfloat16. What a request or a sample holds is counted from the number of its tokens. The estimates are
for planning devices: engines differ by what they allocate ahead, and fragmentation comes on top.
"""

from __future__ import annotations

from dataclasses import dataclass

GIB = 2**30
BFLOAT16 = 2
RUNTIME = GIB
"""The device's context, kernels and workspaces."""
TEXT_TOKENS = 256
"""Question, template and answer, beside the visual tokens."""
REQUESTS_AT_ONCE = 16
BATCHED_TOKENS = 8192
"""Prompt tokens that are computed together."""
WIDTHS_AT_WORK = 16
"""Values as wide as the hidden state that a token holds while it passes through a layer."""
ADAMW_BYTES = 16
"""Per trained parameter: bfloat16 weight 2 and gradient 2, float32 master weight 4 and moments 8."""
LAYER_BYTES = 34
"""Per token and hidden width, what the backward pass of one layer keeps (Korthikanti et al., 2022, with fused attention)."""
LOGIT_BYTES = 10
"""Per token and vocabulary entry: bfloat16 logit, float32 copy and its gradient."""


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
        """Of low-rank adapters on every linear layer: `rank` times input and output width of each."""
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        attention = 2 * (self.hidden + queries) + 2 * (self.hidden + keys)
        feed_forward = 3 * (self.hidden + self.intermediate)
        return rank * self.layers * (attention + feed_forward)


def serving_bytes(parameters: int, shape: Shape, visual_tokens: int) -> int:
    """Weights, the cache of REQUESTS_AT_ONCE requests of one image each, and what BATCHED_TOKENS hold at work."""
    cache = REQUESTS_AT_ONCE * (visual_tokens + TEXT_TOKENS) * shape.cache_bytes
    at_work = BATCHED_TOKENS * shape.hidden * WIDTHS_AT_WORK * BFLOAT16
    return parameters * BFLOAT16 + cache + at_work + RUNTIME


def training_bytes(parameters: int, shape: Shape, visual_tokens: int, lora_rank: int = 0) -> int:
    """Full fine-tuning with AdamW, or adapters of `lora_rank`; one sample at a time, with gradient checkpointing."""
    trained = shape.adapter_parameters(lora_rank) if lora_rank else parameters
    frozen = parameters if lora_rank else 0
    kept = shape.hidden * (BFLOAT16 * shape.layers + LAYER_BYTES) + shape.vocabulary * LOGIT_BYTES
    return (
        trained * ADAMW_BYTES + frozen * BFLOAT16 + (visual_tokens + TEXT_TOKENS) * kept + RUNTIME
    )
