"""A local OTLP/HTTP receiver, in a process of its own, that counts the spans it gets and keeps nothing.

It prints its URL when it is ready; GET answers with the number of spans so far.
"""

from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_ACCEPTED = ExportTraceServiceResponse().SerializeToString()


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    spans = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(_ACCEPTED, "application/x-protobuf")
        _Receiver.spans += sum(
            len(scope.spans)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
        )

    def do_GET(self) -> None:
        self._answer(str(_Receiver.spans).encode(), "text/plain")

    def _answer(self, content: bytes, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name that http.server gives it
        """Say nothing."""


def main() -> None:
    """Serve until the process is ended."""
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
