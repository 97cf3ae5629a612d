"""Matchers side by side: the cells that each would give the answers of a run, before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.core.agreement import majority
from services.core.annotation import Rejection
from services.core.answers import MATCHERS, Matcher
from services.core.errors import InvalidInput
from services.core.parity import Cell, cell
from services.core.provenance import FinishReason
from services.orchestrator.run.entries import Entry, read_entries
from services.orchestrator.run.ledger import AnswerRow, counts
from services.orchestrator.run.ledger.search import Filter
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run

NO_ANSWER = {
    FinishReason.REFUSAL: Rejection.REFUSAL,
    FinishReason.CONTENT_FILTER: Rejection.CONTENT_FILTER,
    FinishReason.LENGTH: Rejection.CUT_OFF,
}
"""Replies of the teacher that are never compared, each with the rejection of its record."""

UNKNOWN = "unknown"
"""The student is wrong by this rule but was right by the run's, so some teacher was not asked."""
NAMES = (*map(str, Cell), UNKNOWN)


@dataclass(frozen=True, slots=True)
class Rule:
    """A matcher for each of the two models."""

    teacher: Matcher
    student: Matcher

    @property
    def name(self) -> str:
        return (
            self.teacher.name
            if self.teacher is self.student
            else f"{self.teacher.name}, student {self.student.name}"
        )

    def cell(self, entry: Entry, teachers: int) -> str:
        """Cell of an annotation that the student has answered.

        If several `teachers` vote, the majority decides, as in the run.
        """
        assert entry.annotation is not None and entry.student is not None
        reference = entry.annotation.answer
        student_right = self.student.matches(entry.student.answer, reference)
        votes = [
            self.teacher.matches(row.answer, reference) for row in entry.teachers if _is_answer(row)
        ]
        teacher_right = majority(sum(votes), len(votes) - sum(votes), teachers)
        if teacher_right is None:
            return str(Cell.UNASKED) if student_right else UNKNOWN
        return str(cell(student_right=student_right, teacher_right=teacher_right))


@dataclass(slots=True)
class Count:
    """Records of a rule by cell, and the difference of its gap from the run's."""

    cells: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 0))
    joined: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A record that the rules put into different cells: `cells` by the rules' names."""

    image: str
    question: str
    annotation: str
    student: str
    teacher: str | None
    cells: dict[str, str]


@dataclass(frozen=True, slots=True)
class Sides:
    counts: dict[str, Count]
    disagreements: tuple[Disagreement, ...]
    disagreeing: int


def rules(run: Run, student: str = "") -> list[Rule]:
    """The run's own rule, then every matcher for both models, or for the teacher next to `student`.

    Raises InvalidInput if no matcher has the name `student`.
    """
    if student and student not in MATCHERS:
        raise InvalidInput(
            f"there is no matcher {student!r}: choose one of {', '.join(MATCHERS)}",
            field="student_matcher",
        )
    own = Rule(run.settings.the_matcher, run.settings.the_student_matcher)
    others = [
        Rule(matcher, MATCHERS[student] if student else matcher) for matcher in MATCHERS.values()
    ]
    return [own, *(rule for rule in others if rule != own)]


def compare_matchers(
    run: Run, compared: Sequence[Rule], progress: Progress, limit: int = 0, offset: int = 0
) -> Sides:
    """Reads the ledger once. Only one page of disagreements is kept in memory."""
    own = compared[0].name
    counts = {rule.name: Count() for rule in compared}
    page: list[Disagreement] = []
    disagreeing = 0
    for entry in _answered(run, progress):
        cells = {rule.name: rule.cell(entry, run.settings.teachers) for rule in compared}
        for name, found in cells.items():
            counts[name].cells[found] += 1
            counts[name].joined += found == Cell.GAP != cells[own]
            counts[name].left += cells[own] == Cell.GAP != found
        if len(set(cells.values())) > 1:
            if offset <= disagreeing < offset + limit:
                page.append(_disagreement(entry, cells))
            disagreeing += 1
    return Sides(counts, tuple(page), disagreeing)


def _answered(run: Run, progress: Progress) -> Iterator[Entry]:
    total = counts.replies(run.ledger)
    with progress.stage("match", "records", total) as meter:
        for entry in read_entries(run.ledger, Filter(usable=True)):
            meter.advance()
            if entry.student is not None:
                yield entry


def _is_answer(row: AnswerRow) -> bool:
    return row.provenance.finish_reason not in NO_ANSWER


def _disagreement(entry: Entry, cells: dict[str, str]) -> Disagreement:
    assert entry.annotation is not None and entry.student is not None
    teacher = entry.teacher.answer if entry.teacher else None
    return Disagreement(
        image=entry.image.path,
        question=entry.annotation.question,
        annotation=entry.annotation.answer,
        student=entry.student.answer,
        teacher=teacher,
        cells=cells,
    )
