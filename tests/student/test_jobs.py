"""Trainings under way: waits for them, and reads of their files."""

import asyncio
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace

import grpc
import psutil
import pytest
from google.longrunning import operations_pb2

from services.core.errors import MpaError
from services.engines.fake import FakeModel
from services.student.datasets import DatasetStore
from services.student.execution import Execution
from services.student.job import Job
from services.student.job_state import JobState, Phase
from services.student.jobs import TrainingJobs
from tests.serving import fake_checkpoint, fake_student_settings, serving_student
from tests.student.calls import train
from tests.student.trainings import new_job, new_samples
from tests.waiting import until

LEAVES_WITHIN_S = 60.0
"""Limit for a service that hangs; the grace period in the test is longer."""


@pytest.fixture
async def peer(tmp_path, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "3600")
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        yield peer


async def test_a_service_that_leaves_answers_who_waits_for_a_training(peer):
    operation = await train(peer)
    request = operations_pb2.WaitOperationRequest(name=operation.name)
    waits = [peer.operations.WaitOperation(request) for _ in range(3)]
    await peer.operations.GetOperation(operations_pb2.GetOperationRequest(name=operation.name))
    await asyncio.wait_for(peer.server.stop(3_600), LEAVES_WITHIN_S)
    for wait in waits:
        stands = await wait
        assert (stands.name, stands.done) == (operation.name, False)


def _programs():
    """Training programs of this process that run."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # a zombie is none, either
            if "services.student.fake_training" in child.cmdline():
                found.append(child)
    return found


async def _kill_training():
    """Kills the training program, as the kernel does if memory runs out."""
    await until(lambda: len(_programs()) == 1)
    program = _programs()[0]
    program.kill()
    await until(lambda: program not in _programs())


async def test_a_killed_training_goes_on(peer, monkeypatch):
    name = (await train(peer)).name.rpartition("/")[2]
    await until(lambda: len(_programs()) == 1)
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    await _kill_training()
    await peer.student.jobs.wait(name, None)
    assert peer.student.jobs.state(name).phase is Phase.DONE


async def test_a_training_that_is_killed_twice_took_too_much_memory(peer):
    name = (await train(peer)).name.rpartition("/")[2]
    await _kill_training()
    await _kill_training()
    await peer.student.jobs.wait(name, None)
    state = peer.student.jobs.state(name)
    assert state.phase is Phase.FAILED
    assert "ended with code -9: it was killed, as the kernel does if this machine" in state.error


async def cancelled_without_disk(peer, store):
    """Name and folder of a training whose cancellation can't be written until now."""
    name = (await train(peer)).name.rpartition("/")[2]
    folder = store / "jobs" / name
    (folder / "state.json" / "in the way").mkdir(parents=True)
    with pytest.raises(MpaError, match="then repeat"):
        await peer.student.jobs.cancel(name)
    shutil.rmtree(folder / "state.json")
    return name, folder


async def test_a_cancellation_that_the_disk_cannot_keep_is_no_success(peer, tmp_path):
    """The next start would resume the training."""
    name, folder = await cancelled_without_disk(peer, tmp_path / "store")
    await peer.student.jobs.cancel(name)
    assert JobState.read(folder).phase is Phase.CANCELLED


@pytest.mark.slow
async def test_an_end_that_the_disk_cannot_keep_is_kept_when_it_can(peer, tmp_path):
    _, folder = await cancelled_without_disk(peer, tmp_path / "store")
    await until((folder / "state.json").exists)
    assert JobState.read(folder).phase is Phase.CANCELLED


async def test_a_training_without_room_for_its_job_leaves_nothing(tmp_path):
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        jobs = tmp_path / "store" / "jobs"
        jobs.rmdir()
        jobs.touch()  # nothing can be written there
        with pytest.raises(grpc.aio.AioRpcError, match="can't be written"):
            await train(peer)
        jobs.unlink()
        (jobs / "left behind").mkdir(parents=True)
        peer.student.jobs.resume()
        assert not list(jobs.iterdir())


