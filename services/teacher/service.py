"""The teacher as a BentoML service with our gRPC server in the same process.

    bentoml serve services.teacher.service:TeacherService --port 3001

Settings: MPA_TEACHER_* (settings.py). HTTP: /livez, /readyz, /metrics, POST /v1/annotate.
"""

from __future__ import annotations

import asyncio
import logging

import bentoml

from protos.mpa.v1 import teacher_pb2_grpc
from services import metrics, tracing
from services.core.errors import Unavailable
from services.engines.checkpoint import resolve
from services.engines.linked import with_image_processor
from services.engines.loading import load_model
from services.engines.model import VisionLanguageModel
from services.engines.room import PATIENCE_S, require_room
from services.engines.serving import Serving, of_checkpoint
from services.engines.teacher import HostedTeacher
from services.environment import pin_devices
from services.rpc import gauges
from services.rpc.access.access import Access
from services.rpc.hosting import bento_settings
from services.rpc.http.entrance import Entrance
from services.rpc.http.server import HttpServer
from services.rpc.images import ImageReceiver
from services.rpc.lifecycle import Lifecycle
from services.rpc.load_shedding import LoadShedder
from services.rpc.server import GrpcServer
from services.teacher.http import app
from services.teacher.servicer import SERVICE, TeacherServicer
from services.teacher.serving import of_provider
from services.teacher.settings import TeacherSettings

_log = logging.getLogger(__name__)


@bentoml.service(name="mpa-teacher", **bento_settings("MPA_TEACHER_"))
class TeacherService:
    """Composition root of the teacher process."""

    def __init__(self) -> None:
        pin_devices("MPA_TEACHER_")
        tracing.start("mpa-teacher")
        self._settings = TeacherSettings.from_env()
        self._teacher: HostedTeacher | None = None
        shedder = LoadShedder(self._settings.rpc.load)
        images = ImageReceiver(self._settings.rpc.images)
        servicer = TeacherServicer(self._loaded_teacher, images, shedder)
        access = Access(self._settings.rpc.access)
        entrance = Entrance(self._settings.rpc.listen.http, shedder, access)
        app.state.servicer = servicer
        app.state.entrance = entrance
        server = GrpcServer(
            lambda grpc_server: teacher_pb2_grpc.add_TeacherServiceServicer_to_server(
                servicer, grpc_server
            ),
            [SERVICE],
            self._settings.rpc.callers,
            access=access,
        )
        self._lifecycle = Lifecycle(
            "teacher", server, self._settings.rpc.listen, HttpServer(entrance, app)
        )
        engine = self._settings.engine.engine
        gauges.watch("teacher", engine, self.__is_ready__, shedder, images)

    def _loaded_teacher(self) -> HostedTeacher:
        self._lifecycle.require_loaded()
        if self._teacher is None:
            raise Unavailable("the teacher is stopping")
        return self._teacher

    async def _load(self) -> None:
        self._teacher = HostedTeacher(*await self._model())

    async def _model(self) -> tuple[VisionLanguageModel, Serving]:
        settings = self._settings
        if settings.openai is not None:
            from services.engines.openai import engine as openai

            model = await openai.load(settings.model, settings.openai)
            return model, of_provider(settings)
        found = await asyncio.to_thread(resolve, settings.model)
        pixels = settings.preset.image_processor
        folder = await asyncio.to_thread(with_image_processor, found, pixels)
        await require_room(folder, settings.engine, PATIENCE_S if self._teacher else 0.0)
        serving = of_checkpoint(folder, settings.engine, settings.preset.name, settings.model)
        return await load_model(folder, settings.engine), serving

    async def _death(self) -> str:
        assert self._teacher is not None
        reason = await self._teacher.death()
        metrics.ENGINE_DEATHS.inc()
        return reason

    async def _revive(self) -> None:
        assert self._teacher is not None
        try:
            await self._teacher.close()
        except Exception:
            _log.exception("the dead engine was not closed cleanly")
        await self._load()

    @bentoml.on_startup
    async def start(self) -> None:
        await self._lifecycle.start(self._load, self._death, self._revive)

    @bentoml.on_shutdown
    async def stop(self) -> None:
        await self._lifecycle.stop()
        if self._teacher is not None:
            await self._teacher.close()

    def __is_ready__(self) -> bool:
        return self._lifecycle.ready
