"""A store on a read-only mount is served; training and deletion are refused."""

import asyncio
import functools
import json
import shutil
import subprocess
import sys

import pytest

from services.core.contract import Contract
from services.student.manifest import Origin
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.read_only import read_only

PROGRAM = """
import asyncio, sys
from pathlib import Path
from protos.mpa.v1 import student_pb2, types_pb2, versions_pb2
from services.core.errors import MpaError
from services.rpc.client import StudentClient, Picture
from services.student.settings import StudentSettings
from tests.pictures import numbered_png
from tests.serving import serving_student
from tests.student.uploading import image_part, sample_part

async def main():
    settings = StudentSettings.from_env({
        "MPA_STUDENT_STORE": sys.argv[1], "MPA_STUDENT_ENGINE": "fake",
        "MPA_STUDENT_MODEL": sys.argv[1], "MPA_STUDENT_PRESET": "bundled"})
    async def parts():
        yield image_part(1)
        yield sample_part(1)
    async with serving_student(settings) as peer, StudentClient(peer.address) as client:
        reply = await client.answer(Picture.of(numbered_png(1)), "what is it?")
        print("answered by", reply.version)
        (v1, _) = (await client.stored()).versions
        print(v1.canaries_passed, "of", v1.canaries)
        for work in (client.delete("v2"), client.upload(parts)):
            try:
                await work
            except MpaError as error:
                print("refused:", error)

asyncio.run(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("canaries_by", ["", "fake"])
async def test_a_store_on_a_read_only_mount_answers_and_changes_nothing(tmp_path, canaries_by):
    settings = fake_student_settings(tmp_path)
    async with serving_student(settings) as peer:
        peer.student.store.add(fake_checkpoint(tmp_path / "b"), Origin(), Contract())
    root = settings.store
    if canaries_by:  # of a version that no service with access has loaded
        v1 = root / "versions" / "v1"
        shutil.rmtree(v1 / "canaries")
        manifest = json.loads((v1 / "manifest.json").read_text())
        manifest["origin"]["canaries_by"] = canaries_by
        (v1 / "manifest.json").write_text(json.dumps(manifest))
    command = [*read_only(root), sys.executable, "-c", PROGRAM, str(root)]
    run = functools.partial(subprocess.run, capture_output=True, text=True, check=False)
    done = await asyncio.to_thread(run, command)
    assert "answered by v1" in done.stdout, done.stderr
    assert "32 of 32" in done.stdout
    assert ("this service computes its own" in done.stderr) is bool(canaries_by)
    refusals = [line for line in done.stdout.splitlines() if line.startswith("refused:")]
    assert len(refusals) == 2
    for line in refusals:
        assert "ead-only file system" in line or "ermission denied" in line
    assert (root / "versions" / "v2" / "manifest.json").is_file()
