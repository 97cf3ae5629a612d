"""The services of one store, its callers, and everything that a fault can strike."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.faults.asking import Asker
from benchmarks.faults.cable import Cable
from benchmarks.faults.clock import JumpingClock
from benchmarks.faults.disk import Disk
from benchmarks.faults.operations import TRAINED_ON, Caller
from benchmarks.faults.promised import Promised
from benchmarks.faults.service import Replica
from services.engines.fake import FakeModel
from services.rpc.access.credentials import Credentials
from services.rpc.access.keys import add_key, new_key
from services.rpc.access.roles import AccessRole
from services.rpc.client.student import StudentClient
from services.student.manifest import Manifest
from services.student.plan import SwapWay

PATIENCE_S = 60.0
FIRST_VERSIONS = 2
"""Versions that are trained before the first fault."""
_TRAINING = {"MPA_FAKE_GAIN": "0.11", "MPA_FAKE_STEP_S": "0.05"}


@dataclass(slots=True)
class Deployment:
    """An owner and a follower of a store on a disk of its own, with one clock."""

    folder: Path
    clock: JumpingClock
    disk: Disk
    owner: Replica
    follower: Replica
    cable: Cable
    """Between the caller and the owner."""
    caller: Caller
    observer: StudentClient
    """A client of the owner whose cable is never cut."""
    followed: StudentClient
    """A client of the follower."""
    askers: dict[Replica, Asker]

    @property
    def promised(self) -> Promised:
        return self.caller.promised

    @property
    def keys(self) -> Path:
        return self.folder / "keys.json"

    async def add_key(self) -> None:
        self.promised.keys.append(await asyncio.to_thread(_add_key, self.keys))


def _add_key(path: Path) -> str:
    key, token = new_key("caller", list(AccessRole))
    add_key(path, key)
    return token


@asynccontextmanager
async def deployed(folder: Path, way: SwapWay) -> AsyncIterator[Deployment]:
    """Starts both services, and has the first versions trained."""
    folder.mkdir(parents=True)
    keys = folder / "keys.json"
    token = await asyncio.to_thread(_add_key, keys)
    clock = JumpingClock(folder)
    FakeModel(skill=0.0).write(folder / "base")
    disk = Disk(folder / "store")
    common: dict[str, str | int | Path] = {
        "store": disk.path,
        "engine": "fake",
        "keys": keys,
        "lame_duck_s": 0,
        "grace_s": 2,
    }
    common |= {"preset": "qwen2vl-2b", "swap": way, "model": folder / "base"}
    os.environ.update({**clock.environment, **_TRAINING})
    owner = Replica(folder / "owner", **common)
    follower = Replica(folder / "follower", follow=1, **common)
    cable = Cable()
    owner.cables.append(cable)
    async with AsyncExitStack() as stack:
        stack.callback(disk.unmount)
        for replica in (owner, follower):
            stack.push_async_callback(replica.close)
            await replica.start()
        credentials = Credentials(token)

        async def client(address: str) -> StudentClient:
            return await stack.enter_async_context(
                StudentClient(address, patience_s=PATIENCE_S, credentials=credentials)
            )

        promised = Promised(keys=[token])
        manifest = Manifest.read(disk.path / "versions" / "v1")
        promised.versions["v1"] = manifest.weights_sha256
        promised.may_be_live = {"v1"}
        promised.point("v1")
        caller = Caller(await client(cable.address), disk.path, promised, random.Random(0))
        caller.is_over.set()
        await caller.upload(1, TRAINED_ON)
        for _ in range(FIRST_VERSIONS):
            await caller.train()
        askers = {
            replica: Asker(
                await client(replica.address),
                disk.path,
                promised,
                is_follower=replica is follower,
            )
            for replica in (owner, follower)
        }
        asking = [asyncio.create_task(asker.go_on()) for asker in askers.values()]
        try:
            yield Deployment(
                folder=folder,
                clock=clock,
                disk=disk,
                owner=owner,
                follower=follower,
                cable=cable,
                caller=caller,
                observer=await client(owner.address),
                followed=await client(follower.address),
                askers=askers,
            )
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
