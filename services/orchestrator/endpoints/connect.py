"""Where the services are: at the addresses given, or started here for as long as the command takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from services.orchestrator.endpoints.cached_teacher import thrifty
from services.orchestrator.endpoints.panel import Panel, panel_of
from services.orchestrator.endpoints.processes import Addresses, local_services
from services.orchestrator.endpoints.spending import open_purse
from services.orchestrator.endpoints.where import Where
from services.orchestrator.run.progress import Progress
from services.rpc.client import StudentClient, TeacherClient
from services.together import together


@asynccontextmanager
async def both(
    where: Where, folder: Path, progress: Progress
) -> AsyncIterator[tuple[TeacherClient, StudentClient]]:
    async with (
        _addresses(where, folder, ("teacher", "student"), progress) as at,
        _teacher(where, at, progress) as teacher,
        _student(where, at, progress) as student,
    ):
        async with together() as group:
            for member in panel_of(teacher):
                group.create_task(member.ready())
            group.create_task(student.connection.wait_until_serving())
        yield teacher, student


@asynccontextmanager
async def teacher_only(
    where: Where, folder: Path, progress: Progress
) -> AsyncIterator[TeacherClient]:
    async with (
        _addresses(where, folder, ("teacher",), progress) as at,
        _teacher(where, at, progress) as teacher,
    ):
        async with together() as group:
            for member in panel_of(teacher):
                group.create_task(member.ready())
        yield teacher


@asynccontextmanager
async def student_only(
    where: Where, folder: Path, progress: Progress, *, is_serving: bool = True
) -> AsyncIterator[StudentClient]:
    """One that is started here and not `is_serving` loads no version: its device is free for training."""
    async with (
        _addresses(where, folder, ("student",), progress, is_serving=is_serving) as at,
        _student(where, at, progress) as student,
    ):
        await student.connection.wait_until_serving()
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
async def _teacher(where: Where, at: Addresses, progress: Progress) -> AsyncIterator[TeacherClient]:
    """One, or several as a panel."""
    further = () if where.starts("teacher") else where.further_teachers
    async with AsyncExitStack() as stack:
        purse = stack.enter_context(open_purse(where.cache, where.run, where.budget, progress.note))
        members = [
            await stack.enter_async_context(
                TeacherClient(address, patience_s=where.patience_s, notice=progress.note)
            )
            for address in (at.teacher, *further)
        ]
        yield thrifty(Panel(members) if further else members[0], purse)


def _student(where: Where, at: Addresses, progress: Progress) -> StudentClient:
    return StudentClient(at.student, patience_s=where.patience_s, notice=progress.note)
