"""Absurd requests to the teacher: each ends as the caller's fault."""

import random
from typing import Any

import grpc
import pytest

from protos.mpa.v1 import teacher_pb2, types_pb2
from services.rpc.status import from_rpc_error
from services.teacher.servicer import SERVICE
from tests.pictures import png
from tests.serving import serving_teacher, teacher_at

IMAGE = types_pb2.Image(data=png())
CALLERS_FAULT = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
USUAL: dict[str, Any] = {"image": IMAGE, "task": "vqa"}
ODD: dict[str, dict[str, Any]] = {
    "task": {"task": "x" * 4_000},
    "task with NUL": {"task": "vqa\0"},
    "unknown task": {"task": "²"},
    "long hash": {"image": types_pb2.Image(sha256="0" * 4_000)},
    "long path": {"image": types_pb2.Image(uri="x" * 40_000)},
    "path with NUL": {"image": types_pb2.Image(uri="a\0b")},
    "no number": {"decoding": types_pb2.Decoding(temperature=float("nan"))},
    "negative": {"decoding": types_pb2.Decoding(top_p=-1.0)},
    "seed": {"decoding": types_pb2.Decoding(seed=2**64 - 1)},
}


@pytest.mark.parametrize("root", [False, True])
async def test_an_odd_annotation_is_told_what_is_wrong(tmp_path, root):
    async with serving_teacher(tmp_path / "t", tmp_path if root else None) as teacher:
        for fields in ODD.values():
            request = teacher_pb2.AnnotateRequest(**{**USUAL, **fields})
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await teacher.Annotate(request)
            assert refused.value.code() in CALLERS_FAULT
            assert from_rpc_error(refused.value).reason


async def test_odd_items_of_a_stream_end_alone(tmp_path):
    async with serving_teacher(tmp_path / "t") as teacher:
        items: list[dict[str, Any]] = [{}, *ODD.values(), {}]
        requests = [
            teacher_pb2.AnnotateStreamRequest(
                id=str(number),
                request=teacher_pb2.AnnotateRequest(**{**USUAL, **fields}),
            )
            for number, fields in enumerate(items)
        ]
        failed = {
            int(reply.id)
            async for reply in teacher.AnnotateStream(iter(requests))
            if reply.HasField("error")
        }
    assert failed == set(range(1, len(items) - 1))


async def test_random_bytes_never_end_as_the_services_fault(tmp_path):
    draw = random.Random(0)
    sound = teacher_pb2.AnnotateRequest(image=IMAGE, task="vqa").SerializeToString()
    async with teacher_at(tmp_path / "t") as address, grpc.aio.insecure_channel(address) as channel:
        for method in ("Annotate", "Answer", "GetModel"):
            call = channel.unary_unary(
                f"/{SERVICE}/{method}", request_serializer=bytes, response_deserializer=bytes
            )
            for _ in range(300):
                data = bytearray(sound)
                for _ in range(draw.randrange(1, 5)):
                    data[draw.randrange(len(data))] = draw.randrange(256)
                try:
                    await call(bytes(data), timeout=20)
                except grpc.aio.AioRpcError as refused:
                    assert refused.code() in CALLERS_FAULT, refused
