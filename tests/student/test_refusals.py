"""Bad requests to the student: each is refused with a reason and the wrong field."""

import json

import grpc
import pytest
import pytest_asyncio
from google.longrunning import operations_pb2

from protos.mpa.v1 import student_pb2, training_pb2, types_pb2
from services.core.errors import InvalidInput
from services.rpc.status import from_rpc_error
from tests.pictures import bomb_png
from tests.serving import fake_student_settings, serving_student
from tests.student.calls import ask, upload

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peer(tmp_path_factory):
    """One student for all tests: refused requests change nothing."""
    settings = fake_student_settings(tmp_path_factory.mktemp("student"), skill=0.5)
    async with serving_student(settings) as peer:
        yield peer


@pytest.mark.parametrize(
    ("request_", "code", "reason"),
    [
        (ask(""), "INVALID_ARGUMENT", "QUESTION_EMPTY"),
        (ask("   \n"), "INVALID_ARGUMENT", "QUESTION_EMPTY"),
        (ask("x" * 100_000), "INVALID_ARGUMENT", "QUESTION_TOO_LONG"),
        (ask(template="{question}" * 2000), "INVALID_ARGUMENT", "TEXT_TOO_LONG"),
        (ask(template="{question} {question}"), "INVALID_ARGUMENT", "TEMPLATE_INVALID"),
        (ask(template="Say red."), "INVALID_ARGUMENT", "TEMPLATE_INVALID"),
        (ask(image=b"GIF89a nonsense"), "INVALID_ARGUMENT", "IMAGE_UNREADABLE"),
        (ask(image=bomb_png()), "INVALID_ARGUMENT", "IMAGE_TOO_MANY_PIXELS"),
        (student_pb2.AnswerRequest(question="what?"), "INVALID_ARGUMENT", "IMAGE_MISSING"),
        (
            student_pb2.AnswerRequest(question="what?", image=types_pb2.Image(uri="/etc/passwd")),
            "INVALID_ARGUMENT",
            "INVALID_INPUT",
        ),
        (ask(version="v9"), "NOT_FOUND", "VERSION_NOT_FOUND"),
        (ask(decoding=types_pb2.Decoding(temperature=-1)), "INVALID_ARGUMENT", "INVALID_INPUT"),
    ],
)
async def test_bad_requests_get_a_clear_answer(peer, request_, code, reason):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.answers.Answer(request_)
    assert refused.value.code().name == code
    assert from_rpc_error(refused.value).reason == reason


@pytest.mark.parametrize("template", ["{question}" * 100, "Say red."])
async def test_a_training_template_is_no_other(peer, template):
    dataset = await upload(peer)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.training.Train(
            training_pb2.TrainRequest(request_id="one", dataset=dataset, training_template=template)
        )
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert from_rpc_error(refused.value).reason == "TEMPLATE_INVALID"
    assert not (
        await peer.operations.ListOperations(operations_pb2.ListOperationsRequest())
    ).operations


@pytest.mark.parametrize(
    ("hyperparameters", "field"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"batch_size": 0}, "batch_size"),
        ({"weight_decay": float("nan")}, "weight_decay"),
        ({"weight_decay": float("-inf")}, "weight_decay"),
        ({"loss": "other"}, "loss"),
        ({"lora_rank": 2**31 - 1}, "lora_rank"),
        ({"lora_rank": 1, "lora_alpha": float("inf")}, "lora_alpha"),
        ({"lora_rank": 1, "lora_alpha": float("nan")}, "lora_alpha"),
        ({"trainable": "tower"}, "trainable"),
        ({"tower_rate": 1.1}, "tower_rate"),
        ({"lora_rank": 1, "trainable": "attention"}, "lora_rank"),
        ({"lora_rank": 1, "tower_rate": 0.1}, "lora_rank"),
        ({"trainable": "gate-up", "tower_rate": 0.0}, "tower_rate"),
    ],
)
async def test_hyperparameters_that_cannot_be_meant(peer, hyperparameters, field):
    dataset = await upload(peer)
    request = training_pb2.TrainRequest(
        dataset=dataset, hyperparameters=training_pb2.Hyperparameters(**hyperparameters)
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.training.Train(request)
    error = from_rpc_error(refused.value)
    assert isinstance(error, InvalidInput)
    assert error.field == f"hyperparameters.{field}"


async def test_a_dataset_that_was_not_sent(peer):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.training.Train(training_pb2.TrainRequest(dataset="f" * 64))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_sample_without_its_image_is_refused(peer):
    async def parts():
        yield training_pb2.UploadDatasetRequest(
            sample=training_pb2.TrainingSample(image_sha256="a" * 64, question="q?", answer="a")
        )

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await peer.training.UploadDataset(parts())
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_published_form_that_no_training_reads_is_known_at_the_start(tmp_path, caplog):
    settings = fake_student_settings(tmp_path, skill=0.5)
    config = {"architectures": ["InternVLChatModel"]}
    (tmp_path / "base" / "config.json").write_text(json.dumps(config))
    said = f"run `mpa-orch models convert {settings.model} FOLDER`, then set MPA_STUDENT_MODEL"
    async with serving_student(settings) as peer:
        assert said in caplog.text
        await peer.answers.Answer(ask())
        request = training_pb2.TrainRequest(request_id="one", dataset=await upload(peer))
        for call in (
            peer.training.Train(request),
            peer.training.PlanTraining(training_pb2.PlanTrainingRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await call
            assert said in refused.value.details()
            assert from_rpc_error(refused.value).reason == "CONVERSION_NEEDED"