async def test_data_sets_in_use_are_asked_for_while_a_training_ends(peer, tmp_path):
    """The reading thread is held by a pipe in place of the job's file."""
    name = (await train(peer)).name.rpartition("/")[2]
    jobs = peer.student.jobs
    dataset = jobs.job(name).dataset
    path = tmp_path / "store" / "jobs" / name / "job.json"
    written = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    asking = asyncio.create_task(asyncio.to_thread(jobs.datasets_in_use))
    with await asyncio.to_thread(path.open, "wb") as pipe:  # returns as soon as the thread reads
        await jobs.cancel(name)
        pipe.write(written)
    assert await asking == {dataset}


async def test_a_training_whose_result_is_being_stored_ends_with_its_version(tmp_path):
    """A thread stores it. The result's files stay until that thread has ended."""
    datasets = DatasetStore(tmp_path)
    folder = new_job(tmp_path, datasets, tmp_path, new_samples(datasets, 4))
    (folder / "output").mkdir()
    has_begun, may_end = threading.Event(), threading.Event()

    def publish(job, output, progress):
        has_begun.set()
        may_end.wait()
        assert output.is_dir()
        return "v2"

    jobs = TrainingJobs(tmp_path, publish, engine="fake", devices="", execution=Execution())
    try:
        jobs.resume()
        await asyncio.to_thread(has_begun.wait)
        cancelling = asyncio.create_task(jobs.cancel("job"))
        await asyncio.sleep(0)
    finally:
        may_end.set()
    await cancelling
    assert jobs.state("job") == JobState(Phase.DONE, version="v2")
    assert not (folder / "output").exists()


async def test_an_error_without_a_text_is_named(tmp_path):
    datasets = DatasetStore(tmp_path)
    folder = new_job(tmp_path, datasets, tmp_path, new_samples(datasets, 4))
    (folder / "output").mkdir()

    def publish(job, output, progress):
        raise TimeoutError

    jobs = TrainingJobs(tmp_path, publish, engine="fake", devices="", execution=Execution())
    jobs.resume()
    await jobs.wait("job", None)
    assert jobs.state("job") == JobState(Phase.FAILED, error="TimeoutError")


async def test_an_error_of_several_lines_is_not_cut_to_its_last(tmp_path):
    """CUDA names an error in the first line, and ends with a hint for those who build torch."""
    datasets = DatasetStore(tmp_path)
    folder = new_job(tmp_path, datasets, tmp_path, new_samples(datasets, 4))
    lines = ["CUDA error: device-side assert triggered", "It may be late.", "Compile with DSA."]
    (folder / "error.txt").write_text("\n".join(lines))
    jobs = TrainingJobs(
        tmp_path, lambda *made: "v2", engine="fake", devices="", execution=Execution()
    )
    jobs.resume()  # there is no model to train
    await jobs.wait("job", None)
    state = jobs.state("job")
    assert state.phase is Phase.FAILED
    assert state.error.endswith(f"{lines[0]} ... {lines[2]}")


async def test_a_repeated_request_continues_from_trained_weights(tmp_path):
    """The training has failed after its weights were there: it ran out of memory for canaries."""
    datasets = DatasetStore(tmp_path)
    base = fake_checkpoint(tmp_path / "base")
    folder = new_job(tmp_path, datasets, base, new_samples(datasets, 4))
    job = replace(Job.read(folder), request_id="once")
    job.write(folder)
    JobState(Phase.FAILED, error="too little memory for their canaries").write(folder)
    fake_checkpoint(folder / "trained", skill=0.77)
    made = []

    def publish(job, output, progress):
        made.append(FakeModel.read(output).skill)
        return "v2"

    jobs = TrainingJobs(tmp_path, publish, engine="fake", devices="", execution=Execution())
    jobs.resume()
    assert jobs.state("job").phase is Phase.FAILED, "only a caller starts it again"
    assert jobs.start(job, base) == "job"
    await jobs.wait("job", None)
    assert jobs.state("job") == JobState(Phase.DONE, version="v2")
    assert made == [0.77]
    assert jobs.start(job, base) == "job"
    assert jobs.state("job").phase is Phase.DONE
    await jobs.close()
