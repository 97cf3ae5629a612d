"""Sampling with one seed for each request, for engines whose library has one seed for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from services.core.decoding import Decoding


class PerRequestSampling(LogitsProcessor):
    """Samples each row by its own decoding settings, inside a greedy `generate`.

    Gumbel noise is added to logits / temperature; the maximum is then a draw from their softmax.
    The noise comes from the row's own seed, so a reply does not depend on the rest of its batch,
    and greedy rows stay greedy.
    """

    def __init__(self, decodings: Sequence[Decoding]) -> None:
        self._rows = [
            (row, decoding, torch.Generator().manual_seed(decoding.seed % 2**63))
            for row, decoding in enumerate(decodings)
            if decoding.temperature > 0
        ]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Adds noise to `scores`: logits, shape (batch, vocabulary)."""
        for row, decoding, generator in self._rows:
            logits = scores[row].float() / decoding.temperature
            if decoding.top_p < 1.0:
                logits = _nucleus(logits, decoding.top_p)
            uniform = (
                torch.rand(logits.shape, generator=generator).clamp_min_(1e-20).to(logits.device)
            )
            scores[row] = (logits - torch.log(-torch.log(uniform))).to(scores.dtype)
        return scores


def _nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Keeps the smallest set of tokens whose probability reaches `top_p`, at least one."""
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    cut = probabilities.cumsum(-1) - probabilities >= top_p
    return logits.masked_fill(torch.zeros_like(cut).scatter(-1, order, cut), -torch.inf)
