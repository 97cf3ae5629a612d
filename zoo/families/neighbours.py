"""Initialisation of a vision tower: each attention head looks at a neighbour, like a convolution.

The biases of a head decide where it looks: the same query and key for every patch, turned by the
rotary positions, agree most at one distance. Training is free to change them (after ConViT:
d'Ascoli et al., 2021, arXiv 2103.10697). README.md shows how much sooner a tower of this size then
tells its first letters apart.
"""

from __future__ import annotations

import torch

from zoo.anatomy import Model

DISTANCES = (
    ((0, 1), (0, -1), (1, 0)),
    ((-1, 0), (0, 2), (0, -2)),
    ((1, 1), (-1, -1), (2, 0)),
    ((0, 1), (0, -1), (-2, 0)),
)
"""Rows and columns from a patch to the one that a head looks at, by layer and head."""
STRENGTHS = (4.0, 3.2, 1.6)
"""Strengths of the fastest rotations: slower ones hardly tell a patch from the next."""
SHARE_OF_CONTENT = 0.3
"""Factor of the random part of queries and keys, which would drown the rest."""


@torch.no_grad()
def look_around(model: Model) -> None:
    """Make the heads of an untrained model look at their neighbours."""
    visual = model.model.visual
    turns = visual.rotary_pos_emb.inv_freq
    for number, block in enumerate(visual.blocks):
        attention = block.attn
        width = attention.dim
        query, key = torch.zeros(2, attention.num_heads, attention.head_dim)
        for head in range(attention.num_heads):
            distances = DISTANCES[number % len(DISTANCES)][head % len(DISTANCES[0])]
            for axis, distance in enumerate(distances):
                for place, strength in enumerate(STRENGTHS):
                    first = axis * len(turns) + place
                    angle = turns[place] * distance
                    key[head, first] = strength
                    query[head, first] = strength * angle.cos()
                    query[head, first + attention.head_dim // 2] = strength * angle.sin()
        attention.qkv.weight[: 2 * width] *= SHARE_OF_CONTENT
        attention.qkv.bias[: 2 * width] = torch.cat([query.flatten(), key.flatten()])
