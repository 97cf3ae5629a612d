"""Everything that a ledger has on one question about one image: answers, scores, votes.

Also the records of a round with their answers, to be held against another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from services.core.parity import Cell
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.opinions import Label
from services.orchestrator.run.ledger.rows import ANSWER_COLUMNS, AnswerRow, row_of

ANSWERS = f"""
SELECT {ANSWER_COLUMNS} FROM answers
WHERE shelf = ? AND image_sha256 = ? AND question = ? ORDER BY role = 'sample', role, version
"""
SCORES = """
SELECT role, version, kind, score FROM scores
WHERE question_set = 'held_out' AND image_sha256 = ? AND question = ? ORDER BY role DESC, version
"""
OPINIONS = """
SELECT kind, seat, agreed, asked FROM opinions
WHERE image_sha256 = ? AND question = ? AND answer = ? ORDER BY kind DESC, seat
"""
ANSWERED = """
SELECT i.path, a.image_sha256, a.number, a.attempt, a.question, a.answer, r.cell,
    (SELECT answer FROM answers WHERE shelf = a.shelf AND image_sha256 = a.image_sha256
        AND question = a.question AND role = 'student' AND version = ?2),
    (SELECT answer FROM answers WHERE shelf = a.shelf AND image_sha256 = a.image_sha256
        AND question = a.question AND role = 'teacher' AND version = ?3)
FROM records r
JOIN images i ON i.sha256 = r.image_sha256 AND i.rejection = ''
JOIN annotations a ON a.shelf = r.shelf AND a.image_sha256 = r.image_sha256
    AND a.number = r.number AND a.rejection = '' AND a.attempt <= r.round
WHERE r.round = ?1 ORDER BY a.image_sha256, a.question
"""
"""An annotation that a later round asked for is no record of this one."""


@dataclass(frozen=True, slots=True)
class AnsweredRecord:
    """A record of a round. `student` and `teacher`: their answers; None if they were not asked."""

    path: str
    image_sha256: str
    number: int
    attempt: int
    question: str
    answer: str
    cell: Cell
    student: str | None
    teacher: str | None


@dataclass(frozen=True, slots=True)
class StoredScore:
    """Score (0 to 1) of the answer of a version in an evaluation on held-out records.

    `role`: "before" or "after" the training. `kind`: kind under which the question was judged.
    """

    role: str
    version: str
    kind: str
    score: float


@dataclass(frozen=True, slots=True)
class StoredOpinion:
    """`agreed` of `asked` answers of the teacher in `seat` confirm the annotation.

    `kind`: a member of OpinionKind. Seats are counted from 0.
    """

    kind: str
    seat: int
    agreed: int
    asked: int


def answers_to(ledger: Ledger, image_sha256: str, question: str) -> list[AnswerRow]:
    """Answers of every version of the student, of the teachers, then their samples."""
    rows = ledger.read(ANSWERS, ledger.shelf(image_sha256), image_sha256, question)
    return [row_of(AnswerRow, row) for row in rows]


def held_out_scores(ledger: Ledger, image_sha256: str, question: str) -> list[StoredScore]:
    """Scores of all rounds."""
    rows = ledger.read(SCORES, image_sha256, question)
    return [StoredScore(*row) for row in rows]


def opinions_on(ledger: Ledger, label: Label) -> list[StoredOpinion]:
    return [StoredOpinion(*row) for row in ledger.read(OPINIONS, *label)]


def answered_records(
    ledger: Ledger, of_round: int, student: str, teacher: str
) -> Iterator[AnsweredRecord]:
    """Records of a round by image and question, with the answers of these two versions."""
    for row in ledger.read(ANSWERED, of_round, student, teacher):
        path, image_sha256, number, attempt, question, answer, cell, said, taught = row
        yield AnsweredRecord(
            path, image_sha256, number, attempt, question, answer, Cell(cell), said, taught
        )
