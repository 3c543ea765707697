"""A collector of spans for tests: OTLP over HTTP, as OpenTelemetry's own takes it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

Span = Any


class Collector(ThreadingHTTPServer):
    """Keeps the spans it was sent; `status` is what it answers, and while `answers` is not set it does not."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.answers, self.asked = threading.Event(), threading.Event()
        self.answers.set()
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.schemas: set[str] = set()
        self.headers: list[dict[str, str]] = []

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}/v1/traces"

    def take(self, body: bytes) -> None:
        """What one request holds."""
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(attributes(group.resource))
            for scope in group.scope_spans:
                self.schemas.add(scope.schema_url)
                self.spans += scope.spans

    def named(self, name: str) -> list[Span]:
        """The spans of this operation (messaging.operation.name)."""
        return [span for span in self.spans if attributes(span)["messaging.operation.name"] == name]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.answers.wait()
        self.server.headers.append({name.lower(): told for name, told in self.headers.items()})
        if self.server.status == 200:
            self.server.take(body)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def attributes(owner: Any) -> dict[str, Any]:
    """The attributes of a span or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in owner.attributes}


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """A collector that is closed at the end."""
    made = Collector()
    serving = threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True)
    serving.start()
    try:
        yield made
    finally:
        made.answers.set()
        made.shutdown()
        serving.join()
        made.server_close()
