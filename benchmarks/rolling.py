"""Swaps and restarts by SIGTERM under 32 clients of each protocol: requests that failed.

    python -m benchmarks.rolling --model bundled --engine fake

An owner and a follower of one store are behind Envoy with the shipped configuration. Versions are
swapped, and each service in turn gets SIGTERM, ends, is started again and becomes ready. No client
repeats a request. A request has failed if its client sees an error, an answer of another version
than the reply names, or a version that was not live at any time of the request.

Then a service without a proxy gets SIGTERM and is started again. Clients may find that nobody
listens yet, that the service is loading, or that gRPC's library ends a call, unseen by the service,
in the moment of the stop. Every other request must be answered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.folders import work_folder
from benchmarks.processes import Ports, Service, serving_at
from benchmarks.protocols import PROTOCOLS, own_client
from benchmarks.proxy import envoy
from benchmarks.questions import ask
from benchmarks.row import Question, Row
from benchmarks.stores import fill
from benchmarks.swaps import BETWEEN_S, make_versions
from benchmarks.traffic import Expected, Student, Tally, asking
from benchmarks.versions import fake
from services.orchestrator.endpoints.processes import free_ports

ENGINES = ("fake", "transformers")
QUESTIONS = 32
PAUSE_S = 1.0
"""Mean time from a reply to the client's next question: the machine is not saturated."""
LATENCY_S = 0.1
SETTINGS: Mapping[str, str | float | Path] = {
    "max_loaded": 2,
    "lame_duck_s": 3,
    # Envoy is one caller, as in deploy/compose.
    "http_requests_per_caller": 512,
    "http_connections_per_caller": 512,
}
UNSEEN = ("CANCELLED", "Internal error from Core")
"""All words of the status of a call, or of a stream, that the library never gave to the service."""
REFUSALS = ("Connection refused", "ConnectError", "is still loading its model")
"""Words of an error if nobody listens, or the service has just begun to."""

Tallies = Mapping[str, Tally]
"""Outcomes by protocol."""


@dataclass(frozen=True, slots=True)
class Load:
    """Amount of work: swaps, rounds in which every service is restarted, clients per protocol."""

    swaps: int = 50
    rounds: int = 5
    clients: int = 32


@dataclass(slots=True)
class Replica:
    """A service that can be stopped by SIGTERM and started again at its ports."""

    folder: Path
    settings: Mapping[str, str | float | Path]
    ports: Ports
    _running: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> Service:
        """Returns when it is ready."""
        own = serving_at(self.ports, "student", self.folder, 1, self.settings)
        return await self._running.enter_async_context(own)

    async def leave(self) -> None:
        """Returns when its processes have ended."""
        await self._running.aclose()

    async def restart(self) -> None:
        await self.leave()
        await self.start()


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    if model != "bundled":
        return
    whole = Load()
    load = replace(whole, swaps=given.share(whole.swaps), rounds=given.share(whole.rounds))
    for engine in given.engines(ENGINES):
        folder = work_folder(f"rolling-{engine}")
        await fill_two(folder, engine)
        yield _of_replicas(engine, load, await restart_replicas(folder, engine, load))
        folder = work_folder(f"restarts-{engine}")
        await fill_two(folder, engine)
        yield _of_one(engine, load, await restart_one(folder, engine, load))


async def restart_replicas(folder: Path, engine: str, load: Load) -> Tallies:
    """Outcomes of the requests to two replicas behind Envoy."""
    tallies = {name: Tally() for name in PROTOCOLS}
    async with (
        _replicas(folder, engine, 2) as (owner, follower),
        envoy(folder, [owner.ports, follower.ports]) as proxy,
        _asking(owner, proxy, tallies, load) as student,
    ):
        for number in range(load.swaps):
            await student.promote("v2" if number % 2 == 0 else "v1")
            await asyncio.sleep(BETWEEN_S)
            if (number + 1) * load.rounds % load.swaps < load.rounds:
                await follower.restart()
                await owner.restart()
    return tallies


async def restart_one(folder: Path, engine: str, load: Load) -> Tallies:
    """Outcomes of the requests to a single service without a proxy."""
    tallies = {name: Tally() for name in PROTOCOLS if PROTOCOLS[name] is not own_client}
    async with _replicas(folder, engine, 1) as (alone,):
        service = Service(0, grpc_port=alone.ports[1], http_port=alone.ports[0])
        async with _asking(alone, service, tallies, load):
            for _ in range(load.rounds):
                await asyncio.sleep(PAUSE_S)
                await alone.restart()
    return tallies


