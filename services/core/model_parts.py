"""Parts of a vision-language model, by its parameters' names, and those that a training changes.

Names in memory and in checkpoints of earlier releases of transformers have the same parts.
"""

from __future__ import annotations

import re

_CONNECTOR = re.compile(r"merger|connector|projector|mlp1|modality_projection")
_TOWER = re.compile(r"visual|vision")
_LAYER = re.compile(r"\blayers\.(\d+)\.")
CONNECTOR = "connector"
TOWER = "vision tower"

ALL = "all"
PROJECTIONS = {
    "attention": re.compile(r"attn\.(q|k|v|o|qkv|out)_proj\b"),
    "gate-up": re.compile(r"\bmlp\.(\w+\.)*(gate|up|gate_up)_proj\b"),
}
"""Projections of a language model's layers that are trained together with the connector alone."""
TRAINABLE = (ALL, *PROJECTIONS)


def part_of(parameter: str) -> str:
    """Name of the part that a parameter belongs to."""
    if _CONNECTOR.search(parameter):
        return CONNECTOR
    if _TOWER.search(parameter):
        return TOWER
    layer = _LAYER.search(parameter)
    return f"layer {layer[1]}" if layer else "embeddings and head"


def is_trained(parameter: str, trainable: str, tower_rate: float = 1.0) -> bool:
    """Whether a training changes a parameter. `trainable`: one of TRAINABLE.

    `tower_rate`: factor on the learning rate of the vision tower.
    """
    part = part_of(parameter)
    if trainable == ALL:
        return part != TOWER or tower_rate > 0
    is_chosen = part.startswith("layer") and PROJECTIONS[trainable].search(parameter)
    return part == CONNECTOR or bool(is_chosen)
