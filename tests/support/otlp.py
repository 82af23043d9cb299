"""An OTLP/gRPC receiver that keeps what arrives, for asserting on what really crossed a wire."""

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass
class Received:
    """What arrived so far.

    Attributes:
        endpoint: where to send to.
        spans: (service.name, span) in order of arrival.
        metrics: (service.name, metric) in order of arrival.
    """

    endpoint: str
    spans: list[tuple[str, Span]] = field(default_factory=list)
    metrics: list[tuple[str, Metric]] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def traces(self) -> dict[bytes, set[str]]:
        """The services that took part in each trace."""
        with self.changed:
            result: dict[bytes, set[str]] = {}
            for service, span in self.spans:
                result.setdefault(span.trace_id, set()).add(service)
            return result

    def wait_for(self, condition: Any, timeout: float = 30.0) -> bool:
        """Wait until the condition holds, looking again whenever something arrives."""
        with self.changed:
            return bool(self.changed.wait_for(condition, timeout))


def _service(resource: Any) -> str:
    return next((a.value.string_value for a in resource.attributes if a.key == "service.name"), "")


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: Any, context: Any) -> Any:
        with self._received.changed:
            for group in request.resource_spans:
                name = _service(group.resource)
                self._received.spans += [(name, span) for scope in group.scope_spans for span in scope.spans]
            self._received.changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    def Export(self, request: Any, context: Any) -> Any:
        with self._received.changed:
            for group in request.resource_metrics:
                name = _service(group.resource)
                self._received.metrics += [(name, m) for scope in group.scope_metrics for m in scope.metrics]
            self._received.changed.notify_all()
        return metrics_service_pb2.ExportMetricsServiceResponse()


@contextmanager
def otlp_receiver() -> Iterator[Received]:
    """Receive on a free port until the block ends."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    port = server.add_insecure_port("127.0.0.1:0")
    received = Received(f"http://127.0.0.1:{port}")
    # These stubs ship no types.
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(received), server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(received), server)  # type: ignore[no-untyped-call]
    server.start()
    try:
        yield received
    finally:
        server.stop(None).wait()
