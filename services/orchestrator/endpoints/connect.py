"""Connections to the services, at given addresses or started for the time of the command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from services.orchestrator.endpoints.cached_teacher import cached
from services.orchestrator.endpoints.processes import Addresses, local_services
from services.orchestrator.endpoints.spending import open_purse
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.progress import Progress
from services.rpc.client import Student, StudentClient, Teacher, TeacherClient
from services.together import together


@asynccontextmanager
async def both(
    where: Where, folder: Path, progress: Progress
) -> AsyncIterator[tuple[Teacher, Student]]:
    async with (
        _addresses(where, folder, ("teacher", "student"), progress) as at,
        _teacher(where, at, progress) as teacher,
        _student(where, at, progress) as student,
    ):
        async with together() as group:
            group.create_task(teacher.ready())
            group.create_task(student.ready())
        yield teacher, student


@asynccontextmanager
async def teacher_only(where: Where, folder: Path, progress: Progress) -> AsyncIterator[Teacher]:
    async with (
        _addresses(where, folder, ("teacher",), progress) as at,
        _teacher(where, at, progress) as teacher,
    ):
        await teacher.ready()
        yield teacher


@asynccontextmanager
async def student_only(
    where: Where, folder: Path, progress: Progress, *, is_serving: bool = True
) -> AsyncIterator[StudentClient]:
    """A student.

    Unless `is_serving`, one that is started here loads no version and leaves its device
    free.
    """
    async with (
        _addresses(where, folder, ("student",), progress, is_serving=is_serving) as at,
        _student(where, at, progress) as student,
    ):
        await student.ready()
        yield student


@asynccontextmanager
async def _addresses(
    where: Where, folder: Path, roles: Sequence[str], progress: Progress, *, is_serving: bool = True
) -> AsyncIterator[Addresses]:
    settings = {} if is_serving else {"MPA_STUDENT_SERVE": "0"}
    started = [role for role in roles if where.starts(role)]
    async with local_services(folder, started, progress, settings) as here:
        yield Addresses(here.teacher or where.teacher, here.student or where.student)


@asynccontextmanager
async def _teacher(where: Where, at: Addresses, progress: Progress) -> AsyncIterator[Teacher]:
    further = () if where.starts("teacher") else where.further_teachers
    with open_purse(where.cache, where.run, where.budget, progress.note) as purse:
        clients = [
            TeacherClient(address, patience_s=where.patience_s, notice=progress.note)
            for address in (at.teacher, *further)
        ]
        async with cached(clients, purse) as teacher:
            yield teacher


def _student(where: Where, at: Addresses, progress: Progress) -> StudentClient:
    return StudentClient(at.student, patience_s=where.patience_s, notice=progress.note)
