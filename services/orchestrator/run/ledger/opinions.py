"""Opinions of the teachers on annotations: votes where several decide, and samples of each.

An opinion is on a question with its answer, so it holds in every round.
"""

from __future__ import annotations

from enum import StrEnum

from services.core.agreement import NOT_SAMPLED, Agreement
from services.core.annotation import Rejection
from services.orchestrator.run.ledger.ledger import Ledger
from services.orchestrator.run.ledger.schema import shelf_of

SAMPLED = """
SELECT image_sha256, question, answer, sum(agreed), sum(asked) FROM opinions
WHERE kind = 'sample' GROUP BY image_sha256, question, answer HAVING count(*) = ?
"""
OF_RECORD = f"""
JOIN annotations a ON a.shelf = {shelf_of("o.image_sha256")} AND a.image_sha256 = o.image_sha256
AND a.question = o.question AND a.answer = o.answer
JOIN records r ON r.shelf = a.shelf AND r.image_sha256 = a.image_sha256
AND r.number = a.number AND r.round = ?
WHERE a.rejection IN ('', ?) GROUP BY o.image_sha256, o.question, o.answer
"""
"""One row for each label, also if it was annotated again in a later round."""
BY_CELL = f"""
SELECT max(cell), agreed, asked FROM (
    SELECT image_sha256, question, answer, sum(agreed) AS agreed, sum(asked) AS asked FROM opinions
    WHERE kind = 'sample' GROUP BY image_sha256, question, answer) o {OF_RECORD}
"""
VOTES = """
SELECT seat, sum(agreed), sum(asked) FROM opinions WHERE kind = 'vote' GROUP BY seat ORDER BY seat
"""
OUTVOTED = f"""
SELECT count(*), sum(is_outvoted) FROM (
    SELECT max(cell IN ('noise_student_right', 'noise_both_wrong')) AS is_outvoted FROM (
        SELECT image_sha256, question, answer FROM opinions
        WHERE kind = 'vote' AND seat = 0 AND agreed) o {OF_RECORD})
"""
OF_LABEL = """
SELECT agreed, asked FROM opinions
WHERE image_sha256 = ? AND question = ? AND answer = ? AND kind = ?
"""

Label = tuple[str, str, str]
"""(image sha256, question, answer): the annotation that an opinion is on."""


class OpinionKind(StrEnum):
    VOTE = "vote"
    """The blind answer of Eq. 1."""
    SAMPLE = "sample"
    """Answers to the same question at a temperature."""


def add_opinion(
    ledger: Ledger, label: Label, seat: int, kind: OpinionKind, opinion: Agreement
) -> None:
    ledger.write(
        "INSERT OR REPLACE INTO opinions VALUES (?, ?, ?, ?, ?, ?, ?)",
        *label,
        seat,
        kind,
        opinion.agreed,
        opinion.asked,
    )


def agreements(ledger: Ledger, teachers: int) -> dict[Label, Agreement]:
    """Agreement on every label that all the teachers were sampled on."""
    return {
        (image, question, answer): Agreement(int(agreed), int(asked))
        for image, question, answer, agreed, asked in ledger.read(SAMPLED, teachers)
    }


def samples_of(ledger: Ledger, label: Label) -> Agreement:
    """Agreement of all teachers together; NOT_SAMPLED if there is none."""
    rows = ledger.read(OF_LABEL, *label, OpinionKind.SAMPLE)
    return sum((Agreement(int(agreed), int(asked)) for agreed, asked in rows), NOT_SAMPLED)


def has_opinions(ledger: Ledger) -> bool:
    return any(ledger.read("SELECT 1 FROM opinions LIMIT 1"))


def samples_by_cell(ledger: Ledger) -> list[tuple[str, Agreement]]:
    """Cell of this round and agreement of each sampled record."""
    return [
        (str(cell), Agreement(int(agreed), int(asked)))
        for cell, agreed, asked in ledger.read(BY_CELL, ledger.round, Rejection.LOW_AGREEMENT)
    ]


def votes(ledger: Ledger) -> dict[int, Agreement]:
    """Votes of the teacher in each seat, counted from 0."""
    return {int(seat): Agreement(int(n), int(of)) for seat, n, of in ledger.read(VOTES)}


def outvoted(ledger: Ledger) -> tuple[int, int]:
    """Numbers of annotations: those that the first teacher confirmed, and the outvoted ones
    of them.
    """
    confirmed, lost = next(ledger.read(OUTVOTED, ledger.round, Rejection.LOW_AGREEMENT))
    return int(confirmed), int(lost or 0)
