"""The two kinds of page, about annotations (Table 4) and errors (Table 8): guide and questions."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.errors import InvalidInput
from services.core.knowledge_gaps import CATEGORIES
from services.orchestrator.audit.criteria import CRITERIA, TASKS_FOR_RATERS
from services.orchestrator.audit.key import AuditSubject
from services.orchestrator.audit.sheet import SheetChoice, SheetQuestion

CATEGORY = "category"
"""The key of the question about an error."""


@dataclass(frozen=True, slots=True)
class Study:
    """Title, guide and questions of a page."""

    title: str
    guide: str
    questions: tuple[SheetQuestion, ...]


def study(subject: AuditSubject, task: str) -> Study:
    """The study of a subject. Raises InvalidInput if the task has no categories of errors."""
    return _of_errors(task) if subject is AuditSubject.ERRORS else _of_annotations(task)


def _of_annotations(task: str) -> Study:
    guide = (
        "Each item is an image with a question and an answer. "
        "Judge question and answer as they stand."
    )
    questions = tuple(criterion.question for criterion in CRITERIA)
    return Study("Questions and answers", f"{guide} The task: {TASKS_FOR_RATERS[task]}", questions)


def _of_errors(task: str) -> Study:
    require_categories(task)
    guide = (
        "A model was asked about each image, and its answer was counted as wrong. "
        "Say what kind of mistake it is."
    )
    choices = tuple(
        SheetChoice(one.name, f"{one.title}: the model {one.meaning}") for one in CATEGORIES[task]
    )
    question = SheetQuestion(CATEGORY, "What kind of mistake is it?", choices)
    return Study("Mistakes of a model", f"{guide} The task: {TASKS_FOR_RATERS[task]}", (question,))


def require_categories(task: str) -> None:
    """Check that the task has categories of errors. Raises InvalidInput."""
    if task not in CATEGORIES:
        raise InvalidInput(
            f"there are no categories of errors for {task}, only for {', '.join(CATEGORIES)}",
            field="task",
        )
