"""Our grpc.aio server, run inside a BentoML worker: health, reflection, errors as statuses, metrics, a clean shutdown."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from google.rpc import code_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status
from prometheus_client import Counter, Histogram

from services.core.errors import MpaError, Overloaded, Unavailable
from services.rpc.limits import MESSAGE_OPTIONS
from services.rpc.messages import apart
from services.rpc.status import to_status
from services.rpc.streams import Requests

_log = logging.getLogger(__name__)
_OPTIONS: list[tuple[str, int]] = [
    *MESSAGE_OPTIONS,
    # Two servers must not share a port: control calls would reach either.
    ("grpc.so_reuseport", 0),
    # A default server hangs up on clients that ping while a training runs for hours.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
]
_CALLS = Counter("mpa_grpc_calls", "gRPC calls by method and status, items of bulk streams included", ["method", "code"])
_SECONDS = Histogram("mpa_grpc_seconds", "Duration of gRPC calls in seconds", ["method"])

Register = Callable[[grpc.aio.Server], None]


class _Health(health_aio.HealthServicer):
    """Ends open Watch calls on shutdown; otherwise each holds `server.stop` for its whole grace."""

    def __init__(self) -> None:
        super().__init__()
        self._watches: set[asyncio.Task[Any]] = set()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]) -> None:
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


class _Errors(grpc.aio.ServerInterceptor):
    """Turns MpaError into its status, counts and times calls, and sheds unary calls beyond `max_in_flight`."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._in_flight = 0
        self._streams: set[Requests[Any]] = set()

    def end_streams(self) -> None:
        """Bidirectional streams that are open take no more requests: a client in bulk would never end its own."""
        for stream in self._streams:
            stream.end()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any]]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        handler = await continuation(details)
        method = details.method
        if handler is None or method.startswith(("/grpc.health.", "/grpc.reflection.")):
            return handler
        if handler.response_streaming:
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream
            wrap = grpc.stream_stream_rpc_method_handler if handler.request_streaming else grpc.unary_stream_rpc_method_handler
            wrapped: Any = self._streaming(inner, method)
        else:
            inner = handler.stream_unary if handler.request_streaming else handler.unary_unary
            wrap = grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
            wrapped = self._unary(inner, method)
        return wrap(wrapped, handler.request_deserializer, handler.response_serializer)

    def _unary(self, inner: Any, method: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started = time.perf_counter()
            code = "OK"
            try:
                if self._in_flight >= self._max_in_flight:
                    raise Overloaded(
                        f"{self._in_flight} calls are under way, as many as this service takes", retry_after_s=0.25
                    )
                self._in_flight += 1
                try:
                    return await inner(request, context)
                finally:
                    self._in_flight -= 1
            except MpaError as error:
                code = rpc_status.to_status(to_status(error)).code.name
                await _abort(context, error)
            except grpc.aio.AbortError:
                code = "ABORTED_BY_HANDLER"
                raise
            finally:
                _CALLS.labels(method, code).inc()
                _SECONDS.labels(method).observe(time.perf_counter() - started)

        return call

    def _streaming(self, inner: Any, method: str) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            stream = Requests(request) if isinstance(request, AsyncIterator) else None
            if stream is not None:
                self._streams.add(stream)
            try:
                async for response in inner(stream or request, context):
                    if stream is not None:
                        codes = [_item_code(item) for item in apart(response)]
                        for code in set(codes):
                            _CALLS.labels(method, code).inc(codes.count(code))
                    yield response
            except MpaError as error:
                await _abort(context, error)
            finally:
                if stream is not None:
                    self._streams.discard(stream)
                _CALLS.labels(method, "STREAM").inc()

        return call


def _item_code(item: Any) -> str:
    """Of one answer in a bidirectional stream, which counts as a call."""
    return str(code_pb2.Code.Name(item.error.code)) if item.HasField("error") else "OK"


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: MpaError) -> None:
    status = rpc_status.to_status(to_status(error))
    trailing = list(status.trailing_metadata)
    if isinstance(error, Overloaded):
        trailing.append(("grpc-retry-pushback-ms", str(int(error.retry_after_s * 1000))))
    await context.abort(status.code, status.details, tuple(trailing))


class GrpcServer:
    """Start, mark ready, stop. `register` adds the servicers; `services` are their full names, for health and reflection."""

    def __init__(self, register: Register, services: Sequence[str], *, max_in_flight: int = 1024) -> None:
        self._services = tuple(services)
        self._health = _Health()
        self._calls = _Errors(max_in_flight)
        self._server = grpc.aio.server(interceptors=[self._calls], options=_OPTIONS)
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*self._services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, host: str, port: int) -> int:
        """Listens, not yet ready; port 0 picks a free one. Returns the port. Raises Unavailable: port taken or out of range."""
        await self.set_ready(False)
        try:
            bound: int = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise Unavailable(f"gRPC port {port} on {host} can't be used (taken by another process?): {error}") from error
        if port and bound != port:
            raise Unavailable(f"gRPC port {port} is out of range: give 1 to 65535")
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """What health checks and round-robin clients see."""
        state = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, state)

    async def announce_shutdown(self) -> None:
        """From now on health says NOT_SERVING, for good; calls are still taken."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Takes no new calls; lets those under way end within `grace_s`."""
        await self.announce_shutdown()
        self._health.end_watches()
        self._calls.end_streams()
        await self._server.stop(grace_s)
