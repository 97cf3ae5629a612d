"""Patch embeddings of vision towers as matrix products.

Towers of the Qwen2-VL family embed patches by a convolution whose kernel is as large as its input.
That is a matrix product, but libraries compute it as a convolution, which takes several times as
long, and most of all in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import linear


class PatchProduct(torch.nn.Conv3d):
    """A convolution that multiplies if its kernel covers the whole input."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        if tuple(input.shape[2:]) != tuple(self.kernel_size):
            return super().forward(input)
        embedded = linear(input.flatten(1), self.weight.flatten(1), self.bias)
        return embedded[:, :, None, None, None]


def multiply_patches(model: Any) -> None:
    """Turn a model's convolutions over patches into matrix products; its parameters stay."""
    for module in model.modules():
        is_plain = type(module) is torch.nn.Conv3d and module.groups == 1
        if is_plain and not any(module.padding) and module.dilation == (1, 1, 1):
            module.__class__ = PatchProduct
