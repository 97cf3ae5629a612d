"""Rounds: the gap of the last round's student is identified, levelled and judged again.

The annotations stay, and so does every answer: the teacher is asked only if the new
student errs and the teacher never answered. A round begins from the version that the last
one left live, so candidate and live version are compared as in the first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from services.core.errors import InvalidInput, NothingToAlign
from services.files import write_atomically
from services.orchestrator import alignment
from services.orchestrator.production import requests
from services.orchestrator.run.history import has_new_reviews, why_stop
from services.orchestrator.run.run import PARITY_SET, Run
from services.orchestrator.run.state import Outcome
from services.orchestrator.steps import focus


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """At most N `rounds`; none is trained whose gap is below `until_gap` of its records (0 to 1).

    A round without a gain is always the last. The rule belongs to the command: a run that
    is repeated with a laxer rule goes on.
    """

    rounds: int = 1
    until_gap: float = 0.0
    reviewed: bool = False
    """People's reviews decide on labels. New ones are a reason for a further round."""

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise InvalidInput(f"--rounds is {self.rounds}: give 1 or more", field="rounds")
        if not 0 <= self.until_gap < 1:
            raise InvalidInput(
                f"--until-gap is {self.until_gap}: give a share from 0 to 1, such as 0.05",
                field="until_gap",
            )


ONE_ROUND = StoppingRule()


def set_rule(run: Run, rule: StoppingRule) -> None:
    """Stores the rule, so that the run can always report why it stopped.

    If the old rule stopped it, the new one decides again.
    """
    state = run.state
    is_laxer = rule.until_gap < state.until_gap
    state.uses_reviews = rule.reviewed
    is_without_reviews = bool(state.review_limit) and not rule.reviewed
    is_laxer = is_laxer or is_without_reviews or has_new_reviews(run.ledger)
    with run.ledger.at_once():
        state.rounds = rule.rounds
        state.until_gap = rule.until_gap
        if is_laxer and state.outcome is Outcome.NOTHING_TO_ALIGN:
            state.outcome = None


def is_finished(run: Run, labelled: Path | None) -> bool:
    return alignment.is_finished(run, labelled) and bool(why_stop(run.ledger))


async def repeat(run: Run, one_round: Callable[[], Awaitable[None]]) -> None:
    """Rounds until the rule stops them. `one_round` takes the run through its present round.

    Raises NothingToAlign if that is true of the first round.
    """
    while True:
        try:
            await one_round()
        except NothingToAlign:
            if run.ledger.round == 1:
                raise
        if why_stop(run.ledger):
            return
        begin_next(run)


def begin_next(run: Run) -> None:
    """Begins the next round in one transaction, so that an interrupted run is in one of the two.

    The old parity set is kept in the folder of its round.
    """
    ledger = run.ledger
    is_promoted = run.state.outcome is Outcome.PROMOTED
    begins_with = run.state.the_candidate if is_promoted else run.state.the_base
    kinds = focus.kinds_of_gap(run) if run.settings.focus else {}
    kept = run.folder / "rounds" / str(ledger.round) / PARITY_SET
    write_atomically(kept, (run.folder / PARITY_SET).read_bytes())
    with ledger.at_once():
        ledger.begin_round(ledger.round + 1)
        run.state.base = begins_with
        if kinds:
            run.state.focus = kinds
        if not (run.settings.redo_rejected or run.settings.focus or requests.is_asked_for(run)):
            run.state.annotated = True
