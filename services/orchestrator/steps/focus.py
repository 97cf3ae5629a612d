"""Focus: every round after the first asks one question more about each image, of the kinds that the gap before it is made of.

A kind's share of the further questions is its share of that gap (on the images that aren't held out): the teacher is asked for
more of what the student fails at. It is a wish in the prompt; what the teacher makes of it is an annotation like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from services.core.diversity import allotted
from services.core.parity import Cell
from services.core.questions import question_kind
from services.orchestrator.run.run import Run


def kinds_of_gap(run: Run) -> dict[str, int]:
    """Of the round that the run is in. Questions without a kind can't be asked for more of."""
    gap = (
        record for record in run.ledger.records() if record.cell is Cell.GAP and not record.held_out
    )
    counts = Counter(question_kind(record.question) for record in gap)
    return {kind: count for kind, count in counts.items() if kind != "other"}


def questions(run: Run, image_sha256: str) -> Iterator[tuple[int, str]]:
    """What the teacher is to be asked for about the image by now: numbers, each with the kind that is wished, or ""."""
    first = run.settings.recipe.questions_per_image
    yield from ((number, "") for number in range(first))
    if (
        not run.settings.focus or run.settings.the_task.question
    ):  # one question for all images has one kind
        return
    for number in range(2, run.ledger.round + 1):
        counts = run.state.of_round(number).focus
        yield first + number - 2, allotted(counts, run.settings.lot(image_sha256, "focus", number))


def round_of(run: Run, number: int, attempt: int) -> int:
    """In which an annotation was asked for first: the further questions of a round have the number after the last one's."""
    return max(1, attempt, number - run.settings.recipe.questions_per_image + 2)
