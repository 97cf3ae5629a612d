"""The request for a run: options of `align`, `annotate` and `quote`, as one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from services.core.recipes import AS_IT_IS, Amendments
from services.orchestrator.endpoints.where import Where


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run as its command describes it, by names; `session.settings` checks them."""

    folder: Path
    """The run's folder. If it has a run already, that run is resumed."""
    where: Where
    images: str
    """Folder, glob, file or URL."""
    task: str
    recipe: str = ""
    """Name of the recipe; "" is the run's own, and for a new run the usual one."""
    amendments: Amendments = AS_IT_IS
    matcher: str = ""
    """Name of the matcher; "" is the recipe's, else the task's."""
    student_matcher: str = ""
    """Name of the matcher for the student's answers; "" is the same one."""
    limit: int = 0
    """Number of images; 0 takes all."""
    near_duplicates: int | None = None
    """Bits within which an image repeats an earlier one; None keeps all."""
    leak_check: tuple[str, ...] = ()
    """Sources of images that are excluded."""
    max_pixels: int | None = None
    """Most pixels of an image, 0 for any number; None is the run's own, else the student's."""
    full_matrix: bool = False
    guided: bool = False
    seed: int = 0
    lora_rank: int = 0
    """Rank of the adapters; 0 trains the whole student."""
    anchor_questions: Path | None = None
    """File with the questions of anchors, one a line; None: general ones."""
    redo_rejected: bool = False
    focus: bool = False
    pilot: bool = False
    """A quote's run, on a sample of the images."""


@dataclass(frozen=True, slots=True)
class GuardChoice:
    """Guard sets that a command names; without any, those of an earlier command stay.

    `tolerance`: 0 to 1; None leaves it as it is.
    """

    paths: tuple[Path, ...] = ()
    tolerance: float | None = None

    @classmethod
    def of(cls, paths: Sequence[Path] | None, points: float | None) -> GuardChoice:
        """The choice by the options of a command. `points`: percent of the questions."""
        return cls(tuple(paths or ()), None if points is None else points / 100)


NO_GUARDS = GuardChoice()
