"""Order of the training samples, and their division into batches and among processes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

_GROUPED_BATCHES = 50
"""Number of batches that are sorted by length together.

Enough to save most of the padding, few enough to stay a random draw.
"""


class EffectiveBatches(Sampler[list[int]]):
    """Effective batches of one epoch after another, each cut into micro batches for every process.

    The effective batches are drawn at random. They depend only on the seed and the epoch: neither
    the size of a micro batch nor the number of processes changes what one step learns. All
    processes get the same number of micro batches. If an epoch's last batch can't be divided, it
    is filled with indices ~i: the sample is computed, but nothing is learned from it.
    """

    def __init__(
        self,
        samples: int,
        batch_size: int,
        micro_batch: int,
        *,
        processes: int = 1,
        process: int = 0,
        seed: int = 0,
        lengths: Sequence[int] = (),
    ) -> None:
        self._samples = samples
        self._batch_size = batch_size
        self._micro_batch = micro_batch
        self._processes = processes
        self._process = process
        self._seed = seed
        self._lengths = lengths
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Number of optimizer steps in an epoch."""
        return math.ceil(self._samples / self._batch_size)

    def __len__(self) -> int:
        """Number of micro batches of one process in an epoch."""
        whole, tail = divmod(self._samples, self._batch_size)
        at_once = self._micro_batch * self._processes
        return whole * (self._batch_size // at_once) + math.ceil(tail / at_once)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.draw():
            for together in _cut(batch, self._micro_batch * self._processes):
                missing = -len(together) % self._processes
                yield [*together, *[~together[0]] * missing][self._process :: self._processes]

    def draw(self) -> list[list[int]]:
        """Draw the effective batches of this epoch. The last one may be smaller."""
        random_order = random.Random(f"{self._seed} {self.epoch}")
        order = list(range(self._samples))
        random_order.shuffle(order)
        if not self._lengths:
            return _cut(order, self._batch_size)
        groups = _cut(order, self._batch_size * _GROUPED_BATCHES)
        batches = _cut(
            [at for group in groups for at in sorted(group, key=self._lengths.__getitem__)],
            self._batch_size,
        )
        # The trainer expects the smaller batch last.
        whole = len(batches) - (len(batches[-1]) < self._batch_size)
        return [*random_order.sample(batches[:whole], whole), *batches[whole:]]


def _cut(items: list[int], size: int) -> list[list[int]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
