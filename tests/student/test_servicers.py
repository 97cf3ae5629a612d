"""The student over real gRPC, fake engine."""

import asyncio

import grpc
import psutil
import pytest
from google.longrunning import operations_pb2

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2, versions_pb2
from services.engines.fake import true_answer
from services.engines.images import sha256
from services.rpc.client import StudentClient
from services.rpc.status import from_rpc_error
from tests.processes import command_of
from tests.serving import fake_student_settings, serving_student
from tests.student.calls import IMAGE, ask, train, wait
from tests.waiting import until


@pytest.fixture
async def peer(tmp_path):
    async with serving_student(fake_student_settings(tmp_path, skill=0.5)) as peer:
        yield peer


def _trainers():
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if "services.student.fake_training" in command_of(child)
    ]


async def test_every_answer_names_its_version(peer):
    answer = await peer.answers.Answer(ask())
    assert answer.version == "v1"
    assert answer.answer in (true_answer(sha256(IMAGE), "what color is object 1?"), "unknown")
    assert answer.usage.prompt_tokens > 0


async def test_an_image_is_sent_once_and_then_named(peer):
    unknown = student_pb2.AnswerRequest(
        image=types_pb2.Image(sha256=sha256(IMAGE)), question="what?"
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.answers.Answer(unknown)
    assert from_rpc_error(refused.value).reason == "IMAGE_UNKNOWN"
    by_bytes = await peer.answers.Answer(ask("what?"))
    assert (await peer.answers.Answer(unknown)).answer == by_bytes.answer


@pytest.mark.parametrize(
    "question", ["<|image_pad|>", "<|video_pad|>", "<|im_end|>", "<image>", "{question}", "a\0b"]
)
async def test_control_tokens_are_text(peer, question):
    assert (await peer.answers.Answer(ask(question))).answer in (
        true_answer(sha256(IMAGE), question),
        "unknown",
    )


async def test_a_stream_answers_each_item_and_one_failure_ends_only_itself(peer):
    async def requests():
        for number in range(300):
            question = "" if number == 7 else f"what is {number}?"
            yield student_pb2.AnswerStreamRequest(id=str(number), request=ask(question))

    responses = {response.id: response async for response in peer.answers.AnswerStream(requests())}
    assert len(responses) == 300
    assert responses["7"].WhichOneof("result") == "error"
    assert all(
        response.response.version == "v1" for id_, response in responses.items() if id_ != "7"
    )


async def test_training_makes_a_version_with_its_provenance(peer):
    operation = await train(peer)
    done, response = await wait(peer, operation)
    assert done.done
    assert response.version == "v2"
    version = (await peer.versions.GetVersion(versions_pb2.GetVersionRequest(name="v2"))).version
    assert (version.parent, version.run, version.recipe) == ("v1", "r", "paper")
    assert version.state == versions_pb2.VERSION_STATE_UNLOADED
    assert version.metrics["train_steps"] == 4
    assert len(version.weights_sha256) == 64
    listing = await peer.versions.ListVersions(versions_pb2.ListVersionsRequest())
    assert [version.name for version in listing.versions] == ["v1", "v2"]
    async with StudentClient(peer.address) as client:
        preset, (trained,) = await client.trainings()
    assert (preset, trained.version, trained.steps, trained.is_adapter) == (
        "qwen2vl-2b",
        "v2",
        4,
        False,
    )
    assert trained.seconds > 0
    assert listing.live == "v1", "training alone must not change what is live"


async def test_a_training_tells_the_loss_of_each_sample_by_epoch(peer):
    operation = await train(peer, samples=5)
    await wait(peer, operation)
    request = training_pb2.GetSampleLossesRequest(operation=operation.name)
    (part,) = [part async for part in peer.training.GetSampleLosses(request)]
    assert (part.first, len(part.losses)) == (0, 5 * part.epochs)
    assert all(loss > 0 for loss in part.losses)
    request.operation = "operations/nobody"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await anext(aiter(peer.training.GetSampleLosses(request)))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_an_answer_has_its_log_probability_if_it_is_asked_for(peer):
    plain = await peer.answers.Answer(ask())
    scored = await peer.answers.Answer(ask(scored=True))
    assert not plain.HasField("logprob")
    assert scored.logprob == 0.0 and scored.HasField("logprob")
    assert scored.answer == plain.answer


async def test_a_repeated_request_id_returns_the_first_operation(peer):
    first = await train(peer)
    again = await train(peer)
    assert again.name == first.name
    await wait(peer, first)
    assert (await train(peer)).name == first.name


async def test_a_second_training_is_aborted_while_one_runs(peer, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0.2")
    first = await train(peer, "one")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await train(peer, "two")
    assert refused.value.code() is grpc.StatusCode.ABORTED
    assert from_rpc_error(refused.value).reason == "TRAINING_UNDER_WAY"
    await peer.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=first.name))


