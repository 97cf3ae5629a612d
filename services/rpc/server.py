"""The grpc.aio server inside a BentoML worker: health, reflection, interceptors, clean shutdown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from services.core.errors import InvalidInput, Unavailable
from services.environment import Environment
from services.rpc.access.access import Access
from services.rpc.interceptors.auditing import Auditing
from services.rpc.interceptors.authorization import Authorization
from services.rpc.interceptors.calls import Calls
from services.rpc.interceptors.failures import Failures
from services.rpc.interceptors.reading import Reading
from services.rpc.interceptors.silence import WHILE_LEAVING_S
from services.rpc.interceptors.turnstile import PER_CALLER, Turnstile
from services.rpc.listener import IDLE_S, Listener

SILENCE_S = 300.0
_HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name

Register = Callable[[grpc.aio.Server], None]


class _States(asyncio.Queue[health_pb2.HealthCheckResponse | None]):
    """States for one watch; None ends it. The servicer takes it for the caller's context."""

    async def write(self, state: health_pb2.HealthCheckResponse) -> None:
        self.put_nowait(state)


class _Health(health_aio.HealthServicer):
    """Health with List, which grpcio's own servicer lacks.

    Ends open Watch calls on shutdown; otherwise `server.stop` waits for them the whole grace. That
    servicer also holds a lock while it writes to a watch: a caller that reads nothing would delay
    every change of state, and the shutdown.
    """

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[Any]] = set()

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        states = _States()
        watch = asyncio.create_task(super().Watch(request, states))
        watch.add_done_callback(lambda _: states.put_nowait(None))
        self._watches.add(watch)
        try:
            while (state := await states.get()) is not None:
                yield state
        finally:
            self._watches.discard(watch)
            watch.cancel()

    async def List(
        self,
        request: health_pb2.HealthListRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> health_pb2.HealthListResponse:
        found = {
            name: health_pb2.HealthCheckResponse(status=status)
            for name, status in self._server_status.items()
        }
        return health_pb2.HealthListResponse(statuses=found)

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
    leaving_s: float = WHILE_LEAVING_S
    """Seconds that a request may send nothing in a shutdown."""
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
    another event; otherwise `stop` waits for them the whole grace. `access` decides who may call.
    `control_services`: those of `services` that leave the public port if there is another.
    """

    def __init__(
        self,
        register: Register,
        services: Sequence[str],
        callers: CallerSettings | None = None,
        end_waits: Callable[[], None] = lambda: None,
        never_ready: Collection[str] = (),
        access: Access | None = None,
        control_services: Collection[str] = (),
    ) -> None:
        callers = callers or CallerSettings()
        self._access = access or Access()
        self._register = register
        self._services = tuple(services)
        self._health = _Health()
        self._end_waits = end_waits
        self._never_ready = frozenset(never_ready)
        self._control_services = frozenset(control_services)
        self._reading = Reading(callers.silence_s, callers.leaving_s)
        self._interceptors = [
            Calls(),
            Failures(),
            Authorization(self._access),
            Turnstile(callers.most_calls),
            self._reading,
            *([Auditing(self._access.audit)] if self._access.audit else []),
        ]
        self._idle_s = callers.idle_s
        self._listeners: list[Listener] = []
        self._watch: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, control_port: int = 0) -> int:
        """Listens, not yet ready, and returns the port; 0 picks a free one.

        With a `control_port`, all services are there, and `port` has no control calls. Raises
        Unavailable: a port is taken or out of range; InvalidInput: strangers could call.
        """
        self._access.settings.require_guarded(host.strip("[]"))
        await self.set_ready(False)
        bound = self._listen(host, port, without=self._control_services if control_port else ())
        if control_port:
            self._listen(host, control_port)
        for listener in self._listeners:
            await listener.start()
        self._watch = asyncio.create_task(self._access.watch())
        return bound

    def _listen(self, host: str, port: int, without: Collection[str] = ()) -> int:
        listener = Listener(self._interceptors, self._services, self._idle_s, without)
        self._register(listener)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, listener)
        if self._access.settings.reflects(host.strip("[]")):
            ours = [name for name in self._services if name not in without]
            reflection.enable_server_reflection([*ours, _HEALTH, reflection.SERVICE_NAME], listener)
        certificates = self._access.certificates
        try:
            bound: int = (
                listener.add_secure_port(f"{host}:{port}", certificates.credentials())
                if certificates
                else listener.add_insecure_port(f"{host}:{port}")
            )
        except RuntimeError as error:
            raise Unavailable(
                f"gRPC port {port} on {host} can't be used (taken by another process?): {error}"
            ) from error
        if port and bound != port:
            raise Unavailable(f"gRPC port {port} is out of range: give 1 to 65535")
        self._listeners.append(listener)
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
        await asyncio.gather(*(listener.stop(grace_s) for listener in self._listeners))
        if self._watch is not None:
            self._watch.cancel()
