"""grpc.aio's server with limits for its C core and a guard against one of its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from grpc._cython import cygrpc
from grpc.aio import _server

from services.rpc.limits import MESSAGE_OPTIONS

MAX_CONNECTIONS = 1024
STREAMS_PER_CONNECTION = 256
"""Also the limit of a connection's calls that the core holds. A caller that opens and resets calls
faster than they are accepted is refused, which bounds the wait of other callers."""
IDLE_S = 60.0
"""How long a connection without an open call stays, so that idle ones leave room for others."""
PENDING_CALLS = 2 * MAX_CONNECTIONS * STREAMS_PER_CONNECTION
"""Calls that wait to be accepted. Beyond this limit the core cancels calls of any caller."""

OPTIONS: list[tuple[str, int]] = [
    *MESSAGE_OPTIONS,
    # Two servers must not share a port: control calls would reach either.
    ("grpc.so_reuseport", 0),
    # A default server hangs up on clients that ping while a training runs for hours.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # The calls of a peer that disappears silently end after this time.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_concurrent_streams", STREAMS_PER_CONNECTION),
    ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
    ("grpc.server.max_pending_requests", PENDING_CALLS),
    ("grpc.server.max_pending_requests_hard_limit", 2 * PENDING_CALLS),
]


class _Core(cygrpc.AioServer):
    """Answers calls of unknown methods without reading their names.

    grpcio decodes the name of an unknown method outside any guard: a name that isn't UTF-8 ends
    the whole server. Known methods are registered and take another path, so every call on this
    path is unknown.
    """

    _loop: asyncio.AbstractEventLoop

    async def _request_call(self) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            call = await super()._request_call()
            refusal = loop.create_task(_refuse(cygrpc._ServicerContext(call, None, None, loop)))
            _refusals.add(refusal)
            refusal.add_done_callback(_refusals.discard)


_refusals: set[asyncio.Task[None]] = set()


async def _refuse(context: Any) -> None:
    try:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "this service has no such method")
    except (grpc.aio.AbortError, cygrpc.ExecuteBatchError):
        return


@dataclass(frozen=True, slots=True)
class _Details(grpc.HandlerCallDetails):
    method: str
    invocation_metadata: tuple[()] = ()


class Listener(_server.Server):
    """A server like grpc.aio.server; all methods of `services` (full names) precede `start`.

    It has none of the services `without`.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        services: Sequence[str],
        idle_s: float = IDLE_S,
        without: Collection[str] = (),
    ) -> None:
        self._services = [name for name in services if name not in without]
        self._without = without
        self._loop = cygrpc.get_working_loop()
        options = [*OPTIONS, ("grpc.max_connection_idle_ms", int(idle_s * 1000))]
        self._server = _Core(self._loop, None, (), list(interceptors), options, None)

    def add_generic_rpc_handlers(
        self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]
    ) -> None:
        """Registers each method, as newer generated code does by itself."""
        pool = descriptor_pool.Default()
        for service in self._services:
            methods = pool.FindServiceByName(service).methods
            names = [f"/{service}/{method.name}" for method in methods]
            for handler in generic_rpc_handlers:
                found = {name: handler.service(_Details(name)) for name in names}
                known = {name: method for name, method in found.items() if method is not None}
                self._server.add_registered_method_handlers(known)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        if service_name not in self._without:
            super().add_registered_method_handlers(service_name, method_handlers)
