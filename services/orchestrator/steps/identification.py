"""Parity Identifier (paper, Section 3.2): both models answer blind, which decides the cell."""

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
    """Identifies a record and returns its cell; None if a model could not answer.

    Such a record is rejected with the reason. Eq. 2 is a conjunction, so the cheap test
    runs first: the teacher is asked only if the student was wrong, or everywhere with
    `full_matrix`. The gap is the same; with `full_matrix`, rehearsal leaves out records
    that the teacher contradicts. Several teachers vote (endpoints/panel.py). A teacher
    that declined or was cut off has not answered: that is no verdict on the
    annotation, and the record is rejected. A student's answer counts as it stands, since
    its users get the same: even cut off, it is right or wrong.
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
        annotation.image_sha256,
        annotation.number,
        found_cell,
        settings.matcher,
        settings.student_matcher or settings.matcher,
    )
    return found_cell


async def _vote(
    run: Run, teacher: Teacher, picture: Picture, annotation: AnnotationRow
) -> bool | AnswerRow:
    """Whether the majority of the teachers confirms the annotation.

    They are asked in turn, until the majority is clear. A withheld answer is no vote: it
    is returned if the verdict depends on it. A single teacher decides alone.
    """
    panel = panel_of(teacher)
    votes = Agreement()
    withheld = []
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
    """The student's answer by `version`, or by the run's base version.

    It is asked for at most once.

    Raises NotFound if the ledger has no answer and the student is not up (None).
    """
    version = version or run.state.the_base.name
    known = run.ledger.answer(picture.sha256, question, "student", version)
    if known is not None:
        return known.answer
    if student is None:
        raise NotFound(f"the student gave no answer to {question!r} while it was up")
    recipe = run.settings.recipe
    reply = await student.answer(
        picture, question, recipe.answer_template, recipe.answer_decoding, version, scored=True
    )
    if reply.version != version:
        raise WrongState(
            f"the student at {student.address} answered by version {reply.version!r}, "
            f"not by {version!r} as asked: start it with the versions of this run"
        )
    row = AnswerRow(
        image_sha256=picture.sha256,
        question=question,
        role="student",
        version=version,
        answer=reply.answer,
        conditions=run.settings.conditions,
        step=step,
        provenance=reply.provenance,
        logprob=reply.logprob,
    )
    run.ledger.add_answer(row)
    return reply.answer


async def teacher_answer(
    run: Run, teacher: Teacher | None, picture: Picture, question: str, step: str = "identify"
) -> str:
    """The teacher's blind answer in a fresh context, under the student's conditions.

    It is asked for at most once; "" if it was declined or cut off. Raises NotFound if the
    ledger has no answer and the teacher is not up (None).
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
    recipe = run.settings.recipe
    reply = await teacher.answer(picture, question, recipe.answer_template, recipe.answer_decoding)
    require_same_teacher(run, teacher, reply.version, seat)
    row = AnswerRow(
        image_sha256=picture.sha256,
        question=question,
        role="teacher",
        version=reply.version,
        answer=reply.answer,
        conditions=run.settings.conditions,
        step=step,
        provenance=reply.provenance,
    )
    run.ledger.add_answer(row)
    return row
