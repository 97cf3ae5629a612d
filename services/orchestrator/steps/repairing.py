"""Training samples asked again after a training, for the one that repairs it (core/repair.py)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from services.core.questions import question_kind
from services.orchestrator.run.bounded import images_at_once
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.steps.identification import student_answer
from services.orchestrator.steps.parity_set import ParitySample
from services.orchestrator.steps.questioning import Case, sit
from services.rpc.client import Student


async def find_wrong(
    run: Run,
    student: Student,
    parity_set: Sequence[ParitySample],
    progress: Progress,
    version: str,
) -> list[Label]:
    """Training samples that a trained version gets wrong, by the run's words and matcher.

    Its answers are in the ledger, so an interrupted exam continues. Raises WrongState: the student
    has no room for the version next to the live one.
    """
    if not (await student.version(version)).is_loaded:
        await student.load(version)
    cases = [
        Case(
            parity.path,
            parity.sample.image_sha256,
            parity.sample.question,
            (parity.sample.answer,),
            question_kind(parity.sample.question),
        )
        for parity in parity_set
    ]
    respondents = {"student": partial(student_answer, run, student, version=version, step="repair")}
    at_once = images_at_once(student.in_flight, run.settings.pixel_budget)
    read = run.reading(run.find_images())
    exam = await sit(read, cases, respondents, progress, f"repair: ask {version}", at_once)
    matches = run.settings.the_student_matcher.matches
    return [
        (sat.image_sha256, sat.case.question, sat.case.references[0])
        for sat in exam.sat
        if not matches(sat.answers["student"], sat.case.references[0])
    ]
