"""Traces by OpenTelemetry, set by its own variables; off without OTEL_EXPORTER_OTLP_ENDPOINT.

A span has names, counts and seconds. It never has a question, an image, a key, or the message of an
error, which may quote its caller.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import wraps
from typing import Any, ParamSpec, Protocol, TypeVar

from services.core import extras
from services.core.errors import InvalidInput, MpaError
from services.core.usage import Usage

HEADER = "traceparent"
"""The HTTP header and the key of gRPC metadata (W3C Trace Context)."""
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
GRPC, HTTP = "grpc", "http/protobuf"
LONGEST_PARENT = 64
_tracer: Any = None

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TraceSpan(Protocol):
    """One piece of work in a trace."""

    def set_attribute(self, key: str, value: Any) -> None: ...

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None: ...


class _NoSpan:
    def set_attribute(self, key: str, value: Any) -> None:
        """Does nothing."""

    def add_event(self, name: str, attributes: Mapping[str, Any] | None = None) -> None:
        """Does nothing."""


NO_SPAN: TraceSpan = _NoSpan()


def start(service: str) -> None:
    """Begins to trace this process, if the variables ask for it.

    Raises InvalidInput: a library is missing, or the protocol is unknown.
    """
    global _tracer
    if _tracer is not None or not endpoint():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise _missing(error) from error
    os.environ.setdefault(_PROTOCOLS[0], protocol())  # the only one that vLLM reads
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": service}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(_exporter()))
    trace.set_tracer_provider(provider)
    _tracer = provider.get_tracer("services")


def endpoint() -> str:
    """Address for spans, as the exporters take it; "" if traces are off."""
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return ""
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return ""
    for_traces, for_all = (os.environ.get(name, "") for name in _ENDPOINTS)
    if for_traces or not for_all or protocol() == GRPC:
        return for_traces or for_all
    return f"{for_all.rstrip('/')}/v1/traces"


def protocol() -> str:
    """Protocol of the exporter. Raises InvalidInput: an unknown one."""
    given = next((os.environ[name] for name in _PROTOCOLS if os.environ.get(name)), GRPC)
    if given not in (GRPC, HTTP):
        raise InvalidInput(
            f"{_PROTOCOLS[1]} is {given!r}: give {GRPC} or {HTTP}", field=_PROTOCOLS[1]
        )
    return given


def _exporter() -> Any:
    try:
        if protocol() == HTTP:
            from opentelemetry.exporter.otlp.proto.http import trace_exporter as over_http

            return over_http.OTLPSpanExporter()
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as over_grpc

        return over_grpc.OTLPSpanExporter()
    except ImportError as error:
        raise _missing(error) from error


def _missing(error: ImportError) -> InvalidInput:
    return InvalidInput(
        f"OTEL_EXPORTER_OTLP_ENDPOINT asks for traces, which need {error.name}: "
        f"{extras.install('tracing')}, or unset the variable",
        reason="NOT_INSTALLED",
    )


def span(
    name: str, parent: str = "", **attributes: str | int | float
) -> AbstractContextManager[TraceSpan]:
    """A span around this context, below the current one, or below `parent`, a traceparent.

    A name of "" makes none. An error leaves its reason.
    """
    return nullcontext(NO_SPAN) if _tracer is None or not name else _span(name, parent, attributes)


@contextmanager
def _span(
    name: str, parent: str, attributes: Mapping[str, str | int | float]
) -> Iterator[TraceSpan]:
    with _tracer.start_as_current_span(
        name,
        context=_context(parent),
        attributes={f"mpa.{key}": value for key, value in attributes.items()},
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            reason = error.reason if isinstance(error, MpaError) else type(error).__name__
            fail(current, reason)
            raise


def inner(name: str, **attributes: str | int | float) -> AbstractContextManager[TraceSpan]:
    """A span below the current one; none without it."""
    return span(name if traceparent() else "", "", **attributes)


def fail(current: TraceSpan, reason: str) -> None:
    """Marks a span as failed."""
    if _tracer is not None and current is not NO_SPAN:
        from opentelemetry.trace import Status, StatusCode

        current.set_attribute("error.type", reason)
        current.set_status(Status(StatusCode.ERROR))  # type: ignore[attr-defined]


def _context(parent: str) -> Any:
    """Context of a caller's span; None, the current one, if its text is empty or no traceparent."""
    if not 0 < len(parent) <= LONGEST_PARENT:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({HEADER: parent})


def stage(
    name: str,
) -> Callable[[Callable[Arguments, Awaitable[Result]]], Callable[Arguments, Awaitable[Result]]]:
    """Decorator: a span around each call of an asynchronous function."""

    def around(
        work: Callable[Arguments, Awaitable[Result]],
    ) -> Callable[Arguments, Awaitable[Result]]:
        @wraps(work)
        async def traced(*given: Arguments.args, **named: Arguments.kwargs) -> Result:
            with span(name):
                return await work(*given, **named)

        return traced

    return around


def note(**attributes: str) -> None:
    """Notes attributes of the current span."""
    if _tracer is not None:
        from opentelemetry import trace

        for key, value in attributes.items():
            trace.get_current_span().set_attribute(f"mpa.{key}", value)


def used(current: TraceSpan, usage: Usage) -> None:
    """Notes the tokens of a reply."""
    current.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
    current.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)


def traceparent() -> str:
    """The current span for another process; "" without one."""
    if _tracer is None:
        return ""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER, "")


def headers() -> dict[str, str] | None:
    """The current span as headers; None without one."""
    parent = traceparent()
    return {HEADER: parent} if parent else None


def trace_id() -> str:
    """The current trace, as 32 hex digits; "" without one."""
    parent = traceparent()
    return parent.split("-")[1] if parent else ""
