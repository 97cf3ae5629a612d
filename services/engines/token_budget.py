"""Tokens that are computed together, by the memory of the device."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from services.core.memory import BFLOAT16, WIDTHS_AT_WORK, Dimensions

_log = logging.getLogger(__name__)
UNLIMITED = 2**62
FREE_SHARE = 0.8
"""Share of the free memory for a batch: the rest is what an allocator can't use."""
_PATCHES_PER_TOKEN = 4
_GROWTH = 64


def bytes_of_token(dimensions: Dimensions, value_bytes: int) -> int:
    """Memory of one token of a batch: its keys and values, and its share of the widest layer.

    Layers are computed one after the other; so are tower and language model.
    """
    language, tower = dimensions.language, dimensions.tower
    cache = language.cache_bytes * value_bytes // BFLOAT16
    width = WIDTHS_AT_WORK * language.hidden + 3 * language.intermediate
    if tower is not None:
        of_patch = WIDTHS_AT_WORK // 2 * tower.hidden + 2 * tower.intermediate
        width = max(width, _PATCHES_PER_TOKEN * of_patch)
    return cache + value_bytes * width


def tokens_of_logits(dimensions: Dimensions, value_bytes: int) -> int:
    """Tokens of a batch that take as much memory as the logits of one token, rounded up."""
    logits = dimensions.language.vocabulary * value_bytes
    return -(-logits // bytes_of_token(dimensions, value_bytes))


class TokenBudget:
    """Largest number of tokens of a batch, padding and replies included.

    It halves when memory has run out, and returns slowly. A prompt alone is always allowed.
    """

    def __init__(self, most: int = UNLIMITED) -> None:
        self._most = most
        self.now = most

    def ran_out(self, tokens: int) -> None:
        """Notes that a batch of `tokens` took more memory than there is."""
        self.now = max(1, min(self.now, tokens) // 2)
        _log.warning(
            "memory ran out in a batch of %d tokens: the next ones have at most %d; "
            "set BATCH_TOKENS if this happens often",
            tokens,
            self.now,
        )

    def computed(self) -> None:
        """Notes that a batch had enough memory."""
        self.now = min(self._most, self.now + self.now // _GROWTH + 1)

    def holds(self, lengths: Sequence[int], reply: int) -> bool:
        """Whether prompts of these lengths may be computed together, with `reply` tokens each."""
        return len(lengths) <= 1 or padded(lengths, reply) <= self.now

    def first_part(self, lengths: Sequence[int], reply: int) -> list[int]:
        """Places of the prompts to compute first: all, or the shortest, which share little padding.

        There is at least one.
        """
        if self.holds(lengths, reply):
            return list(range(len(lengths)))
        order = sorted(range(len(lengths)), key=lambda place: lengths[place])
        count = 1
        while count < len(order) and (count + 1) * (lengths[order[count]] + reply) <= self.now:
            count += 1
        return sorted(order[:count])


def padded(lengths: Sequence[int], reply: int) -> int:
    """Tokens of a batch: prompts are padded to the longest, and each has room for its reply."""
    return len(lengths) * (max(lengths) + reply)
