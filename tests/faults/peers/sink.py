"""A receiver of OTLP over HTTP on loopback, and which decisions it got in which trace."""

import gzip
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.faults.peers.work import numbers_in

_INFO: Final = b'{"project_name": "peers", "project_url": "http://127.0.0.1/"}'
"""What Logfire asks its backend for at the start."""


class Sink:
    """Listens between `open` and `close`; opened again, it has the same address."""

    def __init__(self, delay: float = 0.0) -> None:
        """`delay` is what every request takes, in seconds."""
        self.bodies: list[bytes] = []
        """What was sent; read only afterwards, so that a request takes the sink no time but its delay."""
        self.delay = delay
        self.port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """The address, known once it has been opened."""
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        """Begin to listen."""
        sink = self

        class Receiver(_Receiver):
            def receive(self, body: bytes) -> None:
                time.sleep(sink.delay)
                sink.bodies.append(body)

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Receiver)
        # `close` must wait for the requests that a killed process has sent.
        self._server.daemon_threads = False
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,)).start()

    def received(self) -> dict[int, str]:
        """Give the decisions that arrived: their number, and the trace they were sent in."""
        return {
            number: span.trace_id.hex()
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            for number in numbers_in(span.SerializeToString())
        }

    def close(self) -> None:
        """Stop listening, after the requests that have arrived."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10

    def handle(self) -> None:
        with suppress(ConnectionError):  # killed processes reset their connections
            super().handle()

    def receive(self, body: bytes) -> None:
        """Take what was sent to a path for traces."""
        raise NotImplementedError

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True  # the sender died on the way
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path.endswith("/v1/traces"):
            self.receive(body)
        self._answer(b"", "application/x-protobuf")  # an empty message: everything was accepted

    def do_GET(self) -> None:
        self._answer(_INFO, "application/json")

    def _answer(self, content: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name that http.server gives it
        """Say nothing."""
