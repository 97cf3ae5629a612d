"""A version trained for captions: users get the judged answers over gRPC and HTTP."""

import grpc
import httpx
import pytest

from protos.mpa.v1 import (
    student_pb2,
    student_pb2_grpc,
    types_pb2,
    versions_pb2,
    versions_pb2_grpc,
)
from services.core.tasks import ANSWER_TEMPLATE, CAPTION_REQUEST
from services.engines.images import load_image
from services.engines.rendering import renderer
from services.orchestrator.run.settings import new_settings
from services.rpc.client import StudentClient
from services.rpc.wire import contract_to_proto
from services.student import canaries
from tests.e2e.processes import serving
from tests.e2e.training import IMAGES, PICTURES, train

pytestmark = pytest.mark.slow
LABELS = [
    (picture.sha256, CAPTION_REQUEST, f"a drawing of {n} things on a wall")
    for n, picture in enumerate(PICTURES)
]


async def test_captions_are_asked_for_and_served_in_the_tasks_words_and_length(
    tmp_path, tiny_checkpoint
):
    contract = new_settings("images", "captioning", "rehearsal").contract
    settings = {
        "model": tiny_checkpoint,
        "store": tmp_path / "store",
        "engine": "transformers",
        "preset": "bundled",
    }
    with serving("student", tmp_path, **settings) as service:
        async with (
            StudentClient(service.address) as student,
            grpc.aio.insecure_channel(service.address) as channel,
        ):
            version = await train(student, LABELS, contract_to_proto(contract))
            await student.promote(version, expected_live="v1")
            published = (await student.version(version)).contract
            assert published.differences(contract) == []
            assert published.pixel_budget
            asked = student_pb2.AnswerRequest(
                image=types_pb2.Image(data=IMAGES[0]), question=CAPTION_REQUEST
            )
            answer = student_pb2_grpc.StudentServiceStub(channel).Answer
            plain = await answer(asked)
            judged = await student.answer(
                PICTURES[0], CAPTION_REQUEST, "{question}", contract.decoding, version
            )
            by_the_base = await answer(
                student_pb2.AnswerRequest(**_fields(asked), template=ANSWER_TEMPLATE)
            )
            listed = versions_pb2_grpc.VersionServiceStub(channel)
            loaded = (await listed.GetVersion(versions_pb2.GetVersionRequest(name=version))).version
        url = f"http://127.0.0.1:{service.http_port}/v1/vqa"
        async with httpx.AsyncClient() as http:
            over_http = (
                await http.post(url, files={"image": IMAGES[0]}, data={"question": CAPTION_REQUEST})
            ).json()
    assert plain.version == over_http["version"] == version
    assert plain.answer == over_http["answer"] == judged.answer
    usage = (plain.usage.prompt_tokens, plain.usage.completion_tokens)
    assert usage == (over_http["usage"]["prompt_tokens"], over_http["usage"]["completion_tokens"])
    assert (
        32 < plain.usage.completion_tokens <= 64
        or plain.finish_reason == types_pb2.FINISH_REASON_STOP
    )
    assert plain.usage.prompt_tokens < by_the_base.usage.prompt_tokens
    assert loaded.canaries == loaded.canaries_passed > 0
    _require_canaries_of(tmp_path / "store" / "versions" / version, contract)


def _fields(request):
    return {"image": request.image, "question": request.question}


def _require_canaries_of(folder, contract):
    """Rendered in the contract's words, and only in those."""
    render = renderer(folder)
    for canary in canaries.read(folder):
        image = load_image((folder / canaries.FOLDER / canary.image_sha256).read_bytes())
        assert render(canaries.prompt_for(image, canary.question, contract)) == canary.rendering
