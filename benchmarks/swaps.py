"""Answers lost or mixed between versions during swaps under 16 clients: each engine, each way.

    python -m benchmarks.swaps --model bundled

Every reply is compared with the answer that its version gave before, without other traffic. vLLM
in place keeps part of the old weights of a Qwen2-VL on a CPU. The canaries notice and a new engine
starts, which is slow: fewer swaps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks import arguments, clients
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.folders import work_folder
from benchmarks.processes import serving, threads_for
from benchmarks.questions import ask
from benchmarks.row import Question, Row
from benchmarks.stores import fill
from benchmarks.traffic import CLIENTS, Student, traffic
from benchmarks.versions import LORA_RANK, adapted, fake, noisy

WAYS = ("two_slots", "in_place", "adapter")
ENGINES = ("fake", "transformers", "vllm")
SWAPS = 50
SLOW_SWAPS = 4
QUESTIONS = 96
BETWEEN_S = 0.2


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(ENGINES):
        for way in WAYS:
            if engine != "fake" or model == "bundled":
                yield await measure_way(model, engine, way, given)


def make_versions(model: str, engine: str, way: str, folder: Path) -> list[Path]:
    """Two checkpoints."""
    if engine == "fake":
        return [fake(folder / "one", 0.9), fake(folder / "other", 0.1, is_adapter=way == "adapter")]
    base = checkpoint(model)
    return [base, (adapted if way == "adapter" else noisy)(base, folder / "other", seed=1)]


async def measure_way(model: str, engine: str, way: str, given: Arguments) -> Row:
    threads = threads_for(model)
    folder = work_folder(f"swaps-{engine}-{way}-{model}")
    await asyncio.to_thread(lambda: fill(folder, make_versions(model, engine, way, folder), model))
    swaps = given.share(SLOW_SWAPS if (engine, way) == ("vllm", "in_place") else SWAPS)
    settings: dict[str, str | int] = {
        "swap": "two_slots" if way == "adapter" else way,
        "max_loaded": 2,
    }
    if way == "adapter":
        settings["max_lora_rank"] = LORA_RANK
    async with (
        serving("student", folder, threads, engine=engine, **settings) as service,
        clients.connect(service.address) as channel,
    ):
        student = Student(channel)
        expected = await student.expected(ask(0, QUESTIONS, 1), ("v1", "v2"))
        ways = []
        async with traffic(student, expected) as tally:
            for number in range(swaps):
                await asyncio.sleep(BETWEEN_S)
                ways.append(await student.promote("v2" if number % 2 == 0 else "v1"))
            await asyncio.sleep(BETWEEN_S)
    question = Question(
        name=f"swaps-{engine}-{way}-{model}",
        what=f"answers lost or mixed between versions, {CLIENTS} clients, {swaps} swaps, {way}",
        other="-",
        model=model,
        engine=engine,
        unit="answers",
        at_most=0.0,
    )
    return question.counted(
        tally.lost + tally.mixed,
        runs=1,
        swaps=swaps,
        requests=len(tally.seconds) + tally.lost,
        answered_by=", ".join(
            f"{name}: {count}" for name, count in sorted(tally.by_version.items())
        ),
        lost=tally.lost,
        mixed=tally.mixed,
        answers_of_neither=tally.other,
        telling_questions=len(expected["v1"]),
        ways=", ".join(sorted(set(ways))),
        errors="; ".join(tally.errors),
    )


if __name__ == "__main__":
    arguments.run([measure], __doc__)
