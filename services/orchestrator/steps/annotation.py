"""Pseudo Annotator (paper, Section 3.1): the teacher writes questions and answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from services.core.annotation import UNPARSED, Rejection
from services.core.diversity import COLLAPSED, collapse, focused, told
from services.core.errors import STOPS_THE_RUN, MpaError, Pending
from services.orchestrator.endpoints.panel import require_same_teacher
from services.orchestrator.run.ledger import FAILED, AnnotationRow
from services.orchestrator.run.run import Run
from services.orchestrator.steps import focus
from services.rpc.client import Picture, Teacher
from services.together import together


def failure(error: MpaError) -> Rejection:
    """Rejection for an error of the teacher. None is final: a repeated run asks again."""
    return Rejection.PENDING if isinstance(error, Pending) else Rejection.TEACHER_ERROR


def unmarked(run: Run, row: AnnotationRow) -> AnnotationRow:
    """The annotation without its rejection."""
    if row.rejection:
        row = replace(row, rejection="", detail="")
        run.ledger.add_annotation(row)
    return row


async def annotate(run: Run, teacher: Teacher, picture: Picture) -> list[AnnotationRow]:
    """The usable annotations of the image.

    The ledger keeps every reply, with the reason if it is rejected.
    """
    earlier = run.ledger.annotations(picture.sha256)
    if run.settings.recipe.distinct_questions:
        return _distinct(run, await _annotate_in_turn(run, teacher, picture, earlier))
    async with together() as group:
        asked = [
            group.create_task(
                _annotate_once(
                    run, teacher, picture, number, [r for r in earlier if r.number == number], kind
                )
            )
            for number, kind in focus.questions(run, picture.sha256)
        ]
    return _distinct(run, [task.result() for task in asked])


async def _annotate_in_turn(
    run: Run, teacher: Teacher, picture: Picture, earlier: list[AnnotationRow]
) -> list[AnnotationRow]:
    """Asks for each further question with the earlier ones in the prompt, rejected or not."""
    rows: list[AnnotationRow] = []
    for number, kind in focus.questions(run, picture.sha256):
        known = [row.question for row in rows if row.question]
        of_number = [row for row in earlier if row.number == number]
        rows.append(await _annotate_once(run, teacher, picture, number, of_number, kind, known))
    return rows


async def _annotate_once(
    run: Run,
    teacher: Teacher,
    picture: Picture,
    number: int,
    earlier: list[AnnotationRow],
    kind: str,
    known: Sequence[str] = (),
) -> AnnotationRow:
    """One question, of that kind unless it is "".

    A reply that can't be parsed is asked for once more, with another seed.

    With `redo_rejected` each later round asks once more for annotations that are still
    rejected, for any reason.
    """
    row = _standing(run, earlier, attempt=0) or await _ask(
        run, teacher, picture, number, 0, kind, known
    )
    if row.rejection in UNPARSED:
        row = _standing(run, earlier, attempt=1) or await _ask(
            run, teacher, picture, number, 1, kind, known
        )
    for attempt in range(2, run.ledger.round + 1) if run.settings.redo_rejected else ():
        if row.rejection and row.rejection not in FAILED:
            row = _standing(run, earlier, attempt) or await _ask(
                run, teacher, picture, number, attempt, kind, known
            )
    return row


def _standing(run: Run, earlier: list[AnnotationRow], attempt: int) -> AnnotationRow | None:
    """The reply in the ledger; None if there is none or its call failed."""
    row = next((row for row in earlier if row.attempt == attempt), None)
    if row is None or row.rejection not in FAILED:
        return row
    if not row.question:
        return None
    return unmarked(run, row)


async def _ask(
    run: Run,
    teacher: Teacher,
    picture: Picture,
    number: int,
    attempt: int,
    kind: str,
    known: Sequence[str],
) -> AnnotationRow:
    settings = run.settings
    decoding = settings.annotation_decoding(picture.sha256, number, attempt)
    try:
        prompt = focused(told(settings.recipe.annotation_prompt(settings.the_task), known), kind)
        reply = await teacher.annotate(
            picture, settings.task, prompt, decoding, guided=settings.guided
        )
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        row = AnnotationRow(
            image_sha256=picture.sha256,
            number=number,
            attempt=attempt,
            text="",
            question="",
            answer="",
            rejection=failure(error),
            seed=decoding.seed,
            model_fingerprint="",
            detail=str(error),
        )
    else:
        require_same_teacher(run, teacher, reply.model_fingerprint)
        row = AnnotationRow(
            image_sha256=picture.sha256,
            number=number,
            attempt=attempt,
            text=reply.text,
            question=reply.question,
            answer=reply.answer,
            rejection=reply.rejection,
            seed=decoding.seed,
            model_fingerprint=reply.model_fingerprint,
            provenance=reply.provenance,
        )
    run.ledger.add_annotation(row)
    return row


def _distinct(run: Run, rows: list[AnnotationRow]) -> list[AnnotationRow]:
    """Annotations of the image that stay. All are compared again each time, by number.

    So neither the order of the replies nor a call that failed at first changes the
    result. Questions of later rounds come last: they never replace an annotation that
    earlier rounds have used.
    """
    recipe = run.settings.recipe
    asked = sorted(
        (row for row in rows if row.question),
        key=lambda row: focus.round_of(run, row.number, row.attempt),
    )
    questions = [row.question for row in asked]
    outcomes = collapse(questions, near=recipe.distinct_questions, max_per_kind=recipe.max_per_kind)
    kept = []
    for row, outcome in zip(asked, outcomes, strict=True):
        if outcome is None and row.rejection in {"", *COLLAPSED}:
            kept.append(unmarked(run, row))
        elif outcome is not None and row.rejection != outcome.reason:
            stays = asked[outcome.kept]
            run.ledger.reject(
                row, outcome.reason, f"question {stays.number + 1} stays: {stays.question}"
            )
    return kept
