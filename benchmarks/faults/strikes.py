"""The five faults. Each strikes at a random moment of an operation, and ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import psutil

from benchmarks.faults.cable import RECEIVED, SENT
from benchmarks.faults.deployment import Deployment
from benchmarks.faults.service import Replica, resume, stop
from services.core.errors import Conflict
from services.student.ownership import lock_store

DAY_S = 86_400
JUMPS_S = (DAY_S, -DAY_S, 3600, -3600, 40 * DAY_S)
LONG_S = 12.0
"""Longer than a follower's silence after which nobody waits for it."""
ORPHAN_S = 10.0
"""Time in which a worker ends whose supervisor was killed."""
ANSWERED_S = 10.0
"""Time from a ready service to its first answer: channels wait before they connect again."""
LATEST = 1.1
"""Latest moment of a fault, as a share of the operation's time or bytes."""


class Fault(StrEnum):
    """Kinds of faults."""

    KILL = "kill -9"
    STOP = "SIGSTOP"
    DISK = "full disk"
    CLOCK = "clock jump"
    NETWORK = "network cut"


@dataclass(frozen=True, slots=True)
class Extent:
    """Time, disk space and traffic of an operation without a fault."""

    seconds: float
    disk_bytes: int
    bytes: dict[str, int]


@dataclass(slots=True)
class Strike:
    """One fault at work. `done`: set when the operation under way has ended."""

    on: Deployment
    chance: random.Random
    extent: Extent
    is_training: bool
    done: asyncio.Event
    violations: list[str]
    how: str = ""
    hit: bool = False
    """Whether the operation was under way when the fault struck."""

    async def kill(self) -> None:
        """Kill one process or all, and start what does not start by itself."""
        ways: dict[str, float] = {"all": 4, "supervisor": 2, "worker": 1, "follower": 1}
        await self._moment()
        trainers = self.on.owner.trainers()
        if self.is_training and trainers:
            ways["trainer"] = 4
        self.how = self._choose(ways)
        replica = self.on.follower if self.how == "follower" else self.on.owner
        if self.how == "trainer":
            await replica.kill(trainers)
            return
        async with self._struck(replica):
            processes = replica.processes()
            match self.how:
                case "worker":
                    await replica.kill(replica.workers())
                case "supervisor":
                    await replica.kill(processes[:1])
                    await self._no_orphans(replica, processes[1:])
                    await self._start(replica)
                case _:
                    await replica.kill(processes)
                    await self._start(replica)

    async def stop(self) -> None:
        """Stop processes for some seconds. A second owner is refused meanwhile."""
        await self._moment()
        ways: dict[str, float] = {"all": 3, "worker": 2, "follower": 2}
        trainers = self.on.owner.trainers()
        if self.is_training and trainers:
            ways["trainer"] = 3
        self.how = self._choose(ways)
        replica = self.on.follower if self.how == "follower" else self.on.owner
        found = {"trainer": trainers, "worker": replica.workers()}
        processes = found.get(self.how) or replica.processes()
        seconds = LONG_S if self.chance.random() < 0.2 else self.chance.uniform(0.3, 3)
        self.how += f" for {seconds:.1f} s"
        async with self._struck(replica):
            stop(processes)
            try:
                await asyncio.sleep(seconds)
                self._is_locked()
            finally:
                resume(processes)

    async def fill(self) -> None:
        """Fill the disk at a byte of the operation, or at a moment; then make room."""
        self.on.caller.may_fail = True
        if self.chance.random() < 0.5:
            left = int(self.chance.uniform(0, LATEST) * self.extent.disk_bytes)
            self.how = f"after {left} bytes"
            self.on.disk.fill(left)
            await self._or_done(LATEST * self.extent.seconds)
            self.hit = left < self.extent.disk_bytes
        else:
            await self._moment()
            self.on.disk.fill()
        await self._or_done(self.chance.uniform(0.3, 2))
        self.on.disk.free()

    async def jump(self) -> None:
        """Set the clock, and perhaps start the service again before it is set back."""
        await self._moment()
        seconds = self.chance.choice(JUMPS_S)
        self.on.clock.jump(seconds)
        self.how = f"{seconds:+} s"
        if self.chance.random() < 0.3:
            self.how += ", restart"
            async with self._struck(self.on.owner):
                await self.on.owner.kill(self.on.owner.processes())
                await self._start(self.on.owner)

    async def cut(self) -> None:
        """Cut the caller's cable at a byte."""
        direction = self.chance.choice((SENT, RECEIVED))
        after = int(self.chance.uniform(0, LATEST) * self.extent.bytes[direction])
        is_silent = self.chance.random() < 0.4
        self.how = f"after {after} bytes {direction}, {'silent' if is_silent else 'reset'}"
        self.on.cable.arm(direction, after, silent=is_silent)
        cut = asyncio.create_task(self.on.cable.cut.wait())
        done = asyncio.create_task(self.done.wait())
        await asyncio.wait((cut, done), timeout=10, return_when=asyncio.FIRST_COMPLETED)
        self.hit = cut.done()
        if is_silent and self.hit:
            await asyncio.sleep(self.chance.uniform(0.5, 3))
        self.on.cable.heal()
        for waiting in (cut, done):
            waiting.cancel()

    async def _moment(self) -> None:
        seconds = self.chance.uniform(0, LATEST) * self.extent.seconds
        self.how = f"after {seconds:.2f} s"
        await self._or_done(seconds)
        self.hit = not self.done.is_set()

    async def _or_done(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.done.wait()
        except TimeoutError:
            pass

    def _choose(self, ways: dict[str, float]) -> str:
        return self.chance.choices(list(ways), list(ways.values()))[0]

    @asynccontextmanager
    async def _struck(self, replica: Replica) -> AsyncIterator[None]:
        """Errors of its answers are expected until it answers again."""
        asker = self.on.askers[replica]
        asker.is_patient = True
        yield
        if complaint := await replica.until_ready():
            self.violations.append(complaint)
        asker.answered.clear()
        try:
            async with asyncio.timeout(ANSWERED_S):
                await asker.answered.wait()
        except TimeoutError:
            self.violations.append("it is ready, but answers nothing")
        asker.is_patient = False

    async def _start(self, replica: Replica) -> None:
        await replica.end()
        try:
            await replica.start()
        except RuntimeError as error:
            self.violations.append(f"it does not start again: {error}")
            raise

    async def _no_orphans(self, replica: Replica, orphans: Sequence[psutil.Process]) -> None:
        """Processes without a supervisor must end by themselves: they own the store."""
        _, left = await asyncio.to_thread(psutil.wait_procs, orphans, ORPHAN_S)
        if left:
            names = ", ".join(" ".join(each.cmdline()[:4]) for each in left)
            self.violations.append(f"outlives its supervisor: {names}")
            await replica.kill(left)

    def _is_locked(self) -> None:
        try:
            lock_store(self.on.disk.path).close()
        except Conflict:
            return
        self.violations.append("a second service could own the store of one that is stopped")


Way: TypeAlias = Callable[[Strike], Awaitable[None]]
WAYS: dict[Fault, Way] = {
    Fault.KILL: Strike.kill,
    Fault.STOP: Strike.stop,
    Fault.DISK: Strike.fill,
    Fault.CLOCK: Strike.jump,
    Fault.NETWORK: Strike.cut,
}
