"""Sampling with one seed for each request, for engines whose library has one seed for all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import LogitsProcessor

from services.core.decoding import Decoding

_WORD = 2**64
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_LARGEST_BELOW_ONE = 1 - 2**-24


class PerRequestSampling(LogitsProcessor):
    """Samples each row by its own decoding settings, inside a greedy `generate`.

    Gumbel noise is added to logits / temperature; the maximum is then a draw from their softmax.
    The noise is a function of the row's own seed, the step and the token, so a reply does not
    depend on the rest of its batch, and greedy rows stay greedy.
    """

    def __init__(self, decodings: Sequence[Decoding]) -> None:
        sampled = [(row, one) for row, one in enumerate(decodings) if one.temperature > 0]
        self._rows = [row for row, _ in sampled]
        self._seeds = [one.seed for _, one in sampled]
        self._temperatures = [one.temperature for _, one in sampled]
        self._top_ps = [one.top_p for _, one in sampled]
        self._step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Adds noise to `scores`: logits, shape (batch, vocabulary)."""
        if not self._rows:
            return scores
        device = scores.device
        logits = scores[self._rows].float()
        logits /= torch.tensor(self._temperatures, device=device)[:, None]
        if any(top_p < 1.0 for top_p in self._top_ps):
            logits = _nucleus(logits, torch.tensor(self._top_ps, device=device)[:, None])
        logits += gumbel_noise(self._seeds, self._step, logits.shape[1], device)
        scores[self._rows] = logits.to(scores.dtype)
        self._step += 1
        return scores


def gumbel_noise(
    seeds: Sequence[int], step: int, width: int, device: torch.device | str
) -> torch.Tensor:
    """Standard Gumbel noise, shape (seeds, width), made on `device`.

    It comes from random 32-bit integers that are the same on every device.
    """
    uniform = (random_integers(seeds, step, width, device).float() + 0.5) * 2**-32
    uniform.clamp_(max=_LARGEST_BELOW_ONE)
    noise: torch.Tensor = -torch.log(-torch.log1p(-uniform))
    return noise


def random_integers(
    seeds: Sequence[int], step: int, width: int, device: torch.device | str
) -> torch.Tensor:
    """Random integers in [0, 2**32), shape (seeds, width): functions of seed, step and column.

    SplitMix64 by its counter: exact in 64-bit integers, which wrap around, so that CPU and GPU have
    the same bits. Each word of 64 bits gives two integers.
    """
    keys = [_signed(_mixed(_mixed(seed % _WORD + _GAMMA) + step * _GAMMA)) for seed in seeds]
    half = -(-width // 2)
    counters = torch.arange(1, half + 1, device=device) * _signed(_GAMMA)
    words = torch.tensor(keys, device=device)[:, None] + counters
    words ^= _shifted(words, 30)
    words *= _signed(_FIRST)
    words ^= _shifted(words, 27)
    words *= _signed(_SECOND)
    words ^= _shifted(words, 31)
    return torch.cat([words & 0xFFFFFFFF, _shifted(words, 32)], dim=1)[:, :width]


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Words shifted to the right, with zeros from the left."""
    shifted: torch.Tensor = (words >> bits) & (2 ** (64 - bits) - 1)
    return shifted


def _mixed(word: int) -> int:
    """SplitMix64's mixing of a word."""
    word %= _WORD
    word = (word ^ word >> 30) * _FIRST % _WORD
    word = (word ^ word >> 27) * _SECOND % _WORD
    return word ^ word >> 31


def _signed(word: int) -> int:
    """The signed integer with the bits of `word`."""
    word %= _WORD
    return word - _WORD if word >= _WORD // 2 else word


def _nucleus(logits: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Keeps each row's smallest set of tokens whose probability reaches its `top_p`, at least one.

    `top_p` has the shape (rows, 1); 1 keeps all.
    """
    ordered, order = logits.sort(descending=True)
    probabilities = ordered.softmax(-1)
    cut = (probabilities.cumsum(-1) - probabilities >= top_p) & (top_p < 1)
    return logits.masked_fill(torch.zeros_like(cut).scatter(-1, order, cut), -torch.inf)
