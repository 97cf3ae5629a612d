"""Teacher and student with the fake engine, in this process, on real loopback ports."""

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.longrunning import operations_pb2_grpc

from protos.mpa.v1 import student_pb2_grpc, teacher_pb2_grpc, training_pb2_grpc, versions_pb2_grpc
from services.engines.fake import FakeModel
from services.engines.loading import load_model
from services.engines.serving import of_checkpoint
from services.engines.teacher import HostedTeacher
from services.rpc.access.access import Access
from services.rpc.images import ImageReceiver, ImageSettings
from services.rpc.load_shedding import LoadShedder
from services.rpc.server import GrpcServer
from services.student.servicers import SERVICES, StudentServicer, register
from services.student.settings import StudentSettings
from services.student.student import HostedStudent
from services.teacher.servicer import SERVICE, TeacherServicer
from services.teacher.settings import TeacherSettings


def fake_checkpoint(folder: Path, **model) -> Path:
    FakeModel(**model).write(folder)
    return folder


def fake_student_settings(folder: Path, **model) -> StudentSettings:
    checkpoint = fake_checkpoint(folder / "base", **model)
    return StudentSettings.from_env(fake_student_environment(checkpoint, folder / "store"))


def fake_student_environment(checkpoint: Path, store: Path, **further) -> dict[str, str]:
    settings = {
        "MODEL": checkpoint,
        "STORE": store,
        "ENGINE": "fake",
        "PRESET": "qwen2vl-2b",
        **further,
    }
    return {f"MPA_STUDENT_{name}": str(value) for name, value in settings.items()}


@dataclass
class StudentPeer:
    """A running student: its address, its object, and a stub for each service."""

    address: str
    student: HostedStudent
    channel: grpc.aio.Channel
    server: GrpcServer

    def __post_init__(self):
        self.answers = student_pb2_grpc.StudentServiceStub(self.channel)
        self.versions = versions_pb2_grpc.VersionServiceStub(self.channel)
        self.training = training_pb2_grpc.TrainingServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)


@asynccontextmanager
async def serving_student(settings: StudentSettings, access: Access | None = None):
    student = HostedStudent(settings)
    servicer = StudentServicer(lambda: student, ImageReceiver(settings.rpc.images))
    server = GrpcServer(
        lambda grpc_server: register(lambda: student, servicer, grpc_server),
        SERVICES,
        end_waits=student.jobs.end_waits,
        access=access,
    )
    port = await server.start("127.0.0.1", 0)
    await student.start()
    await server.set_ready(True)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield StudentPeer(f"127.0.0.1:{port}", student, channel, server)
    finally:
        await server.stop(1.0)
        await student.close()


@asynccontextmanager
async def serving_teacher(
    folder: Path, image_root: Path | None = None, shedder: LoadShedder | None = None, **model
):
    """A stub of a running teacher."""
    async with (
        teacher_at(folder, image_root, shedder, **model) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        yield teacher_pb2_grpc.TeacherServiceStub(channel)


@asynccontextmanager
async def teacher_at(
    folder: Path, image_root: Path | None = None, shedder: LoadShedder | None = None, **model
):
    """The address of a running teacher."""
    checkpoint = fake_checkpoint(folder, **model)
    settings = TeacherSettings.from_env(
        {"MPA_TEACHER_MODEL": str(checkpoint), "MPA_TEACHER_ENGINE": "fake"}
    )
    serving = of_checkpoint(checkpoint, settings.engine, settings.preset.name, settings.model)
    teacher = HostedTeacher(await load_model(checkpoint, settings.engine), serving)
    servicer = TeacherServicer(lambda: teacher, ImageReceiver(ImageSettings(image_root)), shedder)
    server = GrpcServer(
        lambda grpc_server: teacher_pb2_grpc.add_TeacherServiceServicer_to_server(
            servicer, grpc_server
        ),
        [SERVICE],
    )
    port = await server.start("127.0.0.1", 0)
    await server.set_ready(True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(1.0)
        await teacher.close()
