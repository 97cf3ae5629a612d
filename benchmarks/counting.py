"""Teacher and student with fake models, on loopback ports, that count the calls they finish."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from protos.mpa.v1 import student_pb2, teacher_pb2, teacher_pb2_grpc, types_pb2
from services.engines.fake import FakeModel
from services.engines.loading import load_model
from services.engines.serving import of_checkpoint
from services.engines.teacher import HostedTeacher
from services.rpc.images import ImageReceiver
from services.rpc.server import GrpcServer, Register
from services.student import servicers
from services.student.settings import StudentSettings
from services.student.student import HostedStudent
from services.teacher.servicer import SERVICE, TeacherServicer
from services.teacher.settings import TeacherSettings

TEACHER_SKILL, STUDENT_SKILL = 0.95, 0.4

Key: TypeAlias = tuple[str, ...]
"""Role, verb, the image's sha256, then seed or question, then the student's version."""


@dataclass(frozen=True, slots=True)
class CountingServices:
    """Addresses of the two services, and how often each call was finished."""

    teacher: str
    student: str
    finished: Counter[Key]


class _CountingTeacher(TeacherServicer):
    def __init__(self, teacher: HostedTeacher, finished: Counter[Key]) -> None:
        super().__init__(lambda: teacher, ImageReceiver())
        self._finished = finished

    async def Annotate(
        self, request: teacher_pb2.AnnotateRequest, context: Any = None
    ) -> teacher_pb2.AnnotateResponse:
        response = await super().Annotate(request, context)
        seed = str(request.decoding.seed)
        self._finished["teacher", "annotate", _sha256(request.image), seed] += 1
        return response

    async def Answer(
        self, request: teacher_pb2.TeacherServiceAnswerRequest, context: Any = None
    ) -> teacher_pb2.TeacherServiceAnswerResponse:
        response = await super().Answer(request, context)
        self._finished["teacher", "answer", _sha256(request.image), request.question] += 1
        return response


class _CountingStudent(servicers.StudentServicer):
    def __init__(self, student: HostedStudent, finished: Counter[Key]) -> None:
        super().__init__(lambda: student, ImageReceiver())
        self._finished = finished

    async def Answer(
        self, request: student_pb2.AnswerRequest, context: Any = None
    ) -> student_pb2.AnswerResponse:
        response = await super().Answer(request, context)
        image = _sha256(request.image)
        self._finished["student", "answer", image, request.question, response.version] += 1
        return response


def _sha256(image: types_pb2.Image) -> str:
    return image.sha256 or hashlib.sha256(image.data).hexdigest()


@asynccontextmanager
async def counting_services(folder: Path, latency_s: float) -> AsyncIterator[CountingServices]:
    """Checkpoints and store are in `folder`; every batch takes `latency_s` seconds."""
    finished: Counter[Key] = Counter()
    async with (
        _teacher(folder / "teacher", latency_s, finished) as teacher,
        _student(folder / "student", latency_s, finished) as student,
    ):
        yield CountingServices(teacher, student, finished)


@asynccontextmanager
async def _teacher(folder: Path, latency_s: float, finished: Counter[Key]) -> AsyncIterator[str]:
    FakeModel(skill=TEACHER_SKILL, latency_s=latency_s).write(folder)
    settings = TeacherSettings.from_env(
        {"MPA_TEACHER_MODEL": str(folder), "MPA_TEACHER_ENGINE": "fake"}
    )
    serving = of_checkpoint(folder, settings.engine, settings.preset.name, settings.model)
    teacher = HostedTeacher(await load_model(folder, settings.engine), serving)
    servicer = _CountingTeacher(teacher, finished)

    def register(server: Any) -> None:
        teacher_pb2_grpc.add_TeacherServiceServicer_to_server(servicer, server)

    async with _served(register, [SERVICE]) as address:
        yield address
    await teacher.close()


@asynccontextmanager
async def _student(folder: Path, latency_s: float, finished: Counter[Key]) -> AsyncIterator[str]:
    FakeModel(skill=STUDENT_SKILL, latency_s=latency_s).write(folder / "base")
    settings = StudentSettings.from_env(
        {
            "MPA_STUDENT_MODEL": str(folder / "base"),
            "MPA_STUDENT_STORE": str(folder / "store"),
            "MPA_STUDENT_ENGINE": "fake",
        }
    )
    student = HostedStudent(settings)
    await student.start()
    servicer = _CountingStudent(student, finished)

    def register(server: Any) -> None:
        servicers.register(lambda: student, servicer, server)

    async with _served(register, servicers.SERVICES) as address:
        yield address
    await student.close()


@asynccontextmanager
async def _served(register: Register, services: Sequence[str]) -> AsyncIterator[str]:
    server = GrpcServer(register, services)
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    yield f"127.0.0.1:{port}"
    await server.stop(1.0)
