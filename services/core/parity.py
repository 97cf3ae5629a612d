"""Parity Identifier (paper, Section 3.2, Algorithm 3): the cells of Eq. 1, and which samples the student trains on (Eq. 2)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.core.diversity import balanced, draw
from services.core.questions import question_kind


class Cell(StrEnum):
    """Where an annotated sample falls: did teacher and student, each asked blind, agree with the annotation?"""

    GAP = "gap"
    """Teacher right, student wrong: the knowledge gap, the S = 1 of Eq. 2."""
    KNOWN = "known"
    """Both right: nothing to learn."""
    NOISE_STUDENT_RIGHT = "noise_student_right"
    """Teacher wrong, student right: the annotation is unreliable."""
    NOISE_BOTH_WRONG = "noise_both_wrong"
    """Both wrong: the annotation is unreliable."""
    UNASKED = "unasked"
    """Student right, teacher not asked: Eq. 2 is a conjunction, so the sample can't be a gap whatever the teacher says."""


STUDENT_RIGHT = frozenset({Cell.KNOWN, Cell.UNASKED})
NOISE = frozenset({Cell.NOISE_STUDENT_RIGHT, Cell.NOISE_BOTH_WRONG})


def cell(*, student_right: bool, teacher_right: bool | None) -> Cell:
    """The cell of a sample. `teacher_right` None means not asked, which is allowed only where the student was right."""
    if teacher_right is None:
        if not student_right:
            raise ValueError("the teacher must be asked where the student was wrong")
        return Cell.UNASKED
    if teacher_right:
        return Cell.KNOWN if student_right else Cell.GAP
    return Cell.NOISE_STUDENT_RIGHT if student_right else Cell.NOISE_BOTH_WRONG


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample (I, Q, A); the label is the annotation's answer, never a model's second answer."""

    image_sha256: str
    question: str
    answer: str
    cell: Cell

    @property
    def key(self) -> str:
        """A stable, well-mixed name: the order in which a seedless draw takes samples."""
        return hashlib.sha256(
            f"{self.image_sha256}\n{self.question}\n{self.answer}".encode()
        ).hexdigest()


def is_held_out(image_sha256: str, fraction: float) -> bool:
    """Is this image kept out of training, to judge the candidate on? Decided by the image alone, so it never wavers."""
    return int(image_sha256[:8], 16) < fraction * 16**8


def select(
    samples: Sequence[Sample], rehearsal_ratio: float = 0.0, max_share_per_kind: float = 1.0
) -> list[Sample]:
    """The samples to train on: every gap sample, and `rehearsal_ratio` known ones for each of them.

    With `max_share_per_kind` no kind of question takes more than that share, of the gap samples or of the known ones.

    Known samples are those where the student already agreed with the annotation (cells KNOWN and UNASKED): rehearsing them
    costs no teacher call. Ratio 0 is Eq. 2 as written. The result does not depend on the order of `samples`.
    """
    in_order = sorted(samples, key=lambda sample: sample.key)
    gap = balanced(
        [sample for sample in in_order if sample.cell is Cell.GAP], _kind, max_share_per_kind
    )
    known = (sample for sample in in_order if sample.cell in STUDENT_RIGHT)
    return gap + draw(known, _kind, round(rehearsal_ratio * len(gap)), max_share_per_kind)


def _kind(sample: Sample) -> str:
    return question_kind(sample.question)
