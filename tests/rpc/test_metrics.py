"""Metrics: each item of a bulk stream counts as one call."""

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.metrics import REGISTRY
from tests.pictures import png
from tests.serving import serving_teacher

METHOD = "/mpa.v1.TeacherService/AnswerStream"


def counted(code):
    labels = {"protocol": "grpc", "method": METHOD, "code": code}
    return REGISTRY.get_sample_value("mpa_requests_total", labels) or 0


async def test_the_items_of_a_stream_are_counted_under_their_own_codes(tmp_path):
    codes = ("OK", "INVALID_ARGUMENT", "STREAM")
    before = [counted(code) for code in codes]

    async def items():
        for number, question in enumerate(("what?", "", "where?")):
            request = teacher_pb2.TeacherServiceAnswerRequest(
                image=types_pb2.Image(data=png()), question=question
            )
            yield teacher_pb2.TeacherServiceAnswerStreamRequest(id=str(number), request=request)

    async with serving_teacher(tmp_path / "teacher") as teacher:
        assert len([reply async for reply in teacher.AnswerStream(items())]) == 3
    assert [counted(code) - was for code, was in zip(codes, before, strict=True)] == [2, 1, 1]
