"""Parity Identifier (paper, Section 3.2): both models answer an annotated question blind, and the record gets its cell."""

from __future__ import annotations

from services.core.agreement import Agreement, majority
from services.core.annotation import Rejection
from services.core.errors import STOPS_THE_RUN, MpaError, NotFound, WrongState
from services.core.parity import Cell, cell
from services.orchestrator.endpoints.panel import panel_of, require_same_teacher
from services.orchestrator.run.ledger import AnnotationRow, AnswerRow
from services.orchestrator.run.ledger.opinions import OpinionKind, add_opinion
from services.orchestrator.run.matching import NO_ANSWER
from services.orchestrator.run.run import Run
from services.orchestrator.steps.annotation import failure
from services.rpc.client import AnsweringStudent, Picture, Student, Teacher


async def identify(
    run: Run,
    teacher: Teacher,
    student: Student | None,
    picture: Picture,
    annotation: AnnotationRow,
) -> Cell | None:
    """The cell, or None where a model could not answer (recorded as rejected, with the reason).

    Eq. 2 is a conjunction, so the cheap test runs first: the teacher is asked only where the student was wrong, and
    everywhere with `full_matrix`. The gap is the same; rehearsal then leaves out what the teacher contradicts. Several teachers
    vote (teachers.py).

    A teacher that declined, or was cut off, has not answered: that says nothing about the annotation, and the record is
    rejected. A student's answer counts as it stands, for that is what its users get: cut off, it is simply right or wrong.
    """
    if found := run.ledger.cell(annotation.image_sha256, annotation.number):
        return Cell(found)
    settings = run.settings
    question, reference = annotation.question, annotation.answer
    try:
        given_by_student = await student_answer(run, student, picture, question)
    except STOPS_THE_RUN:
        raise
    except MpaError as error:
        run.ledger.reject(annotation, Rejection.STUDENT_ERROR, str(error))
        return None
    student_right = settings.the_student_matcher.matches(given_by_student, reference)
    teacher_right = None
    if not student_right or settings.full_matrix:
        try:
            verdict = await _vote(run, teacher, picture, annotation)
        except STOPS_THE_RUN:
            raise
        except MpaError as error:
            run.ledger.reject(annotation, failure(error), str(error))
            return None
        if isinstance(verdict, AnswerRow):
            reason = NO_ANSWER[verdict.provenance.finish_reason]
            run.ledger.reject(annotation, reason, f"the teacher's answer: {verdict.answer}")
            return None
        teacher_right = verdict
    found_cell = cell(student_right=student_right, teacher_right=teacher_right)
    run.ledger.add_record(
        *(
            annotation.image_sha256,
            annotation.number,
            found_cell,
            settings.matcher,
            settings.student_matcher or settings.matcher,
        )
    )
    return found_cell


async def _vote(
    run: Run, teacher: Teacher, picture: Picture, annotation: AnnotationRow
) -> bool | AnswerRow:
    """Is the annotation right by the majority of the teachers? They are asked in turn, and no further than it takes.

    An answer that was withheld is no vote: it is returned where the verdict hangs on it. One teacher alone decides by itself.
    """
    panel, votes, withheld = panel_of(teacher), Agreement(), []
    label = (annotation.image_sha256, annotation.question, annotation.answer)
    for seat, member in enumerate(panel):
        given = await _ask_teacher(run, member, picture, annotation.question, seat=seat)
        if given.provenance.finish_reason in NO_ANSWER:
            withheld.append(given)
            continue
        vote = Agreement(int(run.settings.the_matcher.matches(given.answer, annotation.answer)), 1)
        if len(panel) > 1:
            add_opinion(run.ledger, label, seat, OpinionKind.VOTE, vote)
        votes += vote
        verdict = majority(votes.agreed, votes.asked - votes.agreed, len(panel))
        if verdict is not None:
            return verdict
    return withheld[0]


async def student_answer(
    run: Run,
    student: AnsweringStudent | None,
    picture: Picture,
    question: str,
    version: str = "",
    step: str = "identify",
) -> str:
    """By `version`, the run's base version if none is named. Asked at most once: the ledger keeps the answer.

    Raises NotFound where it has none and the student is not up (None).
    """
    version = version or run.state.the_base.name
    known = run.ledger.answer(picture.sha256, question, "student", version)
    if known is not None:
        return known.answer
    if student is None:
        raise NotFound(f"the student gave no answer to {question!r} while it was up")
    recipe = run.settings.recipe
    reply = await student.answer(
        picture, question, recipe.answer_template, recipe.answer_decoding, version
    )
    if reply.version != version:
        raise WrongState(
            f"the student at {student.address} answered by version {reply.version!r}, not by {version!r} as asked: "
            "start it with the versions of this run"
        )
    conditions = run.settings.conditions
    run.ledger.add_answer(
        AnswerRow(
            picture.sha256,
            question,
            "student",
            version,
            reply.answer,
            conditions,
            step,
            reply.provenance,
        )
    )
    return reply.answer


async def teacher_answer(
    run: Run, teacher: Teacher | None, picture: Picture, question: str, step: str = "identify"
) -> str:
    """In a fresh context, under the student's conditions. Asked at most once. "" where it declined or was cut off.

    Raises NotFound where the ledger has none and the teacher is not up (None).
    """
    given = await _ask_teacher(run, teacher, picture, question, step)
    return "" if given.provenance.finish_reason in NO_ANSWER else given.answer


async def _ask_teacher(
    run: Run,
    teacher: Teacher | None,
    picture: Picture,
    question: str,
    step: str = "identify",
    seat: int = 0,
) -> AnswerRow:
    known = run.ledger.answer(picture.sha256, question, "teacher", run.state.teacher(seat))
    if known is not None:
        return known
    if teacher is None:
        raise NotFound(f"the teacher gave no answer to {question!r} while it was up")
    recipe, conditions = run.settings.recipe, run.settings.conditions
    reply = await teacher.answer(picture, question, recipe.answer_template, recipe.answer_decoding)
    require_same_teacher(run, teacher, reply.version, seat)
    row = AnswerRow(
        picture.sha256,
        question,
        "teacher",
        reply.version,
        reply.answer,
        conditions,
        step,
        reply.provenance,
    )
    run.ledger.add_answer(row)
    return row
