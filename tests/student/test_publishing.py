"""From a trained result to a version: its files on disk, kills in between, too small a disk."""

import asyncio
import json
import shutil
import signal
import struct
import subprocess
import sys

import pytest

from services.core.contract import Contract
from services.core.errors import WrongState
from services.core.presets import Hyperparameters
from services.student.disk import require_disk_space, training_disk_bytes
from services.student.job import TrainingRequest
from services.student.job_state import JobState, Phase
from services.student.manifest import Origin
from services.student.store import VersionStore
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.calls import train, wait

PUBLISHERS = """
import asyncio, os, signal, sys
from pathlib import Path
from services.student.settings import StudentSettings
from services.student.student import HostedStudent

def kill(left, root):
    def count(event, arguments):
        nonlocal left
        writes = event in ("os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir")
        if writes and root in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)

async def publish(root, number):
    variables = {"MODEL": root + "/base", "STORE": root + "/store", "ENGINE": "fake", "SERVE": "0"}
    variables["PRESET"] = "qwen2vl-2b"
    student = HostedStudent(
        StudentSettings.from_env({f"MPA_STUDENT_{name}": text for name, text in variables.items()})
    )
    if number:
        kill(number, root)
    await student.start()
    for name in student.jobs.names():
        await student.jobs.wait(name, None)
    await student.close()

asyncio.run(publish(sys.argv[1], int(sys.argv[2])))
"""


async def test_a_version_and_its_training_share_the_disk(tmp_path):
    """While the version is stored, its weights exist once; afterwards the job has none."""
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        operation = await train(peer)
        _, response = await wait(peer, operation)
        version = peer.student.store.path(response.version)
        job = tmp_path / "store" / "jobs" / operation.name.rpartition("/")[2]
        assert (version / "fake.json").stat().st_nlink == 1
        settings = peer.student.store.manifest(response.version).origin.hyperparameters
        assert settings == peer.student.preset.hyperparameters
        assert not [path for path in job.iterdir() if path.is_dir()]
        peer.student.store.verify(response.version)


def test_a_result_is_linked_and_what_a_user_gave_is_copied(tmp_path):
    store = VersionStore(tmp_path / "store")
    given = fake_checkpoint(tmp_path / "given")
    copied = store.path(store.add(given, Origin(), Contract()))
    linked = store.path(store.add(given, Origin(), Contract(), is_ours=True))
    assert not (copied / "fake.json").samefile(given / "fake.json")
    assert (linked / "fake.json").samefile(given / "fake.json")
    shutil.rmtree(given)
    store.verify("v2")


@pytest.mark.slow
async def test_killed_at_any_moment_it_makes_one_version(tmp_path):
    """The service is killed at every third change of the disk, each time from the same start."""
    start = tmp_path / "start"
    async with serving_student(fake_student_settings(start, skill=0.5)) as peer:
        operation = await train(peer)
        await wait(peer, operation)
    name = operation.name.rpartition("/")[2]
    shutil.copytree(start / "store" / "versions" / "v2", start / "store" / "jobs" / name / "output")
    shutil.rmtree(start / "store" / "versions" / "v2")
    (start / "store" / "versions" / ".last").unlink()
    JobState(Phase.SAVING).write(start / "store" / "jobs" / name)

    def publish(root, number):
        return subprocess.run([sys.executable, "-c", PUBLISHERS, str(root), str(number)]).returncode

    async def end(number):
        root = tmp_path / f"killed{number}"
        shutil.copytree(start, root)
        file = root / "store" / "jobs" / name / "job.json"
        file.write_text(file.read_text().replace(str(start), str(root)))
        code = await asyncio.to_thread(publish, root, number)
        assert code in (0, -signal.SIGKILL)
        assert code == 0 or await asyncio.to_thread(publish, root, 0) == 0
        store = VersionStore(root / "store")
        _, made = store.names()
        assert made in ("v2", "v3"), "no name is used twice"
        store.verify(made)
        assert JobState.read(root / "store" / "jobs" / name) == JobState(Phase.DONE, made)
        assert not [path for path in (root / "store" / "jobs" / name).iterdir() if path.is_dir()]
        store.close()
        return code

    number = 1
    while await end(number):
        number += 3
    assert number > 6


def _checkpoint_of(parameters, folder, size_bytes):
    """A folder whose weights have a header and a size, but take no disk: a sparse file."""
    folder.mkdir()
    header = json.dumps(
        {"w": {"dtype": "BF16", "shape": [parameters // 64, 64], "data_offsets": [0, 0]}}
    ).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        if size_bytes:
            file.truncate(size_bytes)
    return folder


def test_a_2b_model_needs_two_checkpoints_and_the_result(tmp_path):
    base = _checkpoint_of(2_208_985_600, tmp_path / "base", size_bytes=2 * 2_208_985_600)
    whole = training_disk_bytes(base, Hyperparameters(1e-5))
    assert whole == 2_208_985_600 * (2 + 2 * 12)
    adapters = training_disk_bytes(base, Hyperparameters(1e-5, lora_rank=8))
    assert 2_208_985_600 * 2 < adapters < whole


async def test_a_training_without_room_on_the_disk_is_refused_at_once(tmp_path):
    """Only the header is large: no file of that size is written, not even a sparse one."""
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        base = _checkpoint_of(10**12, tmp_path / "large", size_bytes=0)
        said = r"needs 2400000000\d+ bytes .* are free in .*MPA_STUDENT_STORE"
        with pytest.raises(WrongState, match=said) as refusal:
            require_disk_space(tmp_path, base, Hyperparameters(1e-5))
        assert refusal.value.reason == "NO_DISK_SPACE"
        request = TrainingRequest(
            dataset="d",
            base_version="v1",
            contract=Contract(),
            hyperparameters=Hyperparameters(1e-5),
        )
        with pytest.raises(WrongState, match="free space there"):
            peer.student.jobs.start(request, base)
        assert peer.student.jobs.names() == []
