"""Parity Identifier (paper, Section 3.2, Algorithm 3): cells of Eq. 1, samples of Eq. 2."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.core.diversity import balanced, draw
from services.core.questions import question_kind


class Cell(StrEnum):
    """Cell of an annotated sample: did teacher and student, each asked blind, agree with it?"""

    GAP = "gap"
    """Teacher right, student wrong: the knowledge gap, the S = 1 of Eq. 2."""
    KNOWN = "known"
    """Both right: nothing to learn."""
    NOISE_STUDENT_RIGHT = "noise_student_right"
    """Teacher wrong, student right: the annotation is unreliable."""
    NOISE_BOTH_WRONG = "noise_both_wrong"
    """Both wrong: the annotation is unreliable."""
    UNASKED = "unasked"
    """Student right, teacher not asked: by Eq. 2 it is no gap, whatever the teacher says."""


STUDENT_RIGHT = frozenset({Cell.KNOWN, Cell.UNASKED})
NOISE = frozenset({Cell.NOISE_STUDENT_RIGHT, Cell.NOISE_BOTH_WRONG})


def cell(*, student_right: bool, teacher_right: bool | None) -> Cell:
    """The cell of a sample. `teacher_right`: None, not asked, only if the student was right."""
    if teacher_right is None:
        if not student_right:
            raise ValueError("the teacher must be asked if the student was wrong")
        return Cell.UNASKED
    if teacher_right:
        return Cell.KNOWN if student_right else Cell.GAP
    return Cell.NOISE_STUDENT_RIGHT if student_right else Cell.NOISE_BOTH_WRONG


WEIGHTS = (0.001, 1000.0)
"""Least and largest weight of a training sample in the loss; 1 is usual."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One training sample (I, Q, A). The label is the annotation's answer, or a person's
    correction of it, never a later answer of a model.
    """

    image_sha256: str
    question: str
    answer: str
    cell: Cell

    @property
    def label(self) -> tuple[str, str, str]:
        """Image, question and answer, without the cell."""
        return self.image_sha256, self.question, self.answer

    @property
    def key(self) -> str:
        """A stable, well-mixed name, which orders the samples of a draw without a seed."""
        return hashlib.sha256(
            f"{self.image_sha256}\n{self.question}\n{self.answer}".encode()
        ).hexdigest()


def is_held_out(image_sha256: str, fraction: float) -> bool:
    """Is this image kept out of training, to judge the candidate? The image alone decides it."""
    return int(image_sha256[:8], 16) < fraction * 16**8


def select(
    samples: Sequence[Sample],
    rehearsal_ratio: float | None = 0.0,
    max_share_per_kind: float = 1.0,
) -> list[Sample]:
    """The samples to train on: every gap sample, and `rehearsal_ratio` known ones for each of them.

    `max_share_per_kind`: largest share of one kind of question, in the gap samples and in the known
    ones. A sample is known if the student agreed with its annotation (cells KNOWN and UNASKED):
    rehearsing it costs no teacher call. Ratio 0 is Eq. 2 as written; None takes every known
    sample. The order of `samples` doesn't matter.
    """
    in_order = sorted(samples, key=lambda sample: sample.key)
    gap = balanced(
        [sample for sample in in_order if sample.cell is Cell.GAP], _kind, max_share_per_kind
    )
    known = [sample for sample in in_order if sample.cell in STUDENT_RIGHT]
    count = len(known) if rehearsal_ratio is None else round(rehearsal_ratio * len(gap))
    return gap + draw(known, _kind, count, max_share_per_kind)


def _kind(sample: Sample) -> str:
    return question_kind(sample.question)
