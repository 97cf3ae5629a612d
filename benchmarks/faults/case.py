"""One fault in one operation, and the check of everything that was promised before."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.faults.deployment import Deployment
from benchmarks.faults.invariants import followed, leftovers, on_disk, served, settled
from benchmarks.faults.operations import Operation, Violated
from benchmarks.faults.strikes import WAYS, Extent, Fault, Strike
from services.core.errors import MpaError
from services.rpc.access.credentials import Credentials
from services.rpc.client.student import StudentClient

MOMENTS = 10
"""Random moments of each fault in each operation."""
LONGEST_S = 90.0
"""Longest time of an operation with its fault."""
KEY_KNOWN_S = 5.0


@dataclass(frozen=True, slots=True)
class Case:
    """A fault in an operation; `number` is the seed of its moment."""

    number: int
    operation: Operation
    fault: Fault


def cases(moments: int = MOMENTS) -> list[Case]:
    """All cases. Operations change least often: a swap in place needs services of its own."""
    grid = [
        (operation, fault) for operation in Operation for fault in Fault for _ in range(moments)
    ]
    return [Case(number, *each) for number, each in enumerate(grid)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case that was tried. `how` and `hit`: see Strike."""

    number: int
    how: str
    hit: bool
    seconds: float
    violations: tuple[str, ...]


async def measure_extent(on: Deployment, operation: Operation) -> Extent:
    """Do the operation twice without a fault; the second time counts."""
    await on.caller.do(operation)
    before = dict(on.cable.bytes)
    used = on.disk.used_bytes
    began = time.monotonic()
    await on.caller.do(operation)
    return Extent(
        time.monotonic() - began,
        max(4096, on.disk.used_bytes - used),
        {way: count - before[way] for way, count in on.cable.bytes.items()},
    )


async def tried(on: Deployment, case: Case, extent: Extent, seed: int) -> Outcome:
    """Begin the operation, strike, wait for its end, check."""
    began = time.monotonic()
    chance = random.Random(f"{seed}-{case.number}")
    violations: list[str] = []
    caller = on.caller
    caller.chance = random.Random(chance.random())
    caller.is_over.clear()
    caller.may_fail = False
    for asker in on.askers.values():
        asker.is_patient = False
    await on.add_key()
    done = asyncio.Event()
    strike = Strike(on, chance, extent, case.operation is Operation.TRAIN, done, violations)
    doing = asyncio.create_task(caller.do(case.operation))
    doing.add_done_callback(lambda _: done.set())
    try:
        async with asyncio.timeout(LONGEST_S):
            await WAYS[case.fault](strike)
            caller.is_over.set()
            await doing
    except Violated as error:
        violations.append(str(error))
    except TimeoutError:
        violations.append(f"the {case.operation} has not ended after {LONGEST_S:g} s")
        doing.cancel()
    violations += await _violations(on)
    if on.clock.offset_s:
        on.clock.jump(-on.clock.offset_s)
        violations += [f"clock set back: {each}" for each in await _violations(on)]
    return Outcome(
        number=case.number,
        how=strike.how,
        hit=strike.hit,
        seconds=time.monotonic() - began,
        violations=tuple(violations),
    )


async def _violations(on: Deployment) -> list[str]:
    try:
        found = await served(on.observer, on.promised)
        found += await followed(on.followed, on.promised)
        found += await _knows_key(on)
    except MpaError as error:
        return [f"the service can't be asked: {error}"]
    left = await settled(lambda: leftovers(on.disk.path, on.promised))
    found += [f"left behind: {path}" for path in left]
    found += await asyncio.to_thread(lambda: list(on_disk(on.disk.path, on.promised, on.keys)))
    for asker in on.askers.values():
        found += asker.violations
        asker.violations = []
    return found


async def _knows_key(on: Deployment) -> list[str]:
    """The newest key is accepted: the service has read its file."""
    credentials = Credentials(on.promised.keys[-1])
    end = time.monotonic() + KEY_KNOWN_S
    async with StudentClient(on.owner.address, credentials=credentials) as client:
        while True:
            try:
                await client.pointers()
                return []
            except MpaError as error:
                if time.monotonic() > end:
                    return [f"a new key is refused: {error}"]
            await asyncio.sleep(0.1)


def in_shares(chosen: list[Case]) -> Iterator[tuple[bool, list[Case]]]:
    """Cases that share their services: whether they swap in place, and the cases."""
    for in_place in (False, True):
        if found := [each for each in chosen if (each.operation is Operation.SWAP) is in_place]:
            yield in_place, found
