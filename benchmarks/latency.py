"""Latency of a single request through gRPC and HTTP, against the engine called in process.

    python -m benchmarks.latency --model bundled

Nothing else is under way. Each request carries its image's bytes, over the wire or to
`load_image`, so both sides decode them. All take turns in blocks; a block's p50 and p99 make one
pair. POST /v1/chat/completions is asked by OpenAI's own client. The time of the same requests to
uvicorn alone (peers/bare.py) shows the part of it that is ours: it reads the body, waits as long as
the engine took, and its reply has the same size.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import httpx

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import Service, peer, serving, side_by_side, threads_for
from benchmarks.questions import ask, decoding
from benchmarks.row import MILLISECONDS, Pair, Question, Row, percentile
from benchmarks.stores import fill

ENGINES = ("transformers", "vllm")
REQUESTS = {"bundled": 100, "150m": 20, "qwen2vl-2b": 40, "tiny": 4}
"""Number of requests of each side in each run."""
SIDES = 4
"""The engine, and three faces. uvicorn alone gets the last one's questions."""
FACES = {"grpc": "gRPC", "http": "POST /v1/vqa", "chat": "POST /v1/chat/completions"}
BARS = {50: 1.1, 99: 1.3}
OWN = ("chat", "bundled", 50)
"""A row without a bar: that of the same latency beyond uvicorn's alone (OWN_MS) is in its place."""
OWN_MS = 0.3


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
    blocks: list[Block] = []
    async with (
        side_by_side(
            peer("direct", folder, threads, str(weights), model, engine),
            serving("student", folder, threads, engine=engine),
        ) as (direct, service),
        peer("bare", folder, 1) as bare,
        clients.connect(service.address) as channel,
        httpx.AsyncClient(timeout=clients.TIMEOUT_S) as http,
        clients.openai_client(service.url) as openai,
    ):
        most_tokens = decoding(model).max_new_tokens
        faces = {
            "grpc": clients.unary(channel, decoding(model)),
            "http": clients.http(http, service.url),
            "chat": clients.chat(openai, "live", most_tokens),
        }
        for number in range(given.runs + 1):
            first = number * SIDES * requests
            reply = await direct.ask(first_image=first, images=requests, per_image=1)
            engine_s = statistics.median(reply["seconds"])
            asked = [ask(first + at * requests, requests, 1, model) for at in range(1, SIDES)]
            through = {
                face: await clients.one_by_one(ask_one, asked[at])
                for at, (face, ask_one) in enumerate(faces.items())
            }
            url = Service(0, **await bare.ask(seconds=engine_s)).url
            async with clients.openai_client(url) as waiting:
                alone = await clients.one_by_one(
                    clients.chat(waiting, "live", most_tokens), asked[-1]
                )
            if number:
                blocks.append(Block(reply["seconds"], alone, through))
    rows = [
        _row(model, engine, face, percent, blocks, threads) for face in faces for percent in BARS
    ]
    if model != OWN[1]:  # computing varies by more than the rest costs
        return rows
    return [*rows, _own_row(model, engine, blocks, threads)]


@dataclass(frozen=True, slots=True)
class Block:
    """Seconds of each request: to the engine in process, to uvicorn alone, through each face."""

    direct: Sequence[float]
    alone: Sequence[float]
    through: Mapping[str, Sequence[float]]

    @property
    def own_ms(self) -> float:
        """Median through chat completions, less the medians of the engine and of uvicorn alone.

        The latter waited as long as the engine took, so it has the engine's median in it.
        """
        difference_s = statistics.median(self.through["chat"]) - statistics.median(self.alone)
        return difference_s * MILLISECONDS


def _row(
    model: str, engine: str, face: str, percent: int, blocks: Sequence[Block], threads: int
) -> Row:
    question = Question(
        name=f"latency-{face}-p{percent}-{engine}-{model}",
        what=f"latency of a single request through {FACES[face]}, p{percent}",
        other="the engine called in process",
        model=model,
        engine=engine,
        unit="ms",
        at_most=None if (face, model, percent) == OWN else BARS[percent],
    )
    pairs = [
        Pair(
            percentile(block.through[face], percent) * MILLISECONDS,
            percentile(block.direct, percent) * MILLISECONDS,
        )
        for block in blocks
    ]
    return question.row(pairs, requests_per_run=len(blocks[0].direct), threads=threads)


def _own_row(model: str, engine: str, blocks: Sequence[Block], threads: int) -> Row:
    question = Question(
        name=f"latency-chat-own-{engine}-{model}",
        what=f"latency through {FACES['chat']}, p50, beyond uvicorn's alone and the engine's",
        other="-",
        model=model,
        engine=engine,
        unit="ms",
        at_most=OWN_MS,
    )
    own = [block.own_ms for block in blocks]
    return question.counted(
        statistics.median(own),
        len(own),
        least_ms=round(min(own), 3),
        most_ms=round(max(own), 3),
        chat_p50_ms=_p50_ms([block.through["chat"] for block in blocks]),
        alone_p50_ms=_p50_ms([block.alone for block in blocks]),
        direct_p50_ms=_p50_ms([block.direct for block in blocks]),
        requests_per_run=len(blocks[0].direct),
        threads=threads,
    )


def _p50_ms(blocks: Sequence[Sequence[float]]) -> float:
    return round(statistics.median(map(statistics.median, blocks)) * MILLISECONDS, 3)


if __name__ == "__main__":
    arguments.run([measure], __doc__)
