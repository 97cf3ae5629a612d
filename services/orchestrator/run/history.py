"""History of a run, computed from its ledger: the results of each round."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.parity import Cell
from services.orchestrator.run.ledger import Ledger, counts
from services.orchestrator.run.ledger.review_book import reading_reviews
from services.orchestrator.run.state import Outcome, State


@dataclass(frozen=True, slots=True)
class Move:
    """`count` records that were in cell `before` a round ago and are in `after` now.

    "new": in no cell, or a new question has replaced one that was rejected.
    """

    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class Round:
    """Results of a round.

    Accuracies (0 to 1), `fixed` and `broken` are measured on its held-out records; None
    until it is evaluated.
    """

    number: int
    """Counted from 1."""
    records: int
    """Identified records."""
    gap: int
    """Records in the gap."""
    parity_set: int
    """Number of training samples."""
    version_before: str
    version_after: str
    accuracy_before: float | None
    accuracy_after: float | None
    fixed: int | None
    """Questions that only the new version answers right."""
    broken: int | None
    """Questions that only the old version answers right."""
    outcome: str
    """How the round ended, or "unfinished"."""
    reason: str
    """Reason of the outcome, for people."""
    moves: tuple[Move, ...] = ()
    """Records by their cell in the round before and now."""

    @property
    def gap_rate(self) -> float:
        """Share of the gap in the records, 0 to 1."""
        return self.gap / self.records if self.records else 0.0


def history(ledger: Ledger) -> tuple[Round, ...]:
    """Every round that has begun, in order."""
    return tuple(_round(ledger, number) for number in range(1, ledger.round + 1))


def _round(ledger: Ledger, number: int) -> Round:
    state = State(ledger, of_round=number)
    cells = counts.cells_of_round(ledger, number)
    moved = counts.moves_of_round(ledger, number) if number > 1 else ()
    evaluation = state.evaluation
    base = state.base
    made = state.candidate
    judged = evaluation.held_out.overall if evaluation else None
    return Round(
        number=number,
        records=cells.total(),
        gap=cells[str(Cell.GAP)],
        parity_set=state.parity_set or 0,
        version_before=base.name if base else "",
        version_after=made.name if made else "",
        accuracy_before=judged.before if judged else None,
        accuracy_after=judged.after if judged else None,
        fixed=judged.fixed if judged else None,
        broken=judged.broken if judged else None,
        outcome=state.outcome or "unfinished",
        reason=state.reason,
        moves=tuple(Move(*move) for move in moved),
    )


def has_new_reviews(ledger: Ledger) -> bool:
    """Whether the run uses people's reviews, and there are some that its round did not use."""
    state = State(ledger)
    if not state.uses_reviews:
        return False
    with reading_reviews(ledger.path.parent) as book:
        return book is not None and book.last_id() not in (0, state.review_limit)


def why_stop(ledger: Ledger) -> str:
    """Reason why no further round begins, for people; "" if one does or the present one
    isn't over.

    A round without a gain isn't the last one if people have reviewed records since.
    """
    state = State(ledger)
    outcome = state.outcome
    if outcome is Outcome.NOTHING_TO_ALIGN:
        return state.reason
    may_learn = state.round < state.rounds and has_new_reviews(ledger)
    if outcome is Outcome.NOT_PROMOTED and not may_learn:
        return f"no gain in round {state.round}: {state.reason}"
    if outcome is Outcome.PROMOTED and state.round >= state.rounds:
        return f"{state.round} of {state.rounds} rounds are done"
    return ""
