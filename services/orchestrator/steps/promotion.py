"""The swap: the candidate goes live under traffic if the evaluation favours it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from services import tracing
from services.core.errors import Conflict
from services.core.evaluation import Decision
from services.orchestrator.exports.model_card import card_of_run
from services.orchestrator.images.reading import read_again
from services.orchestrator.run.progress import Progress
from services.orchestrator.run.run import Run
from services.orchestrator.run.state import Outcome, Swap
from services.orchestrator.steps.evaluation import held_out_cases
from services.orchestrator.steps.questioning import Case
from services.orchestrator.steps.traffic import Traffic, TrafficQuestion
from services.rpc.client import Student

QUESTIONS = 64
REQUESTS_EACH_SIDE, SECONDS_EACH_SIDE = 200, 1.5

Confirm = Callable[[str], bool]


@tracing.stage("promote")
async def promote(
    run: Run,
    student: Student,
    decision: Decision,
    confirm: Confirm,
    progress: Progress,
    *,
    force: bool = False,
) -> None:
    """Writes the outcome and its reason to the ledger.

    Raises Conflict if another version has become live meanwhile.
    """
    before = run.state.the_base.name
    after = run.state.the_candidate.name
    if not decision.promote and not force:
        _settle(run, Outcome.NOT_PROMOTED, decision.reason)
        return
    if not confirm(f"Promote {after} ({decision.reason})?"):
        _settle(run, Outcome.NOT_PROMOTED, "declined at the prompt")
        return
    reason = decision.reason if decision.promote else f"forced, though {decision.reason}"
    with run.timed("promote"):
        candidate = await student.version(after)
        card = card_of_run(run, candidate, reason)
        if (await student.pointers()).live == after:
            await _flip(student, before, after, card)
        else:
            progress.note(f"promote: {after} replaces {before} under traffic")
            contract = candidate.contract
            served = (await student.version(before)).contract
            if changed := contract.differences(served):
                progress.note(
                    f"promote: users' questions will be asked differently than of {before}: "
                    + "; ".join(changed)
                )
            for missing in await _swap(run, student, before, after, card):
                progress.note(f"promote: a replica does not serve {after}: {missing}")
    _settle(run, Outcome.PROMOTED, reason)


async def _swap(run: Run, student: Student, before: str, after: str, card: str) -> tuple[str, ...]:
    """Returns the replicas that don't serve the candidate now, with the reasons."""
    # Held-out questions, or all if nothing is held out.
    cases = held_out_cases(run) or [
        Case(r.path, r.image_sha256, r.question, (), "") for r in run.ledger.records()
    ]
    questions = await asyncio.to_thread(_questions, run, cases[:QUESTIONS])
    if not questions:
        return await _flip(student, before, after, card)
    async with Traffic(student, questions, before, after) as traffic:
        await traffic.flow(REQUESTS_EACH_SIDE, SECONDS_EACH_SIDE)
        missing = await _flip(student, before, after, card)
        traffic.swapped()
        await traffic.flow(REQUESTS_EACH_SIDE, SECONDS_EACH_SIDE)
    run.state.swap = Swap(traffic.requests, traffic.failed, traffic.first_failure)
    return missing


async def _flip(student: Student, before: str, after: str, card: str) -> tuple[str, ...]:
    try:
        return (await student.promote(after, expected_live=before, card=card)).missing
    except Conflict:
        # The candidate is live if an earlier try succeeded and its reply was lost.
        if (await student.pointers()).live != after:
            raise
        return ()


def _questions(run: Run, cases: Sequence[Case]) -> list[TrafficQuestion]:
    source = run.find_images()
    budget = run.settings.pixel_budget
    return [
        TrafficQuestion(read_again(source, case.path, case.image_sha256, budget), case.question)
        for case in cases
    ]


def _settle(run: Run, outcome: Outcome, reason: str) -> None:
    run.state.reason = reason
    run.state.outcome = outcome
