"""The life of a service process: listen at once, be ready when the model is, and leave without losing a request."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import psutil

from services.core.errors import MpaError, Unavailable, WrongState
from services.environment import Environment
from services.rpc.server import GrpcServer

_log = logging.getLogger(__name__)


def _end_supervisor() -> None:
    """`bentoml serve` restarts a worker that fails, for ever; what can't start for want of a port must end instead."""
    parent = psutil.Process().parent()
    if parent is not None and any("bentoml" in word for word in parent.cmdline()):
        os.kill(parent.pid, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where a service listens, and how it leaves. Durations in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    lame_duck_s: float = 1.0
    """Between saying "not ready" and taking no more requests: clients and balancers look elsewhere meanwhile."""
    grace_s: float = 30.0

    @staticmethod
    def from_environment(env: Environment, port: int) -> ListenSettings:
        return ListenSettings(
            host=env.text("HOST", "127.0.0.1"), port=env.integer("GRPC_PORT", port), lame_duck_s=env.seconds("LAME_DUCK_S", 1.0)
        )


class Lifecycle:
    """Runs one GrpcServer on the loop of a BentoML worker.

    On SIGTERM health and readiness turn negative first; only after the lame-duck period does the handler that the HTTP
    server had installed run, which then drains HTTP and ends in `stop`.
    """

    def __init__(self, name: str, server: GrpcServer, settings: ListenSettings) -> None:
        self._name = name
        self._server = server
        self._settings = settings
        self._loaded = False
        self._leaving = False
        self._failure: MpaError | None = None
        self._loading: asyncio.Task[None] | None = None

    async def start(self, load: Callable[[], Awaitable[None]]) -> None:
        """Listens, then runs `load` in the background; ready when it returns. Port taken: says so and ends the service."""
        logging.getLogger("services").setLevel(logging.INFO)
        try:
            port = await self._server.start(self._settings.host, self._settings.port)
        except MpaError as error:
            _log.error("%s cannot start: %s", self._name, error)
            _end_supervisor()
            raise
        _log.info("%s: gRPC on %s:%d, loading the model", self._name, self._settings.host, port)
        self._take_over_sigterm()
        self._loading = asyncio.create_task(self._load(load))

    @property
    def ready(self) -> bool:
        """What /readyz says: loaded, and not about to leave."""
        return self._loaded and not self._leaving

    def require_loaded(self) -> None:
        """Raises Unavailable while loading, WrongState where loading failed. While leaving, requests are still taken."""
        if self._failure is not None:
            raise WrongState(f"{self._name} has no model: {self._failure}", reason="MODEL_NOT_LOADED")
        if not self._loaded:
            raise Unavailable(f"{self._name} is still loading its model: try again in a moment")

    async def stop(self) -> None:
        """Lets the gRPC calls under way end."""
        self._leaving = True
        if self._loading:
            self._loading.cancel()
        await self._server.stop(self._settings.grace_s)

    async def _load(self, load: Callable[[], Awaitable[None]]) -> None:
        try:
            await load()
        except MpaError as error:
            self._failure = error
            _log.error("%s cannot serve: %s", self._name, error)
            return
        except Exception as error:
            self._failure = MpaError(f"loading failed: {error!r}")
            _log.exception("%s cannot serve", self._name)
            return
        self._loaded = True
        await self._server.set_ready(True)
        _log.info("%s: ready", self._name)

    def _take_over_sigterm(self) -> None:
        loop = asyncio.get_running_loop()
        before: Any = signal.getsignal(signal.SIGTERM)

        async def leave() -> None:
            self._leaving = True
            await self._server.announce_shutdown()
            await asyncio.sleep(self._settings.lame_duck_s)
            if callable(before):
                before(signal.SIGTERM, None)

        def on_sigterm(signum: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(lambda: loop.create_task(leave()))

        signal.signal(signal.SIGTERM, on_sigterm)
