"""Gauges of versions, followers and the training under way, set when the metrics are read."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from services import metrics
from services.student.endpoint import StudentEndpoint
from services.student.job_state import FINAL
from services.student.plan import SwapWay
from services.student.progress import TrainingProgress
from services.student.student import HostedStudent
from services.student.swap import UNPLANNED


def watch(student: StudentEndpoint) -> None:
    """Set the gauges of a student before each reading."""

    async def refresh() -> None:
        metrics.VERSIONS_LOADED.set(len(student.versions.loaded()))
        for pointer, version in asdict(student.versions.pointers).items():
            metrics.POINTERS.labels(pointer).info({"version": version})
        troubled = [bool(follower.trouble) for follower in await student.followers()]
        metrics.FOLLOWERS.labels("serving").set(troubled.count(False))
        metrics.FOLLOWERS.labels("troubled").set(troubled.count(True))
        name = student.jobs.running if isinstance(student, HostedStudent) else ""
        _set(await _progress(student, name), is_running=bool(name))

    _begin_at_0()
    metrics.before_reading(refresh)


def _begin_at_0() -> None:
    """Show rare events before the first one: an increase from nothing is none to Prometheus."""
    for way in (*SwapWay, UNPLANNED):
        metrics.SWAPS.labels(way, "failed")
    for result in ("passed", "failed"):
        metrics.CANARY_CHECKS.labels(result)
    for phase in FINAL:
        metrics.TRAININGS.labels(phase)
    for result in ("kept", "dropped", "failed"):
        metrics.SAMPLES.labels(result)


async def _progress(student: StudentEndpoint, name: str) -> TrainingProgress:
    if not name or not isinstance(student, HostedStudent):
        return TrainingProgress()
    return await asyncio.to_thread(student.jobs.progress, name)


def _set(progress: TrainingProgress, *, is_running: bool) -> None:
    metrics.TRAINING.set(is_running)
    metrics.TRAINING_STEP.set(progress.step)
    metrics.TRAINING_STEPS.set(progress.total_steps)
    metrics.TRAINING_SECONDS.set(progress.seconds)
