"""The budget of one command, with the money and time that its run has spent before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from services.core.errors import BudgetSpent, Pending
from services.orchestrator.endpoints.budget import NO_LIMITS, Budget, Limits
from services.orchestrator.endpoints.cache import paid_usd
from services.orchestrator.run.run import Run

NOTE_TIME_EVERY_S = 10.0
ENDING_S, ENDING_SHARE = 10.0, 0.05
"""Part of the hours reserved for stopping the services: seconds, and largest share of the rest."""


@asynccontextmanager
async def within(
    limits: Limits, run: Run, cache: Path | None = None
) -> AsyncIterator[Budget | None]:
    """The budget of one command; None without limits. Its hours are counted in any case.

    Raises BudgetSpent when the time is over: work in flight is cancelled, as by Ctrl-C.
    """
    budget = Budget(limits, _billed_usd(run, cache), run.state.worked_s)
    clock = asyncio.create_task(_note_time(run, budget))
    try:
        async with asyncio.timeout(None) as timeout:

            def tell_deadline() -> None:
                if (left_s := budget.left_s) is not None and not timeout.expired():
                    kept_s = min(ENDING_S, ENDING_SHARE * left_s)
                    timeout.reschedule(asyncio.get_running_loop().time() + left_s - kept_s)

            budget.on_change = tell_deadline
            tell_deadline()
            yield budget if limits != NO_LIMITS else None
    except TimeoutError:
        if not timeout.expired():
            raise
        raise budget.spent() from None
    except Pending as error:
        if limits.usd != 0:
            raise
        raise BudgetSpent(
            f"{error}: everything else is done; repeat the command with a larger --budget"
        ) from error
    finally:
        clock.cancel()
        with suppress(asyncio.CancelledError):
            await clock
        run.state.worked_s = budget.worked_s


def _billed_usd(run: Run, cache: Path | None) -> float:
    """Money spent by earlier commands: the larger of the ledger's bill and the cache's.

    A command that was killed may have paid for replies that are in the cache alone.
    """
    recorded = sum(usage.cost_usd for usage in run.ledger.usage().values())
    return max(recorded, paid_usd(cache, run.id) if cache else 0.0)


async def _note_time(run: Run, budget: Budget) -> None:
    while True:
        run.state.worked_s = budget.worked_s
        await asyncio.sleep(NOTE_TIME_EVERY_S)
