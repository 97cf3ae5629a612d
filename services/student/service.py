"""The student as a BentoML service with our gRPC server in the same process.

    bentoml serve services.student.service:StudentService --port 3002

Settings: MPA_STUDENT_* (settings.py). HTTP: /livez, /readyz, /metrics, POST /v1/vqa,
POST /v1/chat/completions, GET /v1/models; GET /try with MPA_STUDENT_TRY_PAGE=1.
"""

from __future__ import annotations

import bentoml

from services import tracing
from services.environment import pin_devices
from services.rpc import gauges
from services.rpc.access.access import Access
from services.rpc.access.audit_log import AuditLog
from services.rpc.hosting import bento_settings
from services.rpc.http.completions.images import ImageUrls
from services.rpc.http.entrance import Entrance
from services.rpc.http.server import HttpServer
from services.rpc.images import ImageReceiver
from services.rpc.lifecycle import Lifecycle
from services.rpc.load_shedding import LoadShedder
from services.rpc.server import GrpcServer
from services.student import gauges as student_gauges
from services.student.completions import StudentCompletions
from services.student.endpoint import StudentEndpoint
from services.student.follower import FollowingStudent
from services.student.http import student_app
from services.student.servicers import CONTROL, OWNERS, SERVICES, StudentServicer, register
from services.student.settings import StudentSettings
from services.student.student import HostedStudent
from services.student.tryout.desk import TryoutDesk
from services.student.tryout.routes import tryout_routes
from services.student.tryout.second_opinion import SecondOpinion


@bentoml.service(name="mpa-student", **bento_settings("MPA_STUDENT_"))
class StudentService:
    """Composition root of the student process."""

    def __init__(self) -> None:
        pin_devices("MPA_STUDENT_")
        tracing.start("mpa-student")
        settings = StudentSettings.from_env()
        self._student: StudentEndpoint = (
            FollowingStudent(settings) if settings.follows else HostedStudent(settings)
        )
        shedder = LoadShedder(settings.rpc.load)
        images = ImageReceiver(settings.rpc.images)
        servicer = StudentServicer(self._loaded_student, images, shedder)
        rules = settings.rpc.access
        path = settings.store / "audit.jsonl"
        access = Access(rules, None if settings.follows else AuditLog(path, rules.audit_files))
        entrance = Entrance(settings.rpc.listen.http, shedder, access)
        completions = StudentCompletions(
            self._loaded_student, images, shedder, settings.served_names
        )
        self._teacher = SecondOpinion(settings.try_teacher) if settings.try_teacher else None
        desk = TryoutDesk(self._loaded_student, completions, images, self._teacher)
        tryout = tryout_routes(desk) if settings.has_try_page else ()
        app = student_app(servicer, completions, ImageUrls(settings.image_urls), tryout)
        app.state.entrance = entrance
        server = GrpcServer(
            lambda grpc_server: register(self._loaded_student, servicer, grpc_server),
            SERVICES,
            settings.rpc.callers,
            self._student.end_waits,
            OWNERS if settings.follows else (),
            access,
            CONTROL,
        )
        self._lifecycle = Lifecycle(
            "student", server, settings.rpc.listen, HttpServer(entrance, app)
        )
        gauges.watch("student", settings.engine.engine, self.__is_ready__, shedder, images)
        student_gauges.watch(self._student)

    def _loaded_student(self) -> StudentEndpoint:
        self._lifecycle.require_loaded()
        return self._student

    @bentoml.on_startup
    async def start(self) -> None:
        student = self._student
        await self._lifecycle.start(student.start, student.death, student.revive)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self._lifecycle.stop()
        if self._teacher is not None:
            await self._teacher.close()
        await self._student.close()

    def __is_ready__(self) -> bool:
        return self._lifecycle.ready
