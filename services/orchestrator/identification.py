"""Parity Identifier (paper, Section 3.2): both models answer an annotated question blind, and the record gets its cell."""

from __future__ import annotations

from services.core.annotation import Rejection
from services.core.errors import MpaError, WrongState
from services.core.parity import Cell, cell
from services.orchestrator.annotation import STOPS_THE_RUN, require_same_teacher
from services.orchestrator.ledger import AnnotationRow
from services.orchestrator.run import Run
from services.rpc.client import Picture, StudentClient, TeacherClient


async def identify(
    run: Run, teacher: TeacherClient, student: StudentClient, picture: Picture, annotation: AnnotationRow
) -> Cell | None:
    """The cell, or None where a model could not answer (recorded as rejected, with the reason).

    Eq. 2 is a conjunction, so the cheap test runs first: the teacher is asked only where the student was wrong, and
    everywhere with `full_matrix`. The gap is the same; rehearsal then leaves out what the teacher contradicts.
    """
    if found := run.ledger.cell(annotation.image_sha256, annotation.number):
        return Cell(found)
    matches = run.settings.the_matcher.matches
    question, reference = annotation.question, annotation.answer
    try:
        student_right = matches(await student_answer(run, student, picture, question), reference)
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        run.ledger.reject(annotation, Rejection.STUDENT_ERROR, str(error))
        return None
    teacher_right = None
    if not student_right or run.settings.full_matrix:
        try:
            teacher_right = matches(await teacher_answer(run, teacher, picture, question), reference)
        except STOPS_THE_RUN:
            raise
        except MpaError as error:
            run.ledger.reject(annotation, Rejection.TEACHER_ERROR, str(error))
            return None
    found_cell = cell(student_right=student_right, teacher_right=teacher_right)
    run.ledger.add_record(annotation.image_sha256, annotation.number, found_cell, run.settings.matcher)
    return found_cell


async def student_answer(
    run: Run, student: StudentClient, picture: Picture, question: str, version: str = "", step: str = "identify"
) -> str:
    """By `version`, the run's base version if none is named. Asked at most once: the ledger keeps the answer."""
    version = version or run.ledger.meta("version.before")
    known = run.ledger.answer(picture.sha256, question, "student", version)
    if known is not None:
        return known
    recipe = run.settings.recipe
    reply = await student.answer(picture, question, recipe.answer_template, recipe.answer_decoding, version)
    if reply.version != version:
        raise WrongState(
            f"the student at {student.connection.address} answered by version {reply.version!r}, not by {version!r} as asked: "
            "start it with the versions of this run"
        )
    run.ledger.add_answer(picture.sha256, question, "student", version, reply.answer, run.settings.conditions, step)
    return reply.answer


async def teacher_answer(run: Run, teacher: TeacherClient, picture: Picture, question: str, step: str = "identify") -> str:
    """In a fresh context, under the student's conditions. Asked at most once."""
    known = run.ledger.answer(picture.sha256, question, "teacher", run.ledger.meta("teacher"))
    if known is not None:
        return known
    recipe = run.settings.recipe
    reply = await teacher.answer(picture, question, recipe.answer_template, recipe.answer_decoding)
    require_same_teacher(run, teacher, reply.version)
    run.ledger.add_answer(picture.sha256, question, "teacher", reply.version, reply.answer, run.settings.conditions, step)
    return reply.answer
