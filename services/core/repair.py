"""Repair: after a training, the samples that its student gets wrong are met more often in another.

The other training starts from the same base. A broken sample is one that the student had right
before the training and gets wrong after it; an unfixed one is of the gap and still wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")

BROKEN = 3
"""Meetings of a broken sample for each of another one."""
UNFIXED = 2
MOST_REPAIRS = 2


def repair(before: Mapping[T, int], gap: Collection[T], wrong: Iterable[T]) -> dict[T, int]:
    """Meetings of samples in the next training, where others have one.

    `before`: those of the training before, which repaired samples keep. `wrong`: the samples that
    the student of that training got wrong.
    """
    found = dict(before)
    for sample in wrong:
        found[sample] = max(found.get(sample, 1), UNFIXED if sample in gap else BROKEN)
    return found


def repeat(samples: Sequence[T], meetings: Mapping[T, int]) -> list[T]:
    """The samples in their order, each as often as it is met."""
    return [sample for sample in samples for _ in range(meetings.get(sample, 1))]
