"""An owner and followers of one store, with the fake engine, in this process or in others.

    python -m tests.student.following

runs a follower with the settings of its environment until it is ended.
"""

import asyncio
import logging
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc

from services.core.contract import Contract
from services.orchestrator.endpoints.processes import free_ports
from services.rpc.images import ImageReceiver
from services.rpc.lifecycle import Lifecycle
from services.rpc.server import GrpcServer
from services.student.follower import FollowingStudent
from services.student.manifest import Origin
from services.student.servicers import OWNERS, SERVICES, StudentServicer, register
from services.student.settings import StudentSettings
from tests.serving import StudentPeer, fake_checkpoint, fake_student_environment, serving_student

SKILLED, UNSKILLED = "v2", "v1"
"""A version that knows every answer, and one that knows none."""


@asynccontextmanager
async def owning(folder: Path):
    """The owner of folder/store, which has both versions. UNSKILLED is live."""
    environment = fake_student_environment(
        fake_checkpoint(folder / "base", skill=0.0), folder / "store", GRPC_PORT=free_ports(1)[0]
    )
    async with serving_student(StudentSettings.from_env(environment)) as peer:
        if SKILLED not in peer.student.store.names():
            checkpoint = fake_checkpoint(folder / "skilled", skill=1.0)
            peer.student.store.add(checkpoint, Origin(parent=UNSKILLED), Contract())
        yield peer


def follower_settings(store: Path, port: int, **further) -> StudentSettings:
    return StudentSettings.from_env(follower_environment(store, port, **further))


def follower_environment(store: Path, port: int, **further) -> dict[str, str]:
    settings = {"FOLLOW": 1, "GRPC_PORT": port, "LAME_DUCK_S": 0, **further}
    return fake_student_environment(Path("none"), store, **settings)


class _Hosted:
    """A follower with its server and its lifecycle, but without HTTP."""

    def __init__(self, settings: StudentSettings):
        self.student = FollowingStudent(settings)
        servicer = StudentServicer(self._loaded, ImageReceiver(settings.rpc.images))
        self.server = GrpcServer(
            lambda server: register(self._loaded, servicer, server), SERVICES, never_ready=OWNERS
        )
        self.lifecycle = Lifecycle("student", self.server, settings.rpc.listen)

    def _loaded(self):
        self.lifecycle.require_loaded()
        return self.student

    async def start(self):
        await self.lifecycle.start(self.student.start, self.student.death, self.student.revive)

    async def stop(self):
        await self.lifecycle.stop()
        await self.student.close()


@asynccontextmanager
async def following(settings: StudentSettings):
    """A follower in this process, as a peer, and whether it is ready."""
    listen = replace(settings.rpc.listen, grace_s=1.0)
    hosted = _Hosted(replace(settings, rpc=replace(settings.rpc, listen=listen)))
    await hosted.start()
    address = f"127.0.0.1:{listen.port}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            student: Any = hosted.student
            yield StudentPeer(address, student, channel, hosted.server), hosted.lifecycle
    finally:
        await hosted.stop()


@asynccontextmanager
async def follower_process(store: Path, port: int, *before: str):
    """A follower in a process of its own. `before`: the start of its command."""
    process = await asyncio.create_subprocess_exec(
        *before,
        sys.executable,
        "-m",
        "tests.student.following",
        env={**os.environ, **follower_environment(store, port)},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def main():
    logging.basicConfig()
    await _Hosted(StudentSettings.from_env()).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
