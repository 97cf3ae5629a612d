"""Anchors of a training (core/anchors.py): their questions and draw, and who trains on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from services.core.anchors import bank
from services.core.errors import InvalidInput, NotFound, WrongState
from services.core.parity import Cell
from services.core.regimen import Regimen
from services.orchestrator.run.ledger.rows import Record
from services.rpc.client import TrainingPlan
from services.rpc.limits import check_question

ANCHORS_UNKNOWN = "ANCHORS_UNKNOWN"
"""Reason of a student service that is too old to train on anchors."""


def read_questions(path: Path) -> tuple[str, ...]:
    """The questions in a text file, one a line; blank lines are ignored.

    Raises NotFound; InvalidInput: no text, no question, or one that is too long.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise NotFound(
            f"the questions of anchors in {path} can't be read ({error.strerror}): "
            "name a text file with one question a line"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text: save it as UTF-8") from error
    questions = tuple(line.strip() for line in lines if line.strip())
    if not questions:
        raise InvalidInput(f"{path} has no question: write one a line", field="anchor_questions")
    return tuple(dict.fromkeys(map(check_question, questions)))


def draw_anchors(
    regimen: Regimen,
    task: str,
    records: Iterable[Record],
    images: Sequence[str],
    given: Sequence[str],
    seed: int,
) -> list[tuple[str, str]]:
    """Image and question of each anchor of a training; none if its regimen has none.

    `records`: all of the run; `images`: that of each meeting of the training; `given`: questions
    that people name.
    """
    if not regimen.anchor:
        return []
    known = list(records)
    annotated = {one.question for one in known if not one.held_out}
    gap = {one.question for one in known if one.cell is Cell.GAP}
    taken = {(one.image_sha256, one.question) for one in known}
    return regimen.anchors(images, bank(task, annotated, gap, given), taken, seed)


def require_anchors(regimen: Regimen, plan: TrainingPlan | None, address: str) -> None:
    """Check that a student service trains on anchors, by its plan. Raises WrongState.

    It is None of a service that is too old to make one.
    """
    if regimen.anchor and not (plan and plan.takes_anchors):
        raise WrongState(
            f"the student service at {address} is of an earlier release, which can't train on "
            "anchors: update it, or leave out +anchor",
            reason=ANCHORS_UNKNOWN,
        )
