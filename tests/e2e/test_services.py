"""The service processes: started, overloaded with wrong requests, killed, and stopped."""

import asyncio
import base64
import hashlib
import json

import grpc
import httpx
import psutil
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    training_pb2,
    training_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from tests.e2e.processes import serving
from tests.pictures import bomb_png, png
from tests.processes import command_of
from tests.serving import fake_checkpoint
from tests.waiting import until

pytestmark = pytest.mark.slow
IMAGE = png()


def _request(question="what?"):
    return student_pb2.AnswerRequest(image=types_pb2.Image(data=IMAGE), question=question)


async def _upload_and_train(channel, samples=320, request_id="one"):
    stub = training_pb2_grpc.TrainingServiceStub(channel)

    async def parts():
        yield training_pb2.UploadDatasetRequest(image=IMAGE)
        for number in range(samples):
            sample = training_pb2.TrainingSample(
                image_sha256=hashlib.sha256(IMAGE).hexdigest(),
                question=f"what is {number}?",
                answer="red",
            )
            yield training_pb2.UploadDatasetRequest(sample=sample)

    dataset = (await stub.UploadDataset(parts())).dataset
    return await stub.Train(training_pb2.TrainRequest(request_id=request_id, dataset=dataset))


async def _wait(channel, operation):
    stub = operations_pb2_grpc.OperationsStub(channel)
    done = await stub.WaitOperation(
        operations_pb2.WaitOperationRequest(name=operation.name), wait_for_ready=True
    )
    response = training_pb2.TrainResponse()
    done.response.Unpack(response)
    return response.version


def test_the_http_face_of_the_production_endpoint(student):
    url = f"http://127.0.0.1:{student.http_port}"
    form = httpx.post(f"{url}/v1/vqa", files={"image": IMAGE}, data={"question": "what?"})
    body = {"image": base64.b64encode(IMAGE).decode(), "question": "what?"}
    assert form.status_code == 200
    assert form.json()["version"] == "v1"
    assert httpx.post(f"{url}/v1/vqa", json=body).json() == form.json()
    wrong = {
        "QUESTION_EMPTY": httpx.post(f"{url}/v1/vqa", json={**body, "question": ""}),
        "QUESTION_TOO_LONG": httpx.post(f"{url}/v1/vqa", json={**body, "question": "x" * 100_000}),
        "IMAGE_UNREADABLE": httpx.post(
            f"{url}/v1/vqa", files={"image": b"abc"}, data={"question": "what?"}
        ),
        "IMAGE_TOO_MANY_PIXELS": httpx.post(
            f"{url}/v1/vqa", files={"image": bomb_png()}, data={"question": "what?"}
        ),
        "INVALID_INPUT": httpx.post(f"{url}/v1/vqa", content=b"not json"),
    }
    for reason, response in wrong.items():
        assert response.status_code == 400, reason
        assert response.json()["error"]["reason"] == reason
    assert httpx.post(f"{url}/v1/vqa", json={**body, "version": "v9"}).status_code == 404
    with grpc.insecure_channel(student.address) as channel:
        assert (
            student_pb2_grpc.StudentServiceStub(channel).Answer(_request()).answer
            == form.json()["answer"]
        )
    assert "/mpa.v1.StudentService/Answer" in httpx.get(f"{url}/metrics").text


def test_a_port_in_use_ends_the_second_service_with_a_clear_line(student, tmp_path, model):
    taken = {"grpc_port": student.grpc_port, "store": tmp_path / "store"}
    with serving("student", tmp_path, model=model, wait=False, **taken) as second:
        second.process.wait(60)
        assert f"student cannot start: gRPC port {student.grpc_port}" in second.log.read_text()


def test_a_model_that_does_not_load_is_never_ready_and_says_why(tmp_path):
    with serving("teacher", tmp_path, model=tmp_path / "nowhere", wait=False) as teacher:
        teacher.wait_until_logged("teacher cannot serve")
        assert httpx.get(f"http://127.0.0.1:{teacher.http_port}/readyz").status_code == 503
        assert "nowhere" in teacher.log.read_text()


def test_killed_while_training_it_comes_back_and_finishes(tmp_path, model):
    settings = {"model": model, "store": tmp_path / "store", "env": {"MPA_FAKE_STEP_S": "0.2"}}

    def steps():
        return [int(step.read_text()) for step in (tmp_path / "store").glob("jobs/*/*/step")]

    async def begin(address):
        async with grpc.aio.insecure_channel(address) as channel:
            operation = await _upload_and_train(channel)
            await until(steps)
            return operation

    with serving("student", tmp_path, **settings) as student:
        operation = asyncio.run(begin(student.address))
        worker = psutil.Process(student.process.pid).children()[0]
        trainers = [
            child
            for child in worker.children(recursive=True)
            if "fake_training" in command_of(child)
        ]
        assert len(trainers) == 1
        student.kill_at_once()
        psutil.wait_procs(trainers, timeout=5)
        assert not trainers[0].is_running(), "an orphaned training would fight its own resumption"
    (done_before,) = steps()
    assert 0 < done_before < 20

    async def finish(address):
        async with grpc.aio.insecure_channel(address) as channel:
            version = await _wait(channel, operation)
            listing = await versions_pb2_grpc.VersionServiceStub(channel).ListVersions(
                versions_pb2.ListVersionsRequest()
            )
            return version, listing.live

    with serving(
        "student", tmp_path, **{**settings, "env": {"MPA_FAKE_STEP_S": "0.01"}}
    ) as student:
        assert asyncio.run(finish(student.address)) == ("v2", "v1")


