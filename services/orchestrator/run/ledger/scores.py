"""Scores of an evaluation's questions, and the answers that they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from services.core.parity import Cell
from services.orchestrator.run.ledger.ledger import Ledger

HELD_OUT = "held_out"
"""Question set of held-out records; any other is the path of a labelled set."""
SCORES = """
SELECT image_sha256, question, kind, score FROM scores
WHERE question_set = ? AND role = ? AND version = ? ORDER BY image_sha256, question
"""
SETS = """
SELECT question_set FROM scores WHERE role = 'after' AND version = ?
INTERSECT SELECT question_set FROM scores WHERE role = 'teacher' AND version = ? ORDER BY 1
"""
HELD_OUT_CELLS = """
SELECT r.cell, count(*) FROM records r JOIN images i
ON i.sha256 = r.image_sha256 AND i.rejection = '' AND i.held_out
WHERE r.round = ? GROUP BY 1
"""
BILLED = """
SELECT count(*), sum(cost_usd) FROM answers
WHERE role = ?1 AND step != 'sample' AND (?2 = '' OR version = ?2)
"""
BILLED_BY_STEP = "SELECT sum(cost_usd * (1 - cached)) FROM answers WHERE step = ?"

CERTAINTIES = """
SELECT a.logprob, s.score FROM scores s
CROSS JOIN images i ON i.sha256 = s.image_sha256 AND i.rejection = ''
JOIN answers a ON a.shelf = i.shelf AND a.image_sha256 = s.image_sha256
    AND a.question = s.question AND a.role = 'student' AND a.version = s.version
WHERE s.question_set = 'held_out' AND s.role = ? AND s.version = ? AND a.logprob IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class ScoredQuestion:
    """A question of a set, with the score (0 to 1) of one model's answer."""

    image_sha256: str
    question: str
    kind: str
    score: float


def scores(ledger: Ledger, question_set: str, role: str, version: str) -> Iterator[ScoredQuestion]:
    """Scores of a version by image and question. `role`: before, after or teacher."""
    for row in ledger.read(SCORES, question_set, role, version):
        yield ScoredQuestion(*row)


def certainties(ledger: Ledger, role: str, version: str) -> Iterator[tuple[float, float]]:
    """Log-probability and score of a version's held-out answers, where the former was kept."""
    for logprob, score in ledger.read(CERTAINTIES, role, version):
        yield float(logprob), float(score)


def drop_scores(ledger: Ledger, question_set: str, role: str, version: str) -> None:
    """Removes that version's scores on a labelled set, before it is scored again."""
    ledger.write(
        "DELETE FROM scores WHERE question_set = ? AND role = ? AND version = ?",
        question_set,
        role,
        version,
    )


def scored_sets(ledger: Ledger, version: str, teacher: str) -> list[str]:
    """Labelled sets on which both that version, as the candidate, and that teacher have scores."""
    return [question_set for (question_set,) in ledger.read(SETS, version, teacher)]


def held_out_cells(ledger: Ledger, number: int) -> Counter[Cell]:
    """Held-out records of that round by cell."""
    rows = ledger.read(HELD_OUT_CELLS, number)
    return Counter({Cell(cell): int(count) for cell, count in rows})


def billed_answers(ledger: Ledger, role: str, version: str = "") -> tuple[int, float]:
    """Answers of a role, and their price in dollars, whether this run or an earlier one paid.

    `version`: the one that gave them; "" for all.
    """
    count, usd = next(ledger.read(BILLED, role, version))
    return int(count), float(usd or 0.0)


def billed_by_step(ledger: Ledger, step: str) -> float:
    """Dollars that this run paid for the answers of a step."""
    ((usd,),) = ledger.read(BILLED_BY_STEP, step)
    return float(usd or 0.0)
