"""p99 of requests during swaps with two slots, against p99 without, 16 clients.

    python -m benchmarks.swap_latency --model bundled

Two rows for each engine. `flips`: both versions stay loaded, so a swap moves a pointer. `loads`:
three versions in two slots, so every swap unloads an engine and loads another from disk while
requests continue. Without a spare core, loading takes its time from the requests.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from benchmarks import arguments
from benchmarks.arguments import Arguments
from benchmarks.checkpoints import checkpoint
from benchmarks.clients import connect
from benchmarks.folders import work_folder
from benchmarks.processes import serving, threads_for
from benchmarks.questions import ask
from benchmarks.row import MILLISECONDS, Pair, Question, Row, percentile
from benchmarks.stores import fill
from benchmarks.traffic import CLIENTS, Expected, Student, Tally, traffic
from benchmarks.versions import noisy

ENGINES = ("transformers", "vllm")
QUIET_S = {"bundled": 6.0, "150m": 15.0, "qwen2vl-2b": 5.0, "tiny": 3.0}
BETWEEN_S = 0.3
QUESTIONS = 64


@dataclass(frozen=True, slots=True)
class Kind:
    """`versions` to promote in turn, in two slots."""

    name: str
    versions: tuple[str, ...]


KINDS = (Kind("flips", ("v1", "v2")), Kind("loads", ("v1", "v2", "v3")))


async def measure(model: str, given: Arguments) -> AsyncIterator[Row]:
    for engine in given.engines(ENGINES):
        threads = threads_for(model)
        folder = work_folder(f"swap-latency-{engine}-{model}")
        base = checkpoint(model)
        others = [noisy(base, folder / f"noisy-{seed}", seed) for seed in (1, 2)]
        await asyncio.to_thread(fill, folder, [base, *others], model)
        async with (
            serving(
                "student", folder, threads, engine=engine, swap="two_slots", max_loaded=2
            ) as service,
            connect(service.address) as channel,
        ):
            student = Student(channel)
            for kind in KINDS:
                yield await measure_kind(kind, model, engine, student, given, threads)


async def measure_kind(
    kind: Kind,
    model: str,
    engine: str,
    student: Student,
    given: Arguments,
    threads: int,
    clients: int = CLIENTS,
) -> Row:
    expected = await student.expected(ask(0, QUESTIONS, 1, model), kind.versions)
    quiet_s = QUIET_S[model] / (10 if given.quick else 1)
    coming = itertools.cycle((*kind.versions[1:], kind.versions[0]))
    pairs = []
    swaps = 0
    wrong = 0
    for number in range(given.runs + 1):
        quiet, swapping, done = await one_pair(student, expected, coming, quiet_s, clients)
        if number:
            p99 = [percentile(tally.seconds, 99) * MILLISECONDS for tally in (swapping, quiet)]
            pairs.append(Pair(*p99))
            swaps += done
            wrong += sum(tally.lost + tally.mixed for tally in (quiet, swapping))
    loads = kind.name == "loads"
    question = Question(
        name=f"swap-latency-{kind.name}-{engine}-{model}",
        what="p99 during swaps with two slots"
        + (", each loading an engine" if loads else ", both versions loaded"),
        other="p99 without",
        model=model,
        engine=engine,
        unit="ms",
        at_most=1.5,
    )
    return question.row(
        pairs,
        clients=clients,
        seconds_per_run=quiet_s,
        swaps=swaps,
        lost_or_mixed=wrong,
        threads=threads,
    )


async def one_pair(
    student: Student, expected: Expected, coming: Iterator[str], seconds: float, clients: int
) -> tuple[Tally, Tally, int]:
    """Traffic without swaps, then as long with at least one, and the number of swaps."""
    async with traffic(student, expected, clients) as quiet:
        await asyncio.sleep(seconds)
    swaps = 0
    began = time.monotonic()
    async with traffic(student, expected, clients) as swapping:
        while time.monotonic() - began < seconds:
            await student.promote(next(coming))
            swaps += 1
            await asyncio.sleep(BETWEEN_S)
    return quiet, swapping, swaps


if __name__ == "__main__":
    arguments.run([measure], __doc__)