async def test_cancel_ends_a_training_and_frees_the_place(peer, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "5")
    operation = await train(peer, "one")
    await peer.operations.CancelOperation(
        operations_pb2.CancelOperationRequest(name=operation.name)
    )
    ended = await peer.operations.GetOperation(
        operations_pb2.GetOperationRequest(name=operation.name)
    )
    assert ended.done
    assert ended.error.code == grpc.StatusCode.CANCELLED.value[0]
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    _, response = await wait(peer, await train(peer, "two"))
    assert response.version == "v2"


@pytest.mark.slow
async def test_progress_can_be_watched_and_operations_listed(peer, monkeypatch):
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0.4")
    operation = await train(peer, samples=128)
    seen = []
    while not operation.done:
        operation = await peer.operations.GetOperation(
            operations_pb2.GetOperationRequest(name=operation.name)
        )
        metadata = training_pb2.TrainMetadata()
        operation.metadata.Unpack(metadata)
        seen.append((metadata.phase, metadata.step, metadata.total_steps))
        await asyncio.sleep(0.02)
    assert any(phase == "training" and 0 < step < total == 8 for phase, step, total in seen)
    assert seen[-1] == ("done", 8, 8)
    listing = await peer.operations.ListOperations(operations_pb2.ListOperationsRequest())
    assert [listed.name for listed in listing.operations] == [operation.name]


async def test_a_corrupt_version_never_becomes_live(peer):
    await wait(peer, await train(peer))
    (peer.student.store.path("v2") / "fake.json").write_text('{"skill": 0.0}')
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.versions.PromoteVersion(versions_pb2.PromoteVersionRequest(name="v2"))
    assert from_rpc_error(refused.value).reason == "VERSION_CORRUPT"
    assert (await peer.answers.Answer(ask())).version == "v1"


async def test_the_service_goes_on_with_a_training_it_was_stopped_in(tmp_path, monkeypatch):
    settings = fake_student_settings(tmp_path, skill=0.5)
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0.3")
    async with serving_student(settings) as peer:
        operation = await train(peer, samples=160)
        name = operation.name.removeprefix("operations/")
        await until(lambda: peer.student.jobs.progress(name).step > 0)
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0")
    async with serving_student(settings) as peer:
        done, response = await wait(peer, operation)
        assert done.done
        assert response.version == "v2"


@pytest.mark.slow
async def test_a_training_process_that_is_told_to_end_goes_on_later(peer, monkeypatch):
    """`bentoml serve` passes SIGTERM to every child: the training must outlast the service."""
    monkeypatch.setenv("MPA_FAKE_STEP_S", "0.3")
    operation = await train(peer)
    await until(_trainers)
    (trainer,) = _trainers()
    trainer.terminate()
    done, response = await wait(peer, operation)
    assert not done.HasField("error")
    assert response.version == "v2"


async def test_sixteen_clients_through_ten_promotions_over_grpc(peer):
    await wait(peer, await train(peer))
    promote = versions_pb2.PromoteVersionRequest(name="v2")
    await peer.versions.PromoteVersion(promote)
    stop = asyncio.Event()
    truth = {}
    for version in ("v1", "v2"):
        for number in range(20):
            question = f"what is {number}?"
            truth[version, question] = (
                await peer.answers.Answer(ask(question, version=version))
            ).answer
    mixed = [
        question
        for number in range(20)
        if truth["v1", (question := f"what is {number}?")] != truth["v2", question]
    ]
    assert mixed, "the two versions must differ somewhere, or mixing them up could not be seen"
    answered = 0

    async def client(number):
        nonlocal answered
        while not stop.is_set():
            question = f"what is {(number := (number + 7) % 20)}?"
            answer = await peer.answers.Answer(ask(question))
            assert answer.answer == truth[answer.version, question]
            answered += 1

    async with asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(client(number))
        for _ in range(10):
            await peer.versions.RollbackVersion(versions_pb2.RollbackVersionRequest())
            enough = answered + 16
            await until(lambda enough=enough: answered >= enough)
        stop.set()
