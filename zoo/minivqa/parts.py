"""The parts of the benchmark, and the entities that each may use."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class Part(StrEnum):
    """POOL and TRAINING share entities but no picture; so do TEST, HARDER, DEV and FINAL.

    HARDER is TEST by another renderer. DEV and FINAL are two draws from the distribution of TEST:
    recipes are chosen on DEV, and a claim about one is made on FINAL, once.
    """

    TRAINING = "training"
    POOL = "pool"
    TEST = "test"
    HARDER = "harder"
    DEV = "dev"
    FINAL = "final"

    @property
    def is_unseen(self) -> bool:
        """True if its entities appear neither in the pool nor in training."""
        return self not in (Part.TRAINING, Part.POOL)


@dataclass(frozen=True, slots=True)
class Split(Generic[T]):
    """Entities of one sort; none is in both halves."""

    seen: tuple[T, ...]
    unseen: tuple[T, ...]

    def of(self, part: Part) -> tuple[T, ...]:
        return self.unseen if part.is_unseen else self.seen

    def draw(self, part: Part, rng: random.Random) -> T:
        return rng.choice(self.of(part))


def filled(wordings: Split[str], **words: str) -> Split[str]:
    """The wordings with their fields filled in."""
    return Split(
        *(tuple(text.format(**words) for text in half) for half in (wordings.seen, wordings.unseen))
    )
