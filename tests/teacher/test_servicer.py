"""The teacher over real gRPC, fake engine."""

from contextlib import ExitStack
from typing import Any

import grpc
import pytest

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.engines.fake import true_answer
from services.engines.images import sha256
from services.rpc.load_shedding import FEW, LoadSettings, LoadShedder
from services.rpc.pace import LONGEST_FIRST_S
from services.rpc.status import from_rpc_error, from_status
from tests.pictures import png
from tests.serving import serving_teacher

IMAGE = png()


async def test_annotates_and_answers_blind(tmp_path):
    async with serving_teacher(tmp_path / "t", skill=1.0) as teacher:
        annotation = await teacher.Annotate(
            teacher_pb2.AnnotateRequest(image=types_pb2.Image(data=IMAGE), task="vqa")
        )
        assert annotation.question.endswith("?")
        assert annotation.rejection == ""
        assert annotation.answer == true_answer(sha256(IMAGE), annotation.question)
        assert len(annotation.model_fingerprint) == 64
        request = teacher_pb2.TeacherServiceAnswerRequest(
            image=types_pb2.Image(sha256=sha256(IMAGE)), question=annotation.question
        )
        assert (await teacher.Answer(request)).answer == annotation.answer


async def test_which_model_it_is_is_known_before_it_is_asked_anything(tmp_path):
    async with serving_teacher(tmp_path / "t", skill=1.0) as teacher:
        model = await teacher.GetModel(teacher_pb2.GetModelRequest())
        annotation = await teacher.Annotate(
            teacher_pb2.AnnotateRequest(image=types_pb2.Image(data=IMAGE), task="vqa")
        )
    assert model.model_fingerprint == annotation.model_fingerprint
    assert (len(model.serving_sha256), model.engine, model.preset) == (
        64,
        "fake",
        "bundled-teacher",
    )
    assert not model.HasField("tariff")


async def test_what_cannot_be_parsed_comes_back_with_its_reason(tmp_path):
    async with serving_teacher(tmp_path / "t", unparsed=1.0) as teacher:
        annotation = await teacher.Annotate(
            teacher_pb2.AnnotateRequest(image=types_pb2.Image(data=IMAGE), task="vqa")
        )
    assert (annotation.rejection, annotation.question, annotation.text) == (
        "no_question",
        "",
        "I see an image.",
    )


async def test_a_seed_repeats_an_annotation_and_another_varies_it(tmp_path):
    async with serving_teacher(tmp_path / "t", skill=1.0) as teacher:

        async def annotate(seed):
            decoding = types_pb2.Decoding(temperature=1, seed=seed)
            request = teacher_pb2.AnnotateRequest(
                image=types_pb2.Image(data=IMAGE), task="vqa", decoding=decoding
            )
            return (await teacher.Annotate(request)).question

        assert await annotate(3) == await annotate(3)
        assert len({await annotate(seed) for seed in range(10)}) > 3


async def test_streams_annotations(tmp_path):
    async def requests():
        for number in range(100):
            request = teacher_pb2.AnnotateRequest(
                image=types_pb2.Image(data=IMAGE),
                task="vqa" if number else "nonsense",
                decoding=types_pb2.Decoding(seed=number),
            )
            yield teacher_pb2.AnnotateStreamRequest(id=str(number), request=request)

    async with serving_teacher(tmp_path / "t", skill=1.0) as teacher:
        responses = {response.id: response async for response in teacher.AnnotateStream(requests())}
    assert len(responses) == 100
    assert "nonsense" in responses.pop("0").error.message
    assert all(response.response.question for response in responses.values())


@pytest.mark.parametrize("method", ["AnnotateStream", "AnswerStream"])
async def test_a_streams_deadline_is_each_items(tmp_path, method):
    """An item is refused if requests take 1,000 s and its caller waits 300 s."""
    now = 0.0
    shedder = LoadShedder(LoadSettings(longest_wait_s=36_000.0), lambda: now)
    image = types_pb2.Image(data=IMAGE)
    if method == "AnnotateStream":
        request = teacher_pb2.AnnotateRequest(image=image, task="vqa")
        item: Any = teacher_pb2.AnnotateStreamRequest(id="1", request=request)
    else:
        asked = teacher_pb2.TeacherServiceAnswerRequest(image=image, question="what?")
        item = teacher_pb2.TeacherServiceAnswerStreamRequest(id="1", request=asked)
    with ExitStack() as under_way:
        first = shedder.admit()
        first.__enter__()
        for _ in range(FEW):
            under_way.enter_context(shedder.admit())
        now = 1_000.0
        first.__exit__(None, None, None)
        now += LONGEST_FIRST_S
        under_way.enter_context(shedder.admit())
        async with serving_teacher(tmp_path / "t", shedder=shedder, skill=1.0) as teacher:
            stream = getattr(teacher, method)
            (late,) = [reply async for reply in stream(iter([item]), timeout=300)]
            (patient,) = [reply async for reply in stream(iter([item]))]
    assert from_status(late.error).reason == "OVERLOADED"
    assert patient.HasField("response")


async def test_an_image_by_path_stays_below_its_root(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(IMAGE)
    (tmp_path / "secret.png").write_bytes(IMAGE)
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    async with serving_teacher(
        tmp_path / "t", image_root=tmp_path / "images", skill=1.0
    ) as teacher:

        async def annotate(uri):
            return await teacher.Annotate(
                teacher_pb2.AnnotateRequest(image=types_pb2.Image(uri=uri), task="vqa")
            )

        assert (await annotate("a.png")).question
        for uri in ("../secret.png", "/etc/hostname", "link.png"):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await annotate(uri)
            assert from_rpc_error(refused.value).reason == "IMAGE_OUTSIDE_ROOT"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await annotate("b.png")
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("template", "reason"),
    [("{question}" * 2000, "TEXT_TOO_LONG"), ("Say red.", "TEMPLATE_INVALID")],
)
async def test_a_template_is_short_and_holds_the_question_once(tmp_path, template, reason):
    request = teacher_pb2.TeacherServiceAnswerRequest(
        image=types_pb2.Image(data=IMAGE), question="what?", template=template
    )
    async with serving_teacher(tmp_path / "t", skill=1.0) as teacher:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await teacher.Answer(request)
    assert refused.value.code().name == "INVALID_ARGUMENT"
    assert from_rpc_error(refused.value).reason == reason
