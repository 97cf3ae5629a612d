"""Parts of the check, one after another until the time is up; a failure doesn't stop the next."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from benchmarks.gpu_check.outcome import Figure, Outcome
from benchmarks.row import Row

Measured = Sequence[Figure | Row]


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its name for `--parts`, and its work."""

    name: str
    measure: Callable[[], Awaitable[Measured]]


async def run_parts(
    parts: Sequence[Part],
    seconds: float,
    keep: Callable[[list[Outcome]], None],
) -> list[Outcome]:
    """Outcomes of all parts. `keep` gets those so far after each; `seconds` are for all parts."""
    until = time.monotonic() + seconds
    outcomes: list[Outcome] = []
    for part in parts:
        outcome = await _run(part, until)
        print(f"{outcome.part}: {outcome.state} ({outcome.seconds:.0f} s)", flush=True)
        if outcome.error:
            print(f"  {outcome.error}", flush=True)
        outcomes.append(outcome)
        keep(outcomes)
    return outcomes


async def _run(part: Part, until: float) -> Outcome:
    left = until - time.monotonic()
    if left <= 0:
        return Outcome(part.name, 0.0, error="the time was up", is_left_out=True)
    began = time.monotonic()
    try:
        async with asyncio.timeout(left):
            measured = await part.measure()
    except TimeoutError:
        took = time.monotonic() - began
        return Outcome(part.name, took, error=f"not done after {took:.0f} s: the time was up")
    except Exception as error:
        traceback.print_exc()
        return Outcome(
            part.name, time.monotonic() - began, error=f"{type(error).__name__}: {error}"
        )
    return Outcome(
        part.name,
        time.monotonic() - began,
        tuple(one for one in measured if isinstance(one, Figure)),
        tuple(one for one in measured if isinstance(one, Row)),
    )
