"""Life of a service process: listen at once, be ready with the model, lose no request."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import itertools
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import psutil
import uvicorn

from services.core.errors import InvalidInput, MpaError, Unavailable, WrongState
from services.engines import tether
from services.environment import Environment
from services.rpc.access.settings import listen_host
from services.rpc.http.limits import HttpLimits
from services.rpc.http.server import HttpServer
from services.rpc.server import GrpcServer

_log = logging.getLogger(__name__)
REVIVE_EVERY_S = 1.0
REVIVE_AT_LEAST_EVERY_S = 60.0
HARD_STOP_AFTER_S = 5.0
"""Time after the grace for everything else to end; then the process is ended."""


def _end_supervisor() -> None:
    """Ends `bentoml serve`, which would restart a worker without a port for ever.

    If setproctitle is installed (vLLM brings it), the supervisor's name is circusd.
    """
    parent = psutil.Process().parent()
    if parent is not None and any(
        name in word for word in parent.cmdline() for name in ("bentoml", "circusd")
    ):
        os.kill(parent.pid, signal.SIGTERM)


def _settle() -> None:
    """Exempts libraries and model from garbage collection, which stops calls for half a second.

    An engine frees its memory when it is closed, whether its objects are collected or not.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Address of a service and time limits of its shutdown, in seconds."""

    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    """Port of all gRPC services; then `port` has no control calls. 0: one port for all."""
    lame_duck_s: float = 1.0
    """Seconds from "not ready" to the first refused request: clients go elsewhere."""
    grace_s: float = 30.0
    """Time after that for the requests under way."""
    http: HttpLimits = field(default_factory=HttpLimits)

    @staticmethod
    def from_environment(env: Environment, port: int) -> ListenSettings:
        """Raises InvalidInput."""
        return ListenSettings(
            host=listen_host(env),
            port=env.integer("GRPC_PORT", port),
            control_port=env.integer("CONTROL_PORT", 0),
            lame_duck_s=_at_least_0(env, "LAME_DUCK_S", 1.0),
            grace_s=_at_least_0(env, "GRACE_S", 30.0),
            http=HttpLimits.from_environment(env),
        )


def _at_least_0(env: Environment, name: str, default: float) -> float:
    given = env.number(name, default)
    if not 0 <= given < float("inf"):
        raise InvalidInput(
            f"{env.prefix}{name} is {given:g}: give seconds, 0 or more", field=env.prefix + name
        )
    return given


class Lifecycle:
    """Runs one GrpcServer on the loop of a BentoML worker; `http` controls the worker's own server.

    On SIGTERM, health and readiness turn negative first. After the lame-duck period the HTTP
    server's own handler runs, drains HTTP and ends in `stop`. A process that still exists when all
    its time is over, because a thread hangs or a library waits, logs the stack of every thread and
    is ended.
    """

    def __init__(
        self,
        name: str,
        server: GrpcServer,
        settings: ListenSettings,
        http: HttpServer | None = None,
    ) -> None:
        self._name = name
        self._server = server
        self._http = http
        self._settings = settings
        self._loaded = False
        self._leaving = False
        self._failure: MpaError | None = None
        self._death = ""
        self._serving: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None

    async def start(
        self,
        load: Callable[[], Awaitable[None]],
        death: Callable[[], Awaitable[str]],
        revive: Callable[[], Awaitable[None]],
    ) -> None:
        """Listens, then runs `load` in the background.

        The service is ready from the end of `load` until `death` returns, and again after `revive`.
        A service that is shutting down no longer restarts its engine. If the port is taken, or
        SIGTERM is not uvicorn's, the error is logged and the service ends.
        """
        try:
            worker = self._worker()
            host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
            if self._http is not None:
                self._http.require_guarded()
            port = await self._server.start(host, self._settings.port, self._settings.control_port)
        except MpaError as error:
            _log.error("%s cannot start: %s", self._name, error)
            _end_supervisor()
            raise
        _log.info("%s: gRPC on %s:%d, loading the model", self._name, host, port)
        self._take_over_sigterm(worker)
        self._serving = asyncio.create_task(self._serve(load, death, revive))

    @property
    def ready(self) -> bool:
        """The answer of /readyz: loaded, and not shutting down."""
        return self._loaded and not self._death and not self._leaving

    def require_loaded(self) -> None:
        """Raises Unavailable while loading and WrongState if that failed, but not in shutdown."""
        if self._failure is not None:
            raise WrongState(
                f"{self._name} has no model: {self._failure}", reason="MODEL_NOT_LOADED"
            )
        if self._death:
            raise Unavailable(
                f"the {self._name} can't answer now ({self._death}) and is being brought back: "
                "try again in a moment"
            )
        if not self._loaded:
            raise Unavailable(f"{self._name} is still loading its model: try again in a moment")

    async def stop(self) -> None:
        """Waits for the gRPC calls under way."""
        self._leaving = True
        if self._serving:
            self._serving.cancel()
        await self._stop_grpc()

    def _stop_grpc(self) -> asyncio.Task[None]:
        """Starts the stop once, so that both faces have the same grace."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._server.stop(self._settings.grace_s))
        return self._stopping

    async def _serve(
        self,
        load: Callable[[], Awaitable[None]],
        death: Callable[[], Awaitable[str]],
        revive: Callable[[], Awaitable[None]],
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
            _settle()
            await self._server.set_ready(True)
            _log.info("%s: ready", self._name)
            self._death = await self._reason_of(death)
            if self._leaving:
                return
            _log.error("%s is not ready: %s", self._name, self._death)
            await self._server.set_ready(False)
            await self._revive(revive)
            self._death = ""

    async def _reason_of(self, death: Callable[[], Awaitable[str]]) -> str:
        """Reason of the engine's death. An engine that can't be watched any more counts as dead."""
        try:
            return await death() or "it gave no reason"
        except Exception as error:
            _log.exception("the engine of the %s can't be watched any more", self._name)
            return f"it can't be watched any more: {error!r}"

    async def _revive(self, revive: Callable[[], Awaitable[None]]) -> None:
        """Tries until it succeeds, with growing pauses."""
        for attempt in itertools.count():
            try:
                await revive()
                return
            except Exception:
                pause_s = min(REVIVE_EVERY_S * 2**attempt, REVIVE_AT_LEAST_EVERY_S)
                _log.exception("%s does not come back: trying again in %g s", self._name, pause_s)
                await asyncio.sleep(pause_s)

    def _worker(self) -> uvicorn.Server | None:
        """BentoML's HTTP server, found by its SIGTERM; None without HTTP. Raises WrongState."""
        if self._http is None:
            return None
        handler = signal.getsignal(signal.SIGTERM)
        worker = getattr(handler, "__self__", None)
        if not isinstance(worker, uvicorn.Server):
            raise WrongState(
                f"SIGTERM is handled by {handler!r}, not by uvicorn, so HTTP would have no limits: "
                "start the service with `bentoml serve`, and the BentoML it was installed with"
            )
        return worker

    def _take_over_sigterm(self, worker: uvicorn.Server | None) -> None:
        loop = asyncio.get_running_loop()
        before: Any = signal.getsignal(signal.SIGTERM)
        http = self._http
        if http is not None and worker is not None:
            http.adopt(worker, self._settings.grace_s)
        leaving: set[asyncio.Task[None]] = set()

        async def leave() -> None:
            if http is not None:
                http.begin_to_leave()
            await self._server.announce_shutdown()
            await asyncio.sleep(self._settings.lame_duck_s)
            self._stop_grpc()
            try:
                if http is not None:
                    await http.stop_listening()
            finally:
                if callable(before):
                    before(signal.SIGTERM, None)

        def on_sigterm(signum: int, frame: FrameType | None) -> None:
            if self._leaving:
                return
            self._leaving = True
            if http is not None:  # BentoML's supervisor sets no time limit for its workers
                limit_s = self._settings.lame_duck_s + self._settings.grace_s + HARD_STOP_AFTER_S
                faulthandler.dump_traceback_later(limit_s, exit=True)
            loop.call_soon_threadsafe(lambda: leaving.add(loop.create_task(leave())))

        signal.signal(signal.SIGTERM, on_sigterm)
        if http is not None:  # a supervisor that is killed would leave the ports and the store held
            tether.end_with_parent()
