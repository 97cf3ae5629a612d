"""The life of a service process: listen at once, be ready when the model is, and leave without losing a request."""

from __future__ import annotations

import asyncio
import itertools
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
REVIVE_EVERY_S = 1.0
REVIVE_AT_LEAST_EVERY_S = 60.0


def _end_supervisor() -> None:
    """`bentoml serve` restarts a worker that fails, for ever; what can't start for want of a port must end instead.

    Where setproctitle is installed (vLLM brings it), the supervisor calls itself circusd.
    """
    parent = psutil.Process().parent()
    if parent is not None and any(name in word for word in parent.cmdline() for name in ("bentoml", "circusd")):
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
            host=env.text("HOST", "127.0.0.1"), port=env.integer("GRPC_PORT", port), lame_duck_s=env.number("LAME_DUCK_S", 1.0)
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
        self._death = ""
        self._serving: asyncio.Task[None] | None = None

    async def start(
        self, load: Callable[[], Awaitable[None]], death: Callable[[], Awaitable[str]], revive: Callable[[], Awaitable[None]]
    ) -> None:
        """Listens, then runs `load` in the background; ready when it returns, until `death` does. Then `revive`, ready again,
        unless the service is about to leave: an engine may have been told to end before it.

        Port taken: says so and ends the service.
        """
        logging.getLogger("services").setLevel(logging.INFO)
        try:
            port = await self._server.start(self._settings.host, self._settings.port)
        except MpaError as error:
            _log.error("%s cannot start: %s", self._name, error)
            _end_supervisor()
            raise
        _log.info("%s: gRPC on %s:%d, loading the model", self._name, self._settings.host, port)
        self._take_over_sigterm()
        self._serving = asyncio.create_task(self._serve(load, death, revive))

    @property
    def ready(self) -> bool:
        """What /readyz says: loaded, and not about to leave."""
        return self._loaded and not self._death and not self._leaving

    def require_loaded(self) -> None:
        """Raises Unavailable while loading, WrongState where loading failed. While leaving, requests are still taken."""
        if self._failure is not None:
            raise WrongState(f"{self._name} has no model: {self._failure}", reason="MODEL_NOT_LOADED")
        if self._death:
            raise Unavailable(
                f"the {self._name}'s engine has died ({self._death}) and is being started anew: try again in a moment"
            )
        if not self._loaded:
            raise Unavailable(f"{self._name} is still loading its model: try again in a moment")

    async def stop(self) -> None:
        """Lets the gRPC calls under way end."""
        self._leaving = True
        if self._serving:
            self._serving.cancel()
        await self._server.stop(self._settings.grace_s)

    async def _serve(
        self, load: Callable[[], Awaitable[None]], death: Callable[[], Awaitable[str]], revive: Callable[[], Awaitable[None]]
    ) -> None:
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
        while True:
            await self._server.set_ready(True)
            _log.info("%s: ready", self._name)
            self._death = await death()
            if self._leaving:
                return
            _log.error("%s is not ready: %s", self._name, self._death)
            await self._server.set_ready(False)
            await self._revive(revive)
            self._death = ""

    async def _revive(self, revive: Callable[[], Awaitable[None]]) -> None:
        """Until it succeeds, ever less often."""
        for attempt in itertools.count():
            try:
                await revive()
                return
            except Exception:
                pause_s = min(REVIVE_EVERY_S * 2**attempt, REVIVE_AT_LEAST_EVERY_S)
                _log.exception("%s does not come back: trying again in %g s", self._name, pause_s)
                await asyncio.sleep(pause_s)

    def _take_over_sigterm(self) -> None:
        loop = asyncio.get_running_loop()
        before: Any = signal.getsignal(signal.SIGTERM)

        async def leave() -> None:
            await self._server.announce_shutdown()
            await asyncio.sleep(self._settings.lame_duck_s)
            if callable(before):
                before(signal.SIGTERM, None)

        def on_sigterm(signum: int, frame: FrameType | None) -> None:
            self._leaving = True
            loop.call_soon_threadsafe(lambda: loop.create_task(leave()))

        signal.signal(signal.SIGTERM, on_sigterm)
