"""Pseudo Annotator (paper, Section 3.1): the teacher writes questions and answers about one image."""

from __future__ import annotations

from dataclasses import replace

from services.core.annotation import UNPARSED, Rejection, question_key
from services.core.errors import BudgetSpent, Cancelled, MpaError, Overloaded, Pending, Unavailable, WrongState
from services.orchestrator.ledger import FAILED, AnnotationRow
from services.orchestrator.run import Run
from services.orchestrator.tasks import together
from services.rpc.client import Picture, TeacherClient

STOPS_THE_RUN = (Unavailable, Overloaded, Cancelled, WrongState, BudgetSpent)
"""Errors of the service rather than of one request: what is done stays done, the rest is for the next try."""


def failure(error: MpaError) -> Rejection:
    """What an error of the teacher makes of an annotation: neither is final, both are asked again when the run is repeated."""
    return Rejection.PENDING if isinstance(error, Pending) else Rejection.TEACHER_ERROR


async def annotate(run: Run, teacher: TeacherClient, picture: Picture) -> list[AnnotationRow]:
    """The usable annotations of the image; every reply, usable or not, is in the ledger with its reason."""
    earlier = run.ledger.annotations(picture.sha256)
    async with together() as group:
        asked = [
            group.create_task(_annotate_once(run, teacher, picture, number, [r for r in earlier if r.number == number]))
            for number in range(run.settings.recipe.questions_per_image)
        ]
    return _without_duplicates(run, [task.result() for task in asked])


async def _annotate_once(
    run: Run, teacher: TeacherClient, picture: Picture, number: int, earlier: list[AnnotationRow]
) -> AnnotationRow:
    """One question. A reply that can't be parsed is asked for once more with another seed.

    With `redo_rejected` each later round asks once more for what is still rejected, for whatever reason.
    """
    row = _standing(run, earlier, attempt=0) or await _ask(run, teacher, picture, number, attempt=0)
    if row.rejection in UNPARSED:
        row = _standing(run, earlier, attempt=1) or await _ask(run, teacher, picture, number, attempt=1)
    for attempt in range(2, run.ledger.round + 1) if run.settings.redo_rejected else ():
        if row.rejection and row.rejection not in FAILED:
            row = _standing(run, earlier, attempt) or await _ask(run, teacher, picture, number, attempt)
    return row


def _standing(run: Run, earlier: list[AnnotationRow], attempt: int) -> AnnotationRow | None:
    """The reply that the ledger holds; None where there is none or the call had failed, not the reply."""
    row = next((row for row in earlier if row.attempt == attempt), None)
    if row is None or row.rejection not in FAILED:
        return row
    if not row.question:
        return None
    row = replace(row, rejection="", detail="")
    run.ledger.add_annotation(row)
    return row


async def _ask(run: Run, teacher: TeacherClient, picture: Picture, number: int, attempt: int) -> AnnotationRow:
    settings = run.settings
    decoding = settings.annotation_decoding(picture.sha256, number, attempt)
    try:
        prompt = settings.recipe.annotation_prompt(settings.the_task)
        reply = await teacher.annotate(picture, settings.task, prompt, decoding, guided=settings.guided)
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        row = AnnotationRow(picture.sha256, number, attempt, "", "", "", failure(error), decoding.seed, "", detail=str(error))
    else:
        require_same_teacher(run, teacher, reply.model_fingerprint)
        row = AnnotationRow(
            *(picture.sha256, number, attempt, reply.text, reply.question, reply.answer),
            *(reply.rejection, decoding.seed, reply.model_fingerprint),
            provenance=reply.provenance,
        )
    run.ledger.add_annotation(row)
    return row


def _without_duplicates(run: Run, rows: list[AnnotationRow]) -> list[AnnotationRow]:
    """The first of the image's questions that are the same stays, so the order of the replies does not matter.

    What a later round asked for comes last: it never takes the place of an annotation that earlier rounds have used.
    """
    kept: dict[str, AnnotationRow] = {}
    for row in sorted(rows, key=lambda row: max(row.attempt, 1)):
        if row.rejection:
            continue
        if kept.setdefault(question_key(row.question), row) is not row:
            run.ledger.reject(row, Rejection.DUPLICATE)
    return list(kept.values())


def require_same_teacher(run: Run, teacher: TeacherClient, fingerprint: str) -> None:
    """Raises WrongState where another model than before answers: one run has one teacher."""
    known = run.ledger.meta("teacher")
    if not known:
        run.ledger.set_meta("teacher", fingerprint)
    elif known != fingerprint:
        raise WrongState(
            f"the teacher at {teacher.connection.address} is another model ({fingerprint[:12]}) than the one this run began "
            f"with ({known[:12]}): start that one, or give another --run"
        )
