"""The production endpoint under 32 clients, gRPC and HTTP, against `vllm serve`.

    python -m benchmarks.endpoint --model bundled

Both have the same model and engine settings. Every client sends its next question after its last
reply, with the image's bytes: as protobuf, as base64 JSON to POST /v1/vqa, as a data URL to
POST /v1/chat/completions. The clients run on the same machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import (
    rest,
    serving,
    side_by_side,
    student_settings,
    threads_for,
    vllm_serve,
)
from benchmarks.questions import ask, decoding
from benchmarks.row import Pair, Question, Row
from benchmarks.stores import fill
from services.engines.gpus import visible_gpus

CLIENTS = 32
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
    pairs: dict[str, list[Pair]] = {"grpc": [], "http": []}
    limits = httpx.Limits(max_connections=CLIENTS)
    async with (
        side_by_side(
            serving("student", folder, threads, engine="vllm"),
            vllm_serve(weights, folder, threads, serve_arguments()),
        ) as (service, url),
        clients.connect(service.address) as channel,
        httpx.AsyncClient(timeout=120, limits=limits) as client,
    ):
        faces = {
            "grpc": clients.unary(channel, decoding(model)),
            "http": clients.http(client, service.url),
        }
        other = clients.chat_completions(client, url, "student", decoding(model).max_new_tokens)
        for number in range(given.runs + 1):
            asked = {
                name: ask((number * 3 + at) * images, images, PER_IMAGE, model)
                for at, name in enumerate(("grpc", "http", ""))
            }
            rates = {}
            for name, ask_one in (("grpc", faces["grpc"]), ("", other), ("http", faces["http"])):
                rates[name] = len(asked[name]) / await clients.side_by_side(
                    ask_one, asked[name], CLIENTS
                )
                await rest()
            if number:
                for face in pairs:
                    pairs[face].append(Pair(rates[face], rates[""]))
    for face, measured in pairs.items():
        question = Question(
            name=f"endpoint-{face}-{model}",
            what=f"production endpoint, {CLIENTS} clients through {face}",
            other="vllm serve, chat completions",
            model=model,
            engine="vllm",
            unit="requests/s",
            at_least=1.0,
        )
        yield question.row(
            measured, requests_per_run=images * PER_IMAGE, clients=CLIENTS, threads=threads
        )


if __name__ == "__main__":
    arguments.run([measure], __doc__)