def _of_replicas(engine: str, load: Load, tallies: Tallies) -> Row:
    question = _question(
        f"rolling-{engine}",
        f"requests that failed, {load.swaps} swaps and {load.rounds} rolling restarts of two "
        f"replicas, {load.clients} clients of each of {len(tallies)} protocols",
        engine,
    )
    return _row(question, tallies, swaps=load.swaps, restarts=2 * load.rounds)


def _of_one(engine: str, load: Load, tallies: Tallies) -> Row:
    question = _question(
        f"restarts-{engine}",
        f"requests that failed, {load.rounds} restarts of one service, {load.clients} clients of "
        f"each of {len(tallies)} protocols; not counted: refused while it starts",
        engine,
    )
    return _row(question, tallies, restarts=load.rounds, refused=refused(tallies))


def refused(tallies: Tallies) -> int:
    """Removes requests that were refused while a service starts, and returns their number."""
    count = 0
    for tally in tallies.values():
        for text in [*filter(_is_refusal, tally.errors)]:
            number = tally.errors.pop(text)
            tally.lost -= number
            count += number
    return count


def _is_refusal(text: str) -> bool:
    return text in UNSEEN or any(word in text for word in REFUSALS)


async def fill_two(folder: Path, engine: str) -> None:
    """Fills the folder's store with two versions."""
    versions = (
        [fake(folder / str(skill), skill, latency_s=LATENCY_S) for skill in (0.9, 0.1)]
        if engine == "fake"
        else make_versions("bundled", engine, "two_slots", folder)
    )
    await asyncio.to_thread(fill, folder, versions, "bundled")


@asynccontextmanager
async def _replicas(folder: Path, engine: str, count: int) -> AsyncIterator[list[Replica]]:
    """The owner of the folder's store, and its followers."""
    ports = free_ports(2 * count)
    replicas = [
        Replica(
            folder / str(number),
            {
                **SETTINGS,
                "engine": engine,
                "store": folder / "store",
                "follow": int(number > 0),
            },
            (ports[2 * number], ports[2 * number + 1]),
        )
        for number in range(count)
    ]
    async with AsyncExitStack() as stack:
        for replica in replicas:
            stack.push_async_callback(replica.leave)
            await replica.start()
        yield replicas


@asynccontextmanager
async def _asking(
    owner: Replica, service: Service, tallies: Tallies, load: Load
) -> AsyncIterator[Student]:
    """Clients of each protocol, which ask `service`; versions are promoted at the owner."""
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(clients.connect(f"127.0.0.1:{owner.ports[1]}"))
        student = Student(channel)
        expected: Expected = await student.expected(ask(0, QUESTIONS, 1), ("v1", "v2"))
        asks = [
            (await stack.enter_async_context(PROTOCOLS[name](service)), tally)
            for name, tally in tallies.items()
            for _ in range(load.clients)
        ]
        async with asking(student, expected, asks, PAUSE_S):
            yield student


def _question(name: str, what: str, engine: str) -> Question:
    return Question(
        name=name,
        what=what,
        other="-",
        model="fake" if engine == "fake" else "bundled",
        engine=engine,
        unit="requests",
        at_most=0.0,
    )


def _row(question: Question, tallies: Tallies, **conditions: int) -> Row:
    every = tallies.values()
    errors = sum((tally.errors for tally in every), Counter[str]())
    return question.counted(
        sum(map(failed, every)),
        runs=1,
        **conditions,
        answered=", ".join(f"{name}: {len(one.seconds)}" for name, one in tallies.items()),
        failed=", ".join(f"{name}: {failed(one)}" for name, one in tallies.items()),
        slowest_s=", ".join(
            f"{name}: {max(one.seconds, default=0.0):.2f}" for name, one in tallies.items()
        ),
        errors="; ".join(f"{text} ({count})" for text, count in errors.most_common(8)),
    )


def failed(tally: Tally) -> int:
    return tally.lost + tally.mixed + tally.other + tally.stale


if __name__ == "__main__":
    arguments.run([measure], __doc__)
