"""The grpc.aio server inside a BentoML worker: health, reflection, interceptors, clean shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from services.core.errors import InvalidInput, Unavailable
from services.environment import Environment
from services.rpc.interceptors.calls import Calls
from services.rpc.interceptors.failures import Failures
from services.rpc.interceptors.reading import Reading
from services.rpc.interceptors.turnstile import PER_CALLER, Turnstile
from services.rpc.listener import IDLE_S, Listener

SILENCE_S = 300.0

Register = Callable[[grpc.aio.Server], None]


class _Health(health_aio.HealthServicer):
    """Ends open Watch calls on shutdown; otherwise `server.stop` waits for them the whole grace."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[Any]] = set()

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        watch = asyncio.ensure_future(super().Watch(request, context))
        self._watches.add(watch)
        try:
            await watch
        except asyncio.CancelledError:
            if not watch.cancelled():
                watch.cancel()
                raise
        finally:
            self._watches.discard(watch)

    def end_watches(self) -> None:
        for watch in list(self._watches):
            watch.cancel()


@dataclass(frozen=True, slots=True)
class CallerSettings:
    """Limits of a single gRPC caller."""

    most_calls: int = PER_CALLER
    """Calls of one kind that one address has open at once. Not counted: control calls, health
    checks, and calls from this machine."""
    silence_s: float = SILENCE_S
    """Seconds that an upload may send nothing, and that an idle stream stays open."""
    idle_s: float = IDLE_S
    """Seconds that a connection without an open call stays."""

    @staticmethod
    def from_environment(env: Environment) -> CallerSettings:
        """Reads MPA_*_CALLS_PER_CALLER and MPA_*_SILENCE_S. Raises InvalidInput."""
        settings = CallerSettings(
            env.integer("CALLS_PER_CALLER", PER_CALLER), env.number("SILENCE_S", SILENCE_S)
        )
        for name, value in (
            ("CALLS_PER_CALLER", settings.most_calls),
            ("SILENCE_S", settings.silence_s),
        ):
            if not 0 < value < float("inf"):
                raise InvalidInput(
                    f"{env.prefix}{name} is {value:g}: give more than 0", field=env.prefix + name
                )
        return settings


class GrpcServer:
    """Starts, gets ready and stops.

    `register` adds the servicers; `services` are their full names, for health and reflection.
    `never_ready`: those of them that this server refuses. `end_waits` answers calls that wait for
    another event; otherwise `stop` waits for them the whole grace.
    """

    def __init__(
        self,
        register: Register,
        services: Sequence[str],
        callers: CallerSettings | None = None,
        end_waits: Callable[[], None] = lambda: None,
        never_ready: Collection[str] = (),
    ) -> None:
        callers = callers or CallerSettings()
        self._services = tuple(services)
        self._health = _Health()
        self._end_waits = end_waits
        self._never_ready = frozenset(never_ready)
        self._reading = Reading(callers.silence_s)
        interceptors = [Calls(), Failures(), Turnstile(callers.most_calls), self._reading]
        self._server = Listener(interceptors, services, callers.idle_s)
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (
            *self._services,
            health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
            reflection.SERVICE_NAME,
        )
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listens, not yet ready, and returns the port; 0 picks a free one.

        Raises Unavailable: the port is taken or out of range.
        """
        await self.set_ready(False)
        try:
            bound: int = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise Unavailable(
                f"gRPC port {port} on {host} can't be used (taken by another process?): {error}"
            ) from error
        if port and bound != port:
            raise Unavailable(f"gRPC port {port} is out of range: give 1 to 65535")
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """Sets the health that checks and round-robin clients see."""
        for name in ("", *self._services):
            state = (
                health_pb2.HealthCheckResponse.SERVING
                if ready and name not in self._never_ready
                else health_pb2.HealthCheckResponse.NOT_SERVING
            )
            await self._health.set(name, state)

    async def announce_shutdown(self) -> None:
        """Sets health to NOT_SERVING for good; calls are still accepted."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Refuses new calls and waits up to `grace_s` for those under way."""
        await self.announce_shutdown()
        self._health.end_watches()
        self._end_waits()
        self._reading.leave()
        await self._server.stop(grace_s)
