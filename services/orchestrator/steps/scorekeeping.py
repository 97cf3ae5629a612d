"""Scores of an exam's answers by a metric, kept in the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from services.core.errors import InvalidInput
from services.core.metrics import CORPUS_METRICS
from services.core.tasks import TASKS
from services.orchestrator.datasets.dataset import open_dataset
from services.orchestrator.run.evaluation import ScoredSet
from services.orchestrator.run.ledger.scores import HELD_OUT, drop_scores
from services.orchestrator.run.run import Run
from services.orchestrator.scoring.metrics import score
from services.orchestrator.steps.questioning import Exam

Score = Callable[[Sequence[str], Sequence[Sequence[str]]], Sequence[float]]
"""Scores of one respondent's answers to all questions, each with its references."""


def official(metric: str) -> Score:
    """The score of each answer by that metric."""
    return partial(_official, metric)


def _official(metric: str, given: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[float]:
    return list(score([metric], given, wanted)[0].each)


def share_metric(run: Run, labelled: Path) -> str:
    """Metric of a labelled set: the one of its own task, if its format states it, or the run's.

    Raises InvalidInput for captions, whose scores are no shares of right answers.
    """
    of_set = open_dataset(labelled).format.task
    task = TASKS[of_set] if of_set else run.settings.the_task
    require_shares(labelled, task.metric)
    return task.metric


def require_shares(labelled: Path, metric: str) -> None:
    """Raises InvalidInput if the scores are no shares of right answers, 0 to 1 each."""
    if metric in CORPUS_METRICS:
        raise InvalidInput(
            f"{labelled} would be scored by {metric}, which counts no right answers: "
            "name a set of questions with answers, of another task"
        )


def keep_scores(
    run: Run,
    question_set: str,
    exam: Exam,
    score: Score,
    respondents: Mapping[str, tuple[str, str]],
) -> dict[str, list[float]]:
    """Scores of each respondent, in the order of the exam.

    `respondents`: role and version in the ledger, by the name in the exam. Their earlier scores on
    a labelled set, which may have changed since, are dropped.
    """
    references = [sat.case.references for sat in exam.sat]
    found = {
        name: [float(value) for value in score([sat.answers[name] for sat in exam.sat], references)]
        for name in (exam.sat[0].answers if exam.sat else ())
    }
    with run.ledger.at_once():
        for name in found if question_set != HELD_OUT else ():
            drop_scores(run.ledger, question_set, *respondents[name])
        for number, sat in enumerate(exam.sat):
            asked = (question_set, sat.image_sha256, sat.case.question)
            for name, values in found.items():
                role, version = respondents[name]
                run.ledger.add_score(*asked, role, version, sat.case.kind, values[number])
    return found


def keep_scored_set(run: Run, labelled: str, scored: ScoredSet) -> None:
    """Notes which content of a labelled set both models have answered."""
    run.state.scored = {**run.state.scored, labelled: scored}
