"""Latency of a single request through gRPC and HTTP, against the engine called in process.

    python -m benchmarks.latency --model bundled

Nothing else is under way. Each request carries its image's bytes, over the wire or to
`load_image`, so both sides decode them. The three take turns in blocks; a block's p50 and p99
make one pair.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import httpx

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import peer, serving, side_by_side, threads_for
from benchmarks.questions import ask, decoding
from benchmarks.row import MILLISECONDS, Pair, Question, Row, percentile
from benchmarks.stores import fill

ENGINES = ("transformers", "vllm")
REQUESTS = {"bundled": 300, "150m": 40, "qwen2vl-2b": 40, "tiny": 4}
"""Number of requests of each side in each run."""
BARS = {50: 1.1, 99: 1.3}


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(ENGINES):
        for row in await measure_engine(model, engine, given):
            yield row


async def measure_engine(model: str, engine: str, given: Arguments) -> list[Row]:
    requests = given.share(REQUESTS[model])
    threads = threads_for(model)
    folder = work_folder(f"latency-{engine}-{model}")
    weights = checkpoint(model)
    await asyncio.to_thread(fill, folder, [weights], model)
    through: dict[str, list[list[float]]] = {"grpc": [], "http": []}
    direct = []
    async with (
        side_by_side(
            peer("direct", folder, threads, str(weights), model, engine),
            serving("student", folder, threads, engine=engine),
        ) as (other, service),
        clients.connect(service.address) as channel,
        httpx.AsyncClient(timeout=120) as client,
    ):
        faces = {
            "grpc": clients.unary(channel, decoding(model)),
            "http": clients.http(client, service.url),
        }
        for number in range(given.runs + 1):
            first = number * 3 * requests
            asked = {
                face: ask(first + at * requests, requests, 1, model)
                for at, face in enumerate(faces)
            }
            seconds = {
                face: await clients.one_by_one(ask_one, asked[face])
                for face, ask_one in faces.items()
            }
            reply = await other.ask(first_image=first + 2 * requests, images=requests, per_image=1)
            if number:
                direct.append(reply["seconds"])
                for face, taken in seconds.items():
                    through[face].append(taken)
    return [
        _row(model, engine, face, percent, blocks, direct, threads)
        for face, blocks in through.items()
        for percent in BARS
    ]


def _row(
    model: str,
    engine: str,
    face: str,
    percent: int,
    blocks: Sequence[Sequence[float]],
    direct: Sequence[Sequence[float]],
    threads: int,
) -> Row:
    question = Question(
        name=f"latency-{face}-p{percent}-{engine}-{model}",
        what=f"latency of a single request through {face}, p{percent}",
        other="the engine called in process",
        model=model,
        engine=engine,
        unit="ms",
        at_most=BARS[percent],
    )
    pairs = [
        Pair(percentile(ours, percent) * MILLISECONDS, percentile(theirs, percent) * MILLISECONDS)
        for ours, theirs in zip(blocks, direct, strict=True)
    ]
    return question.row(pairs, requests_per_run=len(direct[0]), threads=threads)


if __name__ == "__main__":
    arguments.run([measure], __doc__)
