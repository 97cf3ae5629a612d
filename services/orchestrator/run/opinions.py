"""What the teachers think of an annotation, in the ledger: their votes where there are several, and the samples of each.

An opinion is about a question with its answer, so it holds in every round.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from services.core.agreement import NOT_SAMPLED, Agreement, Rate, label_noise, rate
from services.core.annotation import Rejection
from services.orchestrator.run.ledger import Ledger, shelf_of
from services.orchestrator.run.state import State

SAMPLED = """
SELECT image_sha256, question, answer, sum(agreed), sum(asked) FROM opinions
WHERE kind = 'sample' GROUP BY image_sha256, question, answer HAVING count(*) = ?
"""
OF_RECORD = f"""
JOIN annotations a ON a.shelf = {shelf_of("o.image_sha256")} AND a.image_sha256 = o.image_sha256
AND a.question = o.question AND a.answer = o.answer
JOIN records r ON r.shelf = a.shelf AND r.image_sha256 = a.image_sha256 AND r.number = a.number AND r.round = ?
WHERE a.rejection IN ('', ?) GROUP BY o.image_sha256, o.question, o.answer
"""
"""One row for each label, also where it was annotated again in a later round."""
BY_CELL = f"""
SELECT max(cell), agreed, asked FROM (
    SELECT image_sha256, question, answer, sum(agreed) AS agreed, sum(asked) AS asked FROM opinions
    WHERE kind = 'sample' GROUP BY image_sha256, question, answer) o {OF_RECORD}
"""
VOTES = "SELECT seat, sum(agreed), sum(asked) FROM opinions WHERE kind = 'vote' GROUP BY seat ORDER BY seat"
OUTVOTED = f"""
SELECT count(*), sum(is_outvoted) FROM (
    SELECT max(cell IN ('noise_student_right', 'noise_both_wrong')) AS is_outvoted FROM (
        SELECT image_sha256, question, answer FROM opinions WHERE kind = 'vote' AND seat = 0 AND agreed) o {OF_RECORD})
"""

Label = tuple[str, str, str]
"""(image sha256, question, answer): what an opinion is about."""


class OpinionKind(StrEnum):
    VOTE = "vote"
    """The blind answer of Eq. 1."""
    SAMPLE = "sample"
    """Answers to the same question at a temperature."""


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """How far the labels can be trusted, of this round's records.

    `noise`: share of the sampled records whose annotation half of the samples or more contradict, and the same `by_cell`;
    `agreement`: how many records have "3/4" of their samples on their side. `votes`: how often each teacher (the first twelve
    digits of its fingerprint) agreed where it was asked; `outvoted`: of the annotations that the first teacher confirmed,
    those that the others did not.
    """

    noise: Rate | None
    by_cell: dict[str, Rate]
    agreement: dict[str, int]
    votes: dict[str, Rate]
    outvoted: Rate | None


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
    """Of every label that all the teachers were sampled on."""
    rows = ledger.read(SAMPLED, teachers)
    return {
        (image, question, answer): Agreement(int(agreed), int(asked))
        for image, question, answer, agreed, asked in rows
    }


def samples_of(ledger: Ledger, label: Label) -> Agreement:
    """Of all teachers together; none where it was not sampled."""
    statement = "SELECT agreed, asked FROM opinions WHERE image_sha256 = ? AND question = ? AND answer = ? AND kind = ?"
    rows = ledger.read(statement, *label, OpinionKind.SAMPLE)
    return sum((Agreement(int(agreed), int(asked)) for agreed, asked in rows), NOT_SAMPLED)


def measured_noise(ledger: Ledger) -> LabelNoise | None:
    """None where no opinions were asked for."""
    if not any(ledger.read("SELECT 1 FROM opinions LIMIT 1")):
        return None
    rows = [
        (cell, Agreement(int(n), int(of)))
        for cell, n, of in ledger.read(BY_CELL, ledger.round, Rejection.LOW_AGREEMENT)
    ]
    shares = Counter(agreement for _, agreement in rows)
    state = State(ledger)
    votes = {
        state.teacher(int(seat))[:12]: rate(int(n), int(of)) for seat, n, of in ledger.read(VOTES)
    }
    confirmed, outvoted = next(ledger.read(OUTVOTED, ledger.round, Rejection.LOW_AGREEMENT))
    return LabelNoise(
        noise=_noise(agreement for _, agreement in rows) if rows else None,
        by_cell={
            cell: _noise(a for of, a in rows if of == cell)
            for cell in sorted({cell for cell, _ in rows})
        },
        agreement={
            f"{a.agreed}/{a.asked}": count
            for a, count in sorted(shares.items(), key=_from_the_best)
        },
        votes=votes,
        outvoted=rate(int(outvoted or 0), int(confirmed)) if votes else None,
    )


def _noise(found: Iterable[Agreement]) -> Rate:
    return label_noise(Counter(found))


def _from_the_best(counted: tuple[Agreement, int]) -> tuple[float, int]:
    agreement, _ = counted
    return -agreement.share, -agreement.asked
