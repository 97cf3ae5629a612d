"""Everything that a ledger has on one question about one image: answers, scores, votes."""

from __future__ import annotations

from dataclasses import dataclass

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
