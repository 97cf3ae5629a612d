"""Memory that serving a model of a given shape needs: an estimate by formula, in bytes.

Weights are counted in bfloat16, requests by their number of tokens. The estimates are for planning
devices: engines reserve different amounts. training_memory.py has those of training.
"""

from __future__ import annotations

from dataclasses import dataclass

NO_ROOM = "NO_ROOM"
"""Reason of a model that its device has no room for."""
GIB = 2**30
BFLOAT16 = 2
FLOAT32 = 4
RUNTIME = GIB
"""The device's context, kernels and workspaces."""
TEXT_TOKENS = 256
"""Question, template and answer, without the visual tokens."""
REQUESTS_AT_ONCE = 16
BATCHED_TOKENS = 8192
"""Prompt tokens that are computed together."""
WIDTHS_AT_WORK = 16
"""Values of hidden width that a token needs in a layer."""


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

    @property
    def largest_layer(self) -> int:
        """Parameters of a layer or of the embeddings, whichever has more."""
        widths = 2 * (self.heads + self.key_value_heads) * self.head_size + 3 * self.intermediate
        return self.hidden * max(widths, self.vocabulary)

    def layer_bytes(self, value_bytes: int) -> int:
        """Bytes per token that one layer keeps for the backward pass.

        Counted from the tensors that autograd saves, with fused attention. Under autocast
        (`value_bytes` 2) the residual stream and its norms stay in float32.
        """
        queries = self.heads * self.head_size
        keys = self.key_value_heads * self.head_size
        stream = 4 * FLOAT32 + 5 * value_bytes if value_bytes < FLOAT32 else 6 * FLOAT32
        attention = 2 * value_bytes * (queries + keys)
        return stream * self.hidden + attention + 4 * value_bytes * self.intermediate


@dataclass(frozen=True, slots=True)
class Tower:
    """The vision tower inside a vision-language model."""

    layers: int
    hidden: int
    intermediate: int
    patches: int = 1
    """Patches that become one visual token."""

    def layer_bytes(self, value_bytes: int) -> int:
        """Bytes per patch that one layer keeps for the backward pass, as Shape's."""
        return value_bytes * (11 * self.hidden + 3 * self.intermediate)

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of adapters, as Shape's."""
        attention = 6 * self.hidden  # queries, keys and values in one matrix, and the output
        return rank * self.layers * (attention + 2 * (self.hidden + self.intermediate))


@dataclass(frozen=True, slots=True)
class Dimensions:
    """A vision-language model, as far as memory depends on it."""

    parameters: int
    language: Shape
    tower: Tower | None = None
    """None if the shape of the tower is unknown: its activations are not counted."""

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of adapters of all linear layers, without the connector's."""
        tower = self.tower.adapter_parameters(rank) if self.tower else 0
        return self.language.adapter_parameters(rank) + tower


def serving_bytes(model: Dimensions, visual_tokens: int) -> int:
    """Weights, cache for REQUESTS_AT_ONCE requests of one image, BATCHED_TOKENS being computed."""
    language = model.language
    cache = REQUESTS_AT_ONCE * (visual_tokens + TEXT_TOKENS) * language.cache_bytes
    at_work = BATCHED_TOKENS * language.hidden * WIDTHS_AT_WORK * BFLOAT16
    return model.parameters * BFLOAT16 + cache + at_work + RUNTIME
