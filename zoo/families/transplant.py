"""A Qwen2-VL's vision tower, carried over into an Idefics3's, which then learns to do the same.

Patches, norms, values and feed-forward parts are copied. A Qwen2-VL turns queries and keys by the
place of their patch; an Idefics3 adds learned positions to the patches. So its last channels begin
as the cosines and sines of these turns, and queries and keys read the turned biases there: these
decide where a head looks. Contents are not turned. Training makes up for that: every layer learns
the original's contents (Told.TOWER).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

import torch
from torch import nn

from zoo.anatomy import Model, arrange, cut

AMPLITUDE = 4.0
"""Scale of positions: about the root mean square of the patches that the first layer is given."""


class Original:
    """The vision tower of a trained Qwen2-VL."""

    def __init__(self, model: Model) -> None:
        self._visual = model.model.visual.eval()
        blocks = self._visual.blocks
        norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
        self._norms = [*norms, self._visual.merger.ln_q]

    @torch.no_grad()
    def look(self, pixels: torch.Tensor, grid: torch.Tensor) -> list[torch.Tensor]:
        """Input of every norm, (patches, width), less its mean: a norm has no use for that."""
        patch = self._visual.config.patch_size
        with recorded(self._norms) as seen:
            self._visual(cut(pixels, patch), grid_thw=grid)
        return [(each - each.mean(-1, keepdim=True)).float() for each in seen]

    @torch.no_grad()
    def carry_over(self, model: Model, pixels: torch.Tensor, grid: torch.Tensor) -> None:
        """Write the tower into an untrained model. Norms are balanced for these images."""
        tower = model.model.vision_model
        turns = self._visual.rotary_pos_emb.inv_freq
        rows, columns = torch.meshgrid(
            *[torch.arange(int(count)) for count in grid[0, 1:]], indexing="ij"
        )
        angles = torch.cat([each.reshape(-1, 1) * turns for each in (rows, columns)], dim=1)
        width = self._visual.config.embed_dim
        positions = tower.embeddings.position_embedding.weight.zero_()
        positions[:, width:] = AMPLITUDE * torch.cat([angles.cos(), angles.sin()], dim=1)
        _write(tower.embeddings.patch_embedding, self._visual.patch_embed.proj.weight.sum(2))
        sizes = [each.square().mean().sqrt().item() for each in self.look(pixels, grid)]
        for norm, old, size in zip(norms_of(model), self._norms, sizes, strict=True):
            _balance(norm, old, size)
        for layer, block, size in zip(
            tower.encoder.layers, self._visual.blocks, sizes[:-1:2], strict=True
        ):
            _write(layer.self_attn.out_proj, block.attn.proj.weight, block.attn.proj.bias)
            _read(layer.mlp.fc1, block.mlp.fc1.weight, block.mlp.fc1.bias)
            _write(layer.mlp.fc2, block.mlp.fc2.weight, block.mlp.fc2.bias)
            self._carry_attention(layer.self_attn, block, size)

    def _carry_attention(self, attention: Any, block: Any, size: float) -> None:
        weights, biases = block.attn.qkv.weight.chunk(3), block.attn.qkv.bias.chunk(3)
        query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
        _read(value, weights[2], biases[2])
        width = len(biases[0])
        for part, weight, bias in zip((query, key), weights, biases, strict=False):
            shift = weight @ block.norm1.bias
            _read(part, weight, -shift)
            turned = _turn(bias + shift, attention.head_dim)
            part.weight[:width, width:] = (
                turned * _deviation(part.in_features, width, size) / AMPLITUDE
            )


def norms_of(model: Model) -> list[nn.LayerNorm]:
    """The norms of a vision tower, in order."""
    tower = model.model.vision_model
    layers: Any = tower.encoder.layers
    norms = [norm for layer in layers for norm in (layer.layer_norm1, layer.layer_norm2)]
    return [*norms, tower.post_layernorm]


@contextmanager
def recorded(norms: Iterable[nn.Module]) -> Iterator[list[torch.Tensor]]:
    """A list that the input of every norm is added to."""
    seen: list[torch.Tensor] = []
    hooks = [
        norm.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for norm in norms
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def compare(
    seen: list[torch.Tensor], original: list[torch.Tensor], grid: torch.Tensor
) -> torch.Tensor:
    """Mean squared difference of contents, as a share of the change by each half of a layer."""
    losses = []
    for mine, before, after in zip(seen[1:], original, original[1:], strict=False):
        contents = arrange(mine, grid)[:, : after.shape[-1]].float()
        losses.append((contents - after).square().mean() / (after - before).square().mean())
    return torch.stack(losses).sum()


def _deviation(whole: int, width: int, size: float) -> float:
    """Standard deviation of contents of this size and positions, over all channels."""
    return sqrt((width * size**2 + (whole - width) / 2 * AMPLITUDE**2) / whole)


def _balance(norm: nn.LayerNorm, old: nn.LayerNorm, size: float) -> None:
    """Give a norm the weights of one that has no positions."""
    width, whole = old.weight.numel(), norm.weight.numel()
    norm.weight[:width] = old.weight * _deviation(whole, width, size) / size
    norm.bias[:width] = old.bias


def _write(part: Any, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
    """Let a part write contents as a smaller one does, less their mean, and nothing else."""
    part.weight.zero_()
    part.bias.zero_()
    part.weight[tuple(map(slice, weight.shape))] = weight - weight.mean(0)
    if bias is not None:
        part.bias[: len(bias)] = bias - bias.mean()


def _read(part: nn.Linear, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Let a part's first outputs read contents as a smaller one does; the rest stay random."""
    outputs, inputs = weight.shape
    part.weight[:outputs] = 0
    part.weight[:outputs, :inputs] = weight
    part.bias.zero_()
    part.bias[:outputs] = bias


def _turn(bias: torch.Tensor, head_dim: int) -> torch.Tensor:
    """A map from cosines and sines to the biases of all heads, turned."""
    maps = []
    for head in bias.view(-1, head_dim):
        first, second = (half.diag() for half in head.chunk(2))
        maps += [torch.cat([first, -second], dim=1), torch.cat([second, first], dim=1)]
    return torch.cat(maps)
