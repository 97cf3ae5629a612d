"""The two services of the check: each is started when a part first needs it."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.checkpoints import checkpoint
from benchmarks.gpu_check.scale import Scale
from benchmarks.processes import Service, serving
from services.engines.gpus import visible_gpus

TWO_SLOTS, IN_PLACE = "two_slots", "in_place"


class Models:
    """Teacher and student of one scale, on one engine."""

    def __init__(self, scale: Scale, folder: Path, engine: str) -> None:
        self.scale = scale
        self.folder = folder
        self.engine = engine
        self.trained = ""
        """Name of the version that was trained."""
        self._stacks: dict[str, AsyncExitStack] = {}
        self._services: dict[str, Service] = {}
        self._way = TWO_SLOTS

    async def checkpoints(self) -> dict[str, Path]:
        """Folder of each role's checkpoint, drawn on first use."""
        names = {"teacher": self.scale.teacher, "student": self.scale.student}
        return {
            role: await asyncio.to_thread(checkpoint, name, role) for role, name in names.items()
        }

    async def teacher(self) -> Service:
        return await self._service("teacher")

    async def student(self, way: str = TWO_SLOTS) -> Service:
        """The student, restarted if it swaps in another way."""
        if way != self._way:
            await self.stop("student")
            self._way = way
        return await self._service("student")

    async def both(self) -> tuple[Service, Service]:
        """Both services, started side by side."""
        teacher, student = await asyncio.gather(self.teacher(), self.student())
        return teacher, student

    async def stop(self, role: str) -> None:
        self._services.pop(role, None)
        if stack := self._stacks.pop(role, None):
            await stack.aclose()

    async def close(self) -> None:
        for role in list(self._stacks):
            await self.stop(role)

    async def _service(self, role: str) -> Service:
        if role not in self._services:
            model = (await self.checkpoints())[role]
            stack = AsyncExitStack()
            settings: dict[str, str | int | Path] = (
                {"swap": self._way, "max_loaded": 2} if role == "student" else {}
            )
            self._services[role] = await stack.enter_async_context(
                serving(
                    role,
                    self.folder,
                    len(os.sched_getaffinity(0)),
                    engine=self.engine,
                    model=model,
                    **settings,
                )
            )
            self._stacks[role] = stack
        return self._services[role]


def set_environment(scale: Scale) -> None:
    """Settings that both services and the other sides of the rows read."""
    for role in ("teacher", "student"):
        prefix = f"MPA_{role.upper()}_"
        os.environ[f"{prefix}MAX_MODEL_LEN"] = str(scale.window)
        if preset := scale.presets.get(role):
            os.environ[f"{prefix}PRESET"] = preset
        if visible_gpus() and role in scale.shares:
            os.environ[f"{prefix}MEMORY_SHARE"] = str(scale.shares[role])
