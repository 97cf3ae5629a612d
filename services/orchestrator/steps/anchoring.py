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
WEIGHTS_UNKNOWN = "WEIGHTS_UNKNOWN"
"""Reasons of a student service that is too old to train on anchors, or on samples with weights."""


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


def needs_new_service(regimen: Regimen) -> bool:
    """Whether its samples have what a student service of release 0.2.0 ignores without a word."""
    return bool(regimen.anchor) or regimen.gap_weight != 1.0


def require_new_service(regimen: Regimen, plan: TrainingPlan | None, address: str) -> None:
    """Check that a student service knows what the samples have, by its plan. Raises WrongState.

    It is None of a service that is too old to make one. Those that take anchors know weights, which
    came before.
    """
    if not needs_new_service(regimen) or (plan and plan.takes_anchors):
        return
    is_anchored = bool(regimen.anchor)
    unknown = "can't train on anchors" if is_anchored else "ignores the weights of samples"
    other = "leave out +anchor" if is_anchored else "give a recipe without them (--recipe filtered)"
    raise WrongState(
        f"the student service at {address} is of an earlier release, which {unknown}: "
        f"update it, or {other}",
        reason=ANCHORS_UNKNOWN if is_anchored else WEIGHTS_UNKNOWN,
    )
