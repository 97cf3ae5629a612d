"""A store's owner, killed while the pointers move, starts again with the version on the disk."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from protos.mpa.v1 import versions_pb2
from services.core.contract import Contract
from services.engines.images import load_image
from services.student.manifest import Origin
from services.student.pointers import PointerFile
from services.student.settings import StudentSettings
from tests.pictures import numbered_png
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.waiting import until

PROGRAM = "import sys, asyncio; from tests.student.test_killed_owner import swap_for_ever; \
asyncio.run(swap_for_ever(sys.argv[1]))"


def settings_of(folder: Path) -> StudentSettings:
    return fake_student_settings(folder)


async def swap_for_ever(folder: str):
    """A service that promotes v2 and v1 in turn."""
    async with serving_student(settings_of(Path(folder))) as peer:
        while True:
            for name in ("v2", "v1"):
                await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=name))


@pytest.mark.slow
async def test_the_pointer_on_disk_decides_after_a_kill(tmp_path):
    async with serving_student(settings_of(tmp_path)) as peer:
        store = peer.student.store
        assert store.add(fake_checkpoint(tmp_path / "b", skill=0.9), Origin(), Contract()) == "v2"
    pointers = PointerFile(tmp_path / "store")
    owner = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, str(tmp_path))
    await until(lambda: pointers.read().live == "v2")
    await until(lambda: pointers.read().live == "v1")
    os.kill(owner.pid, signal.SIGKILL)  # as the pointer has moved, memory may not have
    await owner.wait()
    left = pointers.read()
    assert {left.live, left.previous} == {"v1", "v2"}
    async with serving_student(settings_of(tmp_path)) as peer:
        assert peer.student.versions.pointers == left
        answered = await peer.student.answer(load_image(numbered_png(1)), "what is it?")
        assert answered.version == left.live
        assert peer.student.store.names() == ["v1", "v2"]
