"""Cost of a request without a service: the other rows' clients, and servers that only wait.

    python -m benchmarks.round_trip

Not a row: it shows which part of a request's latency is below the service (docs/benchmarks.md).
The servers wait as long as the bundled student computes, so both processes sleep before a reply.
"""

from __future__ import annotations

import asyncio
import statistics

import httpx

from benchmarks import clients
from benchmarks.folders import work_folder
from benchmarks.processes import Service, peer
from benchmarks.questions import ask
from services.core.decoding import Decoding

WAIT_S = 0.013
REQUESTS = 300
ROUNDS = 4
"""The first one warms up."""


async def measure() -> dict[str, list[float]]:
    """Seconds beyond WAIT_S, medians of each round after the first."""
    found: dict[str, list[float]] = {"grpc": [], "http": [], "chat": []}
    async with peer("bare", work_folder("round-trip"), 1) as server:
        service = Service(0, **await server.ask(seconds=WAIT_S))
        async with (
            clients.connect(service.address) as channel,
            httpx.AsyncClient() as client,
            clients.openai_client(service.url) as chat,
        ):
            faces = {
                "grpc": clients.unary(channel, Decoding()),
                "http": clients.http(client, service.url),
                "chat": clients.chat(chat, "live", 32),
            }
            for number in range(ROUNDS):
                for face, ask_one in faces.items():
                    taken = statistics.median(
                        await clients.one_by_one(ask_one, ask(0, REQUESTS, 1))
                    )
                    if number:
                        found[face].append(taken - WAIT_S)
    return found


if __name__ == "__main__":
    for face, seconds in asyncio.run(measure()).items():
        listed = ", ".join(f"{1e3 * one:.2f}" for one in seconds)
        print(f"{face}: {listed} ms beyond the {1e3 * WAIT_S:.0f} ms that the server waits")
