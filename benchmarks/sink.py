"""A local backend for all contenders that send, in a process of its own: it counts the spans it gets and keeps nothing.

It prints its URL when it is ready; GET /received answers with the number of spans so far.
"""

import gzip
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.request import urlopen

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

_ACCEPTED: Final = ExportTraceServiceResponse().SerializeToString()
_PROTOBUF: Final = "application/x-protobuf"
_JSON: Final = "application/json"
_RECEIVED: Final = "/received"
_INFO: Final = {
    # What LangSmith asks for its server's abilities.
    "/info": b'{"version": "0.12.0", "batch_ingest_config": {"use_multipart_endpoint": true, "size_limit": 100, '
    b'"size_limit_bytes": 20971520, "scale_up_qsize_trigger": 1000, "scale_up_nthreads_limit": 16, '
    b'"scale_down_nempty_trigger": 4}, "instance_flags": {"zstd_compression_enabled": true}}',
}
_ANY_INFO: Final = b'{"project_name": "benchmark", "project_url": "http://127.0.0.1/"}'
"""What Logfire asks its backend for."""
_LANGSMITH_RUN: Final = re.compile(rb'name="post\.[0-9a-f-]{36}"')


def received(sink: str) -> int:
    """Ask a sink how many spans it has got."""
    with urlopen(f"{sink}{_RECEIVED}") as answer:  # noqa: S310 # the sink's own http URL
        return int(answer.read())


class _Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    spans = 0

    def do_POST(self) -> None:
        body = self._body()
        if self.path.endswith("/v1/traces"):
            self._answer(200, _ACCEPTED, _PROTOBUF)
            _Receiver.spans += sum(
                len(scope.spans)
                for resource in ExportTraceServiceRequest.FromString(_decoded(body, self._encoding)).resource_spans
                for scope in resource.scope_spans
            )
        elif self.path.endswith("/ingestion"):
            self._answer(207, b'{"successes": [], "errors": []}', _JSON)
        else:
            self._answer(202, b"{}", _JSON)
            _Receiver.spans += len(_LANGSMITH_RUN.findall(_decoded(body, self._encoding)))

    def do_GET(self) -> None:
        if self.path == _RECEIVED:
            self._answer(200, str(_Receiver.spans).encode(), "text/plain")
        else:
            self._answer(200, _INFO.get(self.path, _ANY_INFO), _JSON)

    @property
    def _encoding(self) -> str:
        return str(self.headers.get("Content-Encoding", ""))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while length := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, status: int, content: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # the name that http.server gives it
        """Say nothing."""


def _decoded(body: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        import zstandard  # pyright: ignore[reportMissingImports] # comes with LangSmith

        plain: bytes = zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).read()
        return plain
    return body


def main() -> None:
    """Serve until stdin ends, as it does when whoever started this process ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
