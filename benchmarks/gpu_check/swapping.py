"""Swap the trained version under clients: with two slots, and in place."""

from __future__ import annotations

import time

from benchmarks import clients
from benchmarks.arguments import Arguments
from benchmarks.gpu_check.leveling import require_trained
from benchmarks.gpu_check.models import IN_PLACE, Models
from benchmarks.gpu_check.outcome import Figure
from benchmarks.questions import ask
from benchmarks.row import MILLISECONDS, Row, percentile
from benchmarks.swap_latency import Kind, measure_kind
from benchmarks.traffic import Student, traffic

QUESTIONS = 32


async def two_slots(models: Models, given: Arguments) -> list[Figure | Row]:
    """p99 of requests while the pointer moves between two loaded versions."""
    service = await models.student()
    kind = Kind("flips", ("v1", require_trained(models)))
    async with clients.connect(service.address) as channel:
        student = Student(channel)
        row = await measure_kind(
            kind,
            models.scale.student,
            models.engine,
            student,
            given,
            threads=0,
            clients=models.scale.clients,
        )
    return [row, Figure("lost or mixed answers", float(row.conditions["lost_or_mixed"]), "answers")]


async def in_place(models: Models) -> list[Figure]:
    """Two swaps on one engine, there and back."""
    trained = require_trained(models)
    service = await models.student(IN_PLACE)
    async with clients.connect(service.address) as channel:
        student = Student(channel)
        asked = ask(0, min(QUESTIONS, models.scale.photos), 1, models.scale.student)
        expected = await student.expected(asked, ("v1", trained))
        seconds = []
        async with traffic(student, expected, models.scale.clients) as tally:
            for version in (trained, "v1"):
                began = time.perf_counter()
                await student.promote(version)
                seconds.append(time.perf_counter() - began)
    conditions = f"{models.scale.clients} clients, {len(tally.seconds)} answers"
    return [
        Figure("swap in place, with canaries", max(seconds), "s", "the slower of two"),
        Figure("p99 around it", percentile(tally.seconds, 99) * MILLISECONDS, "ms", conditions),
        Figure("lost or mixed answers", float(tally.lost + tally.mixed), "answers", conditions),
    ]
