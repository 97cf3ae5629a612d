"""Noise of the labels that a run trains on, by the opinions of its teachers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from services.core.agreement import Agreement, Rate, label_noise, rate
from services.orchestrator.run.ledger import Ledger, opinions
from services.orchestrator.run.state import State


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Trust in the labels of this round's records.

    `noise`: share of the sampled records whose annotation at least half of the samples
    contradict; `by_cell`: the same for each cell. `agreement`: number of records for each
    agreement, such as "3/4". `votes`: how often each teacher (first twelve digits of its
    fingerprint) agreed when asked. `outvoted`: annotations that the first teacher
    confirmed and the others did not, out of all that it confirmed.
    """

    noise: Rate | None
    by_cell: dict[str, Rate]
    agreement: dict[str, int]
    votes: dict[str, Rate]
    outvoted: Rate | None


def measured_noise(ledger: Ledger) -> LabelNoise | None:
    """Noise of this round's labels; None if no opinions were asked for."""
    if not opinions.has_opinions(ledger):
        return None
    rows = opinions.samples_by_cell(ledger)
    shares = Counter(agreement for _, agreement in rows)
    state = State(ledger)
    votes = {
        state.teacher(seat)[:12]: rate(vote.agreed, vote.asked)
        for seat, vote in opinions.votes(ledger).items()
    }
    confirmed, outvoted = opinions.outvoted(ledger)
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
        outvoted=rate(outvoted, confirmed) if votes else None,
    )


def _noise(found: Iterable[Agreement]) -> Rate:
    return label_noise(Counter(found))


def _from_the_best(counted: tuple[Agreement, int]) -> tuple[float, int]:
    agreement, _ = counted
    return -agreement.share, -agreement.asked
