"""Both models on a labelled set, one after the other, for the verdict on a run."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from services import tracing
from services.core.errors import MpaError
from services.engines.images import sha256
from services.orchestrator.run.bounded import images_at_once
from services.orchestrator.run.evaluation import ScoredSet
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.running_costs import ASKED_ALONE, stage_of
from services.orchestrator.run.verdict import Subject
from services.orchestrator.steps.evaluation import require_served_as_judged
from services.orchestrator.steps.identification import student_answer, teacher_answer
from services.orchestrator.steps.labelled import labelled_images, read_labelled
from services.orchestrator.steps.questioning import Respond, sit
from services.orchestrator.steps.scorekeeping import (
    keep_scored_set,
    keep_scores,
    official,
    require_shares,
)
from services.rpc.client import Student, Teacher


@tracing.stage("verdict")
async def confront(
    run: Run,
    teacher: Teacher,
    student: Student,
    subject: Subject,
    labelled: Path,
    progress: Progress,
) -> None:
    """Asks both models every question, in the run's words, and scores their answers.

    Each is asked alone, so that the time of its answers is its own. Answers that the ledger has are
    not asked for again, so an interrupted verdict continues. Raises MpaError if no question could
    be asked.
    """
    metric = run.settings.the_task.metric
    require_shares(labelled, metric)
    content = sha256(labelled.read_bytes())
    cases = read_labelled(labelled)
    await require_served_as_judged(run, student, subject.version)
    if not (await student.version(subject.version)).is_loaded:
        await student.load(subject.version)
    ask: dict[str, tuple[Respond, int]] = {
        "teacher": (partial(teacher_answer, run, teacher, step=ASKED_ALONE), teacher.in_flight),
        "student": (
            partial(student_answer, run, student, version=subject.version, step=ASKED_ALONE),
            student.in_flight,
        ),
    }
    exams = {}
    for role, (respond, in_flight) in ask.items():
        with run.timed(stage_of(role)):
            exams[role] = await sit(
                run.reading(labelled_images(labelled)),
                cases,
                {role: respond},
                progress,
                stage_of(role),
                images_at_once(in_flight, run.settings.pixel_budget),
            )
    if not all(exam.sat for exam in exams.values()):
        raise MpaError(f"no question of {labelled} could be asked: see the notes of each above")
    of_set, by_metric = str(labelled.absolute()), official(metric)
    versions = {
        "teacher": ("teacher", run.state.teacher()),
        "student": ("after", subject.version),
    }
    for exam in exams.values():
        keep_scores(run, of_set, exam, by_metric, versions)
    by_both = set.intersection(*({sat.case for sat in exam.sat} for exam in exams.values()))
    skipped = sum(case not in by_both for case in cases)
    keep_scored_set(run, of_set, ScoredSet(content, subject.version, skipped))
