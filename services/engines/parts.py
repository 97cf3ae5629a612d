"""Parts of a model: tower, connector, each layer, the rest; exchanged with another model's."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch

from services.core.model_parts import part_of


class Parts:
    """Parts in which two models of one architecture differ. The other one stays on the CPU."""

    def __init__(self, model: Any, other: Any) -> None:
        theirs = dict(other.named_parameters())
        self._pairs: dict[str, list[_Pair]] = {}
        for name, parameter in model.named_parameters():
            pair = _Pair(parameter.data, theirs[name].data)
            if not torch.equal(pair.ours.cpu(), pair.theirs.to(pair.ours.dtype)):
                self._pairs.setdefault(part_of(name), []).append(pair)

    @property
    def names(self) -> list[str]:
        return list(self._pairs)

    def exchange(self, parts: Collection[str]) -> None:
        """Exchange the tensors of `parts` in memory, one by one."""
        for part in parts:
            for pair in self._pairs[part]:
                before = pair.ours.cpu().clone()
                pair.ours.copy_(pair.theirs)
                pair.theirs = before


@dataclass(slots=True)
class _Pair:
    """A tensor of the model, and the other's in its own number format."""

    ours: torch.Tensor
    theirs: torch.Tensor


def at_each_layer(model: Any, beat: Callable[[], None]) -> None:
    """Calls `beat` before each layer of each step.

    The first step of a large batch takes long on a CPU; its layers are progress, too.
    """
    for layers in model.modules():
        if isinstance(layers, torch.nn.ModuleList):
            for layer in layers:
                layer.register_forward_pre_hook(lambda *_: beat())