def test_killed_during_swaps_it_comes_back_with_the_version_it_last_said(tmp_path, model):
    async def swap_until_killed(student):
        async with grpc.aio.insecure_channel(student.address) as channel:
            versions = versions_pb2_grpc.VersionServiceStub(channel)
            await _wait(channel, await _upload_and_train(channel, samples=16))
            said = ["v1"]

            async def swap():
                for round_ in range(1000):
                    name = "v2" if round_ % 2 == 0 else "v1"
                    said.append(
                        (
                            await versions.PromoteVersion(
                                versions_pb2.PromoteVersionRequest(name=name)
                            )
                        ).live
                    )

            swapping = asyncio.create_task(swap())
            await until(lambda: len(said) > 5)
            await asyncio.to_thread(student.kill_at_once)
            with pytest.raises(grpc.aio.AioRpcError):
                await swapping
            return said[-1]

    with serving("student", tmp_path, model=model, store=tmp_path / "store") as student:
        last_said = asyncio.run(swap_until_killed(student))
    pointed = json.loads((tmp_path / "store" / "pointers.json").read_text())["live"]
    other = "v1" if last_said == "v2" else "v2"

    async def ask(address):
        async with grpc.aio.insecure_channel(address) as channel:
            return (await student_pb2_grpc.StudentServiceStub(channel).Answer(_request())).version

    with serving("student", tmp_path, model=model, store=tmp_path / "store") as student:
        live = asyncio.run(ask(student.address))
    assert live == pointed
    assert live in (last_said, other), "either the last that was confirmed, or the one on its way"


def test_sigterm_loses_no_request(tmp_path, model):
    """Clients that watch health get every request answered until the service says it leaves."""

    async def run(student):
        async with grpc.aio.insecure_channel(student.address) as channel:
            stub = student_pb2_grpc.StudentServiceStub(channel)
            leaving = asyncio.Event()
            answered = failed = 0

            async def client():
                nonlocal answered, failed
                while not leaving.is_set():
                    try:
                        await stub.Answer(_request())
                        answered += 1
                    except grpc.aio.AioRpcError:
                        failed += 1

            async def watch():
                health = health_pb2_grpc.HealthStub(channel)
                async for update in health.Watch(health_pb2.HealthCheckRequest()):
                    if update.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                        leaving.set()
                        return

            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(client())
                group.create_task(watch())
                await until(lambda: answered > 50)
                student.process.terminate()
            return failed

    with serving("student", tmp_path, model=model, store=tmp_path / "store") as student:
        failed = asyncio.run(run(student))
        assert student.process.wait(30) == 0
    assert failed == 0


async def test_an_engine_that_dies_takes_the_service_out_of_rotation_until_a_new_one_is_up(
    tmp_path,
):
    deadly = fake_checkpoint(tmp_path / "deadly", skill=0.5, deadly="fatal", hanging="endless")
    with serving("student", tmp_path, model=deadly, store=tmp_path / "store") as student:
        async with grpc.aio.insecure_channel(student.address) as channel:
            stub, states = student_pb2_grpc.StudentServiceStub(channel), []

            async def watch():
                async for update in health_pb2_grpc.HealthStub(channel).Watch(
                    health_pb2.HealthCheckRequest()
                ):
                    states.append(update.status)

            watching = asyncio.create_task(watch())
            await until(lambda: states)
            in_flight = stub.Answer(_request("is this endless?"))
            killing = stub.Answer(_request("is this fatal?"))
            for call in (killing, in_flight):
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await call
                assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
                assert "died" in failed.value.details()
            await until(lambda: len(states) >= 3)
            await stub.Answer(_request())
            watching.cancel()
            state = health_pb2.HealthCheckResponse
            assert states == [state.SERVING, state.NOT_SERVING, state.SERVING]


def test_a_worker_ends_with_a_supervisor_that_is_killed(tmp_path):
    """Otherwise it would hold the ports and the store, and nobody could start the service again."""
    settings = {"model": fake_checkpoint(tmp_path / "model"), "store": tmp_path / "store"}
    with serving("student", tmp_path, **settings) as first:
        supervisor = psutil.Process(first.process.pid)
        workers = supervisor.children()
        supervisor.kill()
        _, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive
    with serving("student", tmp_path, grpc_port=first.grpc_port, **settings):
        pass  # it is ready
