"""Regimen: how the Parity Leveler trains a student (paper, Section 3.3) on identified samples.

It says which samples are met, how often and with which weight, which parts are trained, and how
long. Recipes of runs and arms of experiments each have one, so both train alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from services.core.anchors import transplant
from services.core.emphasis import emphasize
from services.core.parity import Sample

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Regimen:
    """One way to train a student."""

    rehearsal_ratio: float | None = 0.0
    """Known samples for each gap sample; None: all of them."""
    emphasis: float = 0.0
    """Meetings of a gap sample for each of a known one; 0: each sample once a pass."""
    gap_weight: float = 1.0
    """Weight of a gap sample in the loss; a known one has 1."""
    repairs: int = 0
    """Further trainings, in which samples that the one before got wrong are met more often."""
    anchor: float = 0.0
    """Weight of an anchor's divergence in the loss (anchors.py); 0: there are no anchors."""
    trainable: str = ""
    """Trained parts of the student (model_parts.py); "": all."""
    tower_rate: float | None = None
    """Factor on the learning rate of the vision tower; None: 1."""
    epochs: int = 0
    """Passes over the samples; 0: those of the student's preset."""
    learning_rate: float | None = None
    """Learning rate; None: that of the student's preset."""
    weight_decay: float | None = None
    """Weight decay; None: that of the student's preset."""

    @property
    def settings(self) -> tuple[int, float | None, float | None]:
        """How long and how fast the whole student is trained."""
        return self.epochs, self.learning_rate, self.weight_decay

    def meetings(self, samples: Sequence[Sample], seed: int, epochs: int) -> list[Sample]:
        """The samples, as often as a pass meets them. `epochs`: those of the student's preset.

        With emphasis the meetings of all passes are one pass.
        """
        if not self.emphasis:
            return list(samples)
        drawn = draw(samples, lambda sample: sample.key, len(samples), seed)
        return emphasize(drawn, self.emphasis, self.epochs or epochs)

    def weights(self, gap: Iterable[T]) -> dict[T, float]:
        """Weights in the loss of samples that don't weigh 1. `gap`: those of the gap."""
        return dict.fromkeys(gap, self.gap_weight) if self.gap_weight != 1.0 else {}

    def anchors(
        self,
        images: Sequence[str],
        questions: Collection[str],
        taken: Collection[tuple[str, str]],
        seed: int,
    ) -> list[tuple[str, str]]:
        """Image and question of each anchor: as many as the training has meetings, if there are.

        `images`: that of each meeting. `questions`: their bank. `taken`: pairs that records have.
        """
        if not self.anchor:
            return []
        return transplant(questions, images, taken, len(images), seed)

    def passes(self, epochs: int) -> int:
        """Passes over the meetings. `epochs`: those of the student's preset."""
        return 1 if self.emphasis else self.epochs or epochs


def draw(items: Sequence[T], key: Callable[[T], str], count: int, seed: int) -> list[T]:
    """Draw up to `count` items. A larger draw with the same seed contains a smaller one."""

    def place(item: T) -> bytes:
        return hashlib.sha256(f"{seed}\n{key(item)}".encode()).digest()

    return sorted(items, key=place)[:count]
