"""Damaged files of trainings."""

import shutil

import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import training_pb2
from services.student.datasets import TrainingSample
from tests.pictures import numbered_png
from tests.serving import serving_student
from tests.student.test_damage import _train, settings

__all__ = ["settings"]


@pytest.mark.parametrize("file", ["state.json", "job.json", "progress.json"])
async def test_damaged_files_of_finished_jobs(settings, file):
    contents = ["", '{"phase": "do', '{"phase": "resting"}', "[]", '{"step": "one"}']
    async with serving_student(settings) as peer:
        done = await _train(peer, request_id="one")
    jobs = settings.store / "jobs"
    whole = jobs / done.name.removeprefix("operations/")
    for number, content in enumerate(contents):
        shutil.copytree(whole, jobs / f"damaged{number}")
        (jobs / f"damaged{number}" / file).write_text(content)
    async with serving_student(settings) as peer:
        again = await _train(peer, request_id="two")
        assert again.HasField("response"), again.error
        listing = await peer.operations.ListOperations(operations_pb2.ListOperationsRequest())
        listed = {operation.name: operation for operation in listing.operations}
        for number in range(len(contents)):
            name = f"operations/damaged{number}"
            request = operations_pb2.GetOperationRequest(name=name)
            got = await peer.operations.GetOperation(request)
            assert got == listed[name]
            assert got.done
            if file == "state.json":
                assert str(jobs / f"damaged{number}" / file) in got.error.message
            else:
                assert got.HasField("response")


async def test_a_job_that_was_under_way_when_its_file_was_damaged_is_named_and_left_alone(
    settings, monkeypatch
):
    job = settings.store / "jobs" / "abc"
    job.mkdir(parents=True)
    (job / "job.json").write_text('{"id": "abc", "req')
    async with serving_student(settings) as peer:
        wait = operations_pb2.WaitOperationRequest(name="operations/abc")
        ended = await peer.operations.WaitOperation(wait)
        assert ended.done
        assert str(job / "job.json") in ended.error.message
        await peer.operations.CancelOperation(
            operations_pb2.CancelOperationRequest(name="operations/abc")
        )
        assert (await _train(peer)).HasField("response")


async def test_damage_while_a_job_runs_does_not_stop_it(settings, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0.5")
    async with serving_student(settings) as peer:
        image = numbered_png(1)
        dataset = peer.student.datasets
        name = dataset.add([TrainingSample(dataset.add_image(image), "what?", "red")])
        operation = await peer.training.Train(training_pb2.TrainRequest(dataset=name))
        folder = settings.store / "jobs" / operation.name.removeprefix("operations/")
        (folder / "state.json").write_text("{")
        (folder / "progress.json").write_text('{"st')
        under_way = await peer.operations.GetOperation(
            operations_pb2.GetOperationRequest(name=operation.name)
        )
        assert not under_way.done
        done = await peer.operations.WaitOperation(
            operations_pb2.WaitOperationRequest(name=operation.name)
        )
        assert done.HasField("response"), done.error
