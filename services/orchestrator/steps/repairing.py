"""Training samples asked again after a training, for the one that repairs it (core/repair.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from services.core.errors import MpaError
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
    paths = {parity.sample.image_sha256: parity.path for parity in parity_set}
    cases = cases_of((parity.label for parity in parity_set), paths)
    respondents = {"student": partial(student_answer, run, student, version=version, step="repair")}
    at_once = images_at_once(student.in_flight, run.settings.pixel_budget)
    read = run.reading(run.find_images())
    exam = await sit(read, cases, respondents, progress, f"repair: ask {version}", at_once)
    answers = [(sat.case, sat.answers["student"]) for sat in exam.sat]
    if exam.skipped:
        progress.note(f"repair: {exam.skipped} of {len(cases)} samples could not be asked")
    return wrong_labels(run, cases, answers)


def cases_of(labels: Iterable[Label], paths: Mapping[str, str]) -> list[Case]:
    """The questions of labels, each once. `paths`: of images by sha256."""
    return [
        Case(paths[image], image, question, (answer,), question_kind(question))
        for image, question, answer in dict.fromkeys(labels)
    ]


def wrong_labels(
    run: Run, cases: Sequence[Case], answers: Sequence[tuple[Case, str]]
) -> list[Label]:
    """Labels whose answers differ, by the run's matcher for the student.

    Raises MpaError if less than half of the cases were answered.
    """
    if 2 * len(answers) < len(cases):
        raise MpaError(
            f"only {len(answers)} of {len(cases)} samples could be asked again: read the log of "
            "the student's service, then repeat the command"
        )
    matches = run.settings.the_student_matcher.matches
    return [
        (case.image_sha256, case.question, case.references[0])
        for case, answer in answers
        if not matches(answer, case.references[0])
    ]
