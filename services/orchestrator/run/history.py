"""What each round of a run found, brought and changed, computed from the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from services.core.parity import Cell
from services.orchestrator.run.ledger import Ledger, counts
from services.orchestrator.run.state import Outcome, State


@dataclass(frozen=True, slots=True)
class Move:
    """`count` records that were in cell `before` in the round before and are in `after` now.

    "new": in none, or another question has taken the place of one that was rejected.
    """

    before: str
    after: str
    count: int


@dataclass(frozen=True, slots=True)
class Round:
    """`accuracy_before` and `accuracy_after` (0 to 1), `fixed`, `broken`: on its held-out records; None until it is judged."""

    number: int
    records: int
    gap: int
    parity_set: int
    version_before: str
    version_after: str
    accuracy_before: float | None
    accuracy_after: float | None
    fixed: int | None
    broken: int | None
    outcome: str
    reason: str
    moves: tuple[Move, ...] = ()

    @property
    def gap_rate(self) -> float:
        """0 to 1."""
        return self.gap / self.records if self.records else 0.0


def history(ledger: Ledger) -> tuple[Round, ...]:
    """Every round that was begun, in order."""
    return tuple(_round(ledger, number) for number in range(1, ledger.round + 1))


def _round(ledger: Ledger, number: int) -> Round:
    state = State(ledger, of_round=number)
    cells = counts.cells_of_round(ledger, number)
    moved = counts.moves_of_round(ledger, number) if number > 1 else ()
    evaluation, base, made = state.evaluation, state.base, state.candidate
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


def why_stop(ledger: Ledger) -> str:
    """Why no further round begins, for people; "" where one does, or the present one isn't over."""
    state = State(ledger)
    outcome = state.outcome
    if outcome is Outcome.NOTHING_TO_ALIGN:
        return state.reason
    if outcome is Outcome.NOT_PROMOTED:
        return f"no gain in round {state.round}: {state.reason}"
    if outcome is Outcome.PROMOTED and state.round >= state.rounds:
        return f"{state.round} of {state.rounds} rounds are done"
    return ""
