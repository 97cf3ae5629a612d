"""Series of trials in one training process, and versions that are trials."""

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any

import grpc
import psutil
import pytest

from protos.mpa.v1 import versions_pb2
from services.student.datasets import DatasetStore
from services.student.job import Job
from services.student.job_state import Phase
from services.student.pointers import Pointers
from services.student.series import TrainingProcess
from tests.processes import command_of
from tests.serving import fake_student_settings, serving_student
from tests.student.calls import ask, train, wait
from tests.student.trainings import new_job, new_samples
from tests.waiting import until

FAKE = "services.student.fake_training"


@pytest.fixture
async def peer(tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        yield peer


def _programs():
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if FAKE in command_of(child):
                found.append(child)
    return found


async def _trial(peer, request_id):
    _, response = await wait(peer, await train(peer, request_id, is_trial=True))
    return response.version


async def test_trials_share_a_process_and_a_training_of_a_user_ends_it(peer):
    await _trial(peer, "one")
    (first,) = _programs()
    await _trial(peer, "two")
    assert _programs() == [first]
    await wait(peer, await train(peer, "three"))
    assert not first.is_running()
    assert not _programs()


async def test_each_trial_has_its_own_log(peer, tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_GAIN", "nothing")
    for number in range(2):
        name = (await train(peer, f"{number}", is_trial=True)).name.rpartition("/")[2]
        await peer.student.jobs.wait(name, None)
        state = peer.student.jobs.state(name)
        assert state.phase is Phase.FAILED
        assert "could not convert string to float: 'nothing'" in state.error
        assert "ValueError" in (tmp_path / "store" / "jobs" / name / "log.txt").read_text()
        assert not _programs(), "a failure ends the process"


async def test_a_killed_series_goes_on_with_the_job_it_had(peer, monkeypatch):
    await _trial(peer, "one")
    (first,) = _programs()
    first.kill()  # while it waits
    assert await _trial(peer, "two") == "v3"
    (second,) = _programs()
    monkeypatch.setenv("MPA_FAKE_STEP_S", "3600")
    second.kill()
    operation = await train(peer, "three", is_trial=True)
    await until(lambda: _programs() and _programs() != [second])
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    _programs()[0].kill()  # in the job
    _, response = await wait(peer, operation)
    assert response.version == "v4"


async def test_a_process_without_a_next_job_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    process = TrainingProcess(FAKE, "", idle_s=0.0)
    folder = _fake_job(tmp_path)
    assert await process.do(folder, stays=True) == 0
    await until(lambda: not _programs())
    assert await process.do(_fake_job(tmp_path, "next"), stays=True) == 0
    await process.end()


async def test_a_cancelled_job_ends_the_process(tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "3600")
    process = TrainingProcess(FAKE, "")
    job = asyncio.create_task(process.do(_fake_job(tmp_path), stays=True))
    await until(_programs)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    assert not _programs()


def _fake_job(root, name="job"):
    from tests.serving import fake_checkpoint

    datasets = DatasetStore(root)
    base = fake_checkpoint(root / "base", skill=0.5)
    folder = new_job(root, datasets, base, new_samples(datasets, 8), name)
    replace(Job.read(folder), is_trial=True).write(folder)
    return folder


async def test_a_trial_is_loaded_and_asked_but_never_live(peer):
    name = await _trial(peer, "one")
    loaded = await peer.versions.LoadVersion(versions_pb2.LoadVersionRequest(name=name))
    assert (loaded.version.is_trial, loaded.version.canaries) == (True, 0)
    assert (await peer.answers.Answer(ask(version=name))).version == name
    with pytest.raises(grpc.aio.AioRpcError, match="is a trial of an experiment") as refused:
        await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name=name))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert peer.student.versions.pointers == Pointers(live="v1", candidate=name)


async def test_a_store_that_lost_its_pointers_serves_no_trial(peer):
    await _trial(peer, "one")
    assert peer.student.store.names() == ["v1", "v2"]
    assert peer.student.store.servable() == ["v1"]


@pytest.mark.slow
def test_a_job_in_a_series_has_the_weights_that_it_has_alone(tiny_checkpoint, tmp_path):
    datasets = DatasetStore(tmp_path)
    samples = new_samples(datasets, 24)
    tasks: dict[str, tuple[list[Any], dict[str, Any]]] = {
        "before": (samples, {"seed": 1, "learning_rate": 1e-2}),
        "in series": (samples[4:], {"seed": 2}),
        "alone": (samples[4:], {"seed": 2}),
    }
    folders = {}
    for name, (chosen, settings) in tasks.items():
        folder = new_job(tmp_path, datasets, tiny_checkpoint, chosen, name, **settings)
        replace(Job.read(folder), is_trial=True).write(folder)
        folders[name] = folder

    async def in_series():
        process = TrainingProcess("services.student.training", "")
        for name in ("before", "in series"):
            assert await process.do(folders[name], stays=True) == 0
        await process.end()

    asyncio.run(in_series())
    command = [sys.executable, "-m", "services.student.training", str(folders["alone"])]
    subprocess.run(
        command, check=True, env=dict(os.environ), capture_output=True, stdin=subprocess.DEVNULL
    )
    one, other = (
        (folders[name] / "output" / "model.safetensors").read_bytes()
        for name in ("in series", "alone")
    )
    assert one == other
    assert not (folders["alone"] / "output" / "canaries").exists()


async def test_a_job_that_is_cancelled_as_it_starts_leaves_no_process(tmp_path, monkeypatch):
    """At each of the first turns of the loop."""
    monkeypatch.setenv("MPA_FAKE_STEP_S", "3600")
    others = set(psutil.Process().children())  # of tests before
    for turns in range(8):
        process = TrainingProcess(FAKE, "")
        job = asyncio.create_task(process.do(_fake_job(tmp_path, f"job{turns}"), stays=True))
        for _ in range(turns):
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        children = set(psutil.Process().children()) - others
        assert not [child for child in children if child.status() != psutil.STATUS_ZOMBIE], turns
