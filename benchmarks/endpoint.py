"""The production endpoint under 32 clients, gRPC and HTTP, against `vllm serve`.

    python -m benchmarks.endpoint --model bundled

Both have the same model and engine settings. Every client sends its next question after its last
reply, with the image's bytes: as protobuf, as base64 JSON to POST /v1/vqa, as a data URL to
POST /v1/chat/completions. That face and `vllm serve` have the same client, OpenAI's own, and the
same requests. The clients run in a process of their own on the same machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.clients import Ask, Crowd
from benchmarks.folders import work_folder
from benchmarks.processes import (
    Service,
    rest,
    serving,
    side_by_side,
    student_settings,
    threads_for,
    vllm_serve,
)
from benchmarks.questions import ask, decoding
from benchmarks.row import MILLISECONDS, Pair, Question, Row, percentile
from benchmarks.stores import fill
from services.engines.gpus import visible_gpus

CLIENTS = 32
FACES = {"chat": "POST /v1/chat/completions", "grpc": "gRPC", "http": "POST /v1/vqa"}
OTHER = "vllm serve"
IMAGES = {"bundled": 100, "150m": 24, "qwen2vl-2b": 64, "tiny": 4}
PER_IMAGE = 4


def serve_arguments() -> dict[str, str]:
    """The settings of our engine (services/engines/vllm_arguments.py) for `vllm serve`."""
    settings = student_settings()
    device = (
        {"gpu-memory-utilization": str(settings.memory_share)}
        if visible_gpus()
        else {"dtype": "float32", "kv-cache-memory-bytes": str(2**30), "enforce-eager": ""}
    )
    window = {"max-model-len": str(settings.max_model_len)} if settings.max_model_len else {}
    return {
        **device,
        **window,
        "max-num-seqs": str(settings.most_at_once(in_vllm_on_gpu=bool(visible_gpus()))),
        "limit-mm-per-prompt": '{"image": 1, "video": 0}',
        "generation-config": "vllm",
        "served-model-name": "student",
        "disable-log-stats": "",
        "disable-uvicorn-access-log": "",
    }


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    images = given.share(IMAGES[model])
    threads = threads_for(model)
    folder = work_folder(f"endpoint-{model}")
    weights = checkpoint(model)
    await asyncio.to_thread(fill, folder, [weights], model)
    turns: list[dict[str, Crowd]] = []
    async with (
        side_by_side(
            serving("student", folder, threads, engine="vllm"),
            vllm_serve(weights, folder, threads, serve_arguments()),
        ) as (service, url),
        connected(service, url, model) as sides,
    ):
        for number in range(given.runs + 1):
            turn = {}
            for at, (name, ask_one) in enumerate(sides.items()):
                asked = ask((number * len(sides) + at) * images, images, PER_IMAGE, model)
                turn[name] = await clients.side_by_side(ask_one, asked, CLIENTS)
                await rest()
            await rest()  # the processes of `vllm serve`, which come last, need more time
            if number:
                turns.append(turn)
    for face in FACES:
        for row in _rows(face, model, [(turn[face], turn[OTHER]) for turn in turns], threads):
            yield row


@asynccontextmanager
async def connected(service: Service, url: str, model: str) -> AsyncIterator[dict[str, Ask]]:
    """A client of each face of ours, and OTHER."""
    most_tokens = decoding(model).max_new_tokens
    limits = httpx.Limits(max_connections=CLIENTS)
    async with (
        clients.connect(service.address) as channel,
        httpx.AsyncClient(timeout=clients.TIMEOUT_S, limits=limits) as http,
        clients.openai_client(service.url) as ours,
        clients.openai_client(url) as theirs,
    ):
        yield {
            "http": clients.http(http, service.url),
            "grpc": clients.unary(channel, decoding(model)),
            "chat": clients.chat(ours, "live", most_tokens),
            OTHER: clients.chat(theirs, "student", most_tokens, clients.prompt),
        }


def _rows(
    face: str, model: str, turns: Sequence[tuple[Crowd, Crowd]], threads: int
) -> Iterator[Row]:
    """Rows of requests/s and of the latency's 99th percentile."""
    told = {
        "requests_per_run": len(turns[0][0].each),
        "clients": CLIENTS,
        "threads": threads,
    }
    question = Question(
        name=f"endpoint-{face}-{model}",
        what=f"production endpoint, {CLIENTS} clients through {FACES[face]}",
        other="vllm serve, OpenAI's client",
        model=model,
        engine="vllm",
        unit="requests/s",
        at_least=1.0,
    )
    yield question.row([Pair(ours.rate, theirs.rate) for ours, theirs in turns], **told)
    late = replace(
        question,
        name=f"{question.name}-p99",
        what=f"{question.what}, p99",
        unit="ms",
        at_least=None,
        at_most=1.0,
    )
    yield late.row([Pair(_p99_ms(ours), _p99_ms(theirs)) for ours, theirs in turns], **told)


def _p99_ms(crowd: Crowd) -> float:
    return percentile(crowd.each, 99) * MILLISECONDS


if __name__ == "__main__":
    arguments.run([measure], __doc__)
