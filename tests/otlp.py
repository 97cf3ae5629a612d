"""A receiver of OpenTelemetry spans over gRPC, in this process."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc


@dataclass(frozen=True)
class ReceivedSpan:
    """A span as it was sent."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    attributes: dict
    text: str
    """All of it, for searches."""


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps every span."""

    def __init__(self):
        self.spans = []
        self.endpoint = ""

    def Export(self, request, context):
        for sent in request.resource_spans:
            resource = {each.key: each.value.string_value for each in sent.resource.attributes}
            for scope in sent.scope_spans:
                self.spans += [
                    _span(resource.get("service.name", ""), span) for span in scope.spans
                ]
        return trace_service_pb2.ExportTraceServiceResponse()

    def environment(self, **further):
        """Variables of a process that sends its spans here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **further,
        }

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def ancestors(self, span):
        """Names of the spans above one, the nearest first."""
        found = {each.id: each for each in self.spans}
        names = []
        while span := found.get(span.parent):
            names.append(f"{span.service}: {span.name}")
        return names


def _span(service, span):
    attributes = {
        each.key: each.value.string_value or each.value.int_value for each in span.attributes
    }
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    return ReceivedSpan(service, span.name, *ids, attributes, str(span))


@contextmanager
def receiving():
    """A running receiver."""
    receiver = Receiver()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    receiver.endpoint = f"http://127.0.0.1:{port}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(None).wait()
