"""Focus: later rounds ask one question more about each image, of the kinds in the gap before it.

A kind's share of the further questions is its share of that gap (on the images that
aren't held out), so the teacher is asked for more of the student's weak kinds. The kind
is a wish in the prompt; the resulting annotation is treated like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from services.core.diversity import allotted
from services.core.parity import Cell
from services.core.questions import question_kind
from services.orchestrator.run.run import Run


def kinds_of_gap(run: Run) -> dict[str, int]:
    """Questions of this round's gap by kind. Questions without a kind are left out."""
    gap = (
        record for record in run.ledger.records() if record.cell is Cell.GAP and not record.held_out
    )
    counts = Counter(question_kind(record.question) for record in gap)
    return {kind: count for kind, count in counts.items() if kind != "other"}


def questions(run: Run, image_sha256: str) -> Iterator[tuple[int, str]]:
    """Questions to ask about the image by this round: number and wished kind, or ""."""
    first = run.settings.recipe.questions_per_image
    yield from ((number, "") for number in range(first))
    if not run.settings.focus or run.settings.the_task.question:
        return  # one question for all images has one kind
    for number in range(2, run.ledger.round + 1):
        counts = run.state.of_round(number).focus
        yield first + number - 2, allotted(counts, run.settings.lot(image_sha256, "focus", number))


def round_of(run: Run, number: int, attempt: int) -> int:
    """Round that first asked for the annotation: each round numbers its questions after the
    last's.
    """
    return max(1, attempt, number - run.settings.recipe.questions_per_image + 2)
