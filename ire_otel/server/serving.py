"""Both servers on one event loop, from the first listening to the graceful stop."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import uvicorn
from grpc.aio import Server as GrpcServer

from ire_otel.errors import ConfigurationError
from ire_otel.foreign_runs import RunMapping
from ire_otel.server import over_grpc, over_http
from ire_otel.server.access import checked_address
from ire_otel.server.assembler import Assembler
from ire_otel.server.receiver import Limits, Receiver
from ire_otel.settings import Settings
from ire_otel_exporters.research import ResearchExporter

logger = logging.getLogger("ire_otel")

IN_FLIGHT_TIMEOUT: Final = 5.0
"""Seconds that a stop waits for requests under way."""

KEEP_ALIVE: Final = 75
"""Seconds for which a connection may be idle: well beyond the five after which senders mostly send the next batch."""


class Listening(msgspec.Struct, frozen=True, kw_only=True):
    """Where to listen, and how much to take."""

    host: str = "127.0.0.1"
    grpc_port: int = 4317
    """0: any free one."""
    http_port: int = 4318
    token: str | None = None
    limits: Limits = Limits()
    mapping: RunMapping | None = None
    """How traces of others become runs; None: they do not."""


class _HttpServer(uvicorn.Server):
    """Signals are ours: they stop both servers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield


def serve(chosen: Settings, listening: Listening, announce: Callable[[str], None]) -> None:
    """Receive until SIGTERM or SIGINT; announce: told where, once it listens. Raises ConfigurationError, InboxError."""
    address = checked_address(listening.host, listening.token)
    exporter = ResearchExporter(chosen)
    assembler = Assembler(chosen, exporter, listening.limits.inbox, listening.mapping)
    with _listening(address, listening.http_port) as http_socket:
        try:
            assembler.start()
            asyncio.run(_serve(listening, address, http_socket, assembler, announce))
        finally:
            assembler.stop(chosen.shutdown_timeout)
            exporter.shutdown()


async def _serve(
    listening: Listening,
    address: str,
    http_socket: socket.socket,
    assembler: Assembler,
    announce: Callable[[str], None],
) -> None:
    receiver = Receiver(assembler, listening.limits, listening.token)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    rpc = over_grpc.server(receiver)
    grpc_port = _bind(rpc, address, listening.grpc_port)
    http = _HttpServer(
        uvicorn.Config(
            over_http.application(receiver),
            log_config=None,
            access_log=False,
            ws="none",
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=int(IN_FLIGHT_TIMEOUT),
        )
    )
    await rpc.start()
    answering = asyncio.create_task(http.serve(sockets=[http_socket]))
    host = f"[{address}]" if ":" in address else address
    announce(f"OTLP/gRPC on {host}:{grpc_port}, OTLP/HTTP on http://{host}:{http_socket.getsockname()[1]}/v1/traces")
    await stop.wait()
    receiver.stopping = True
    logger.info("stopping: requests under way are answered, what has ended is written, the rest stays in the inbox")
    http.should_exit = True
    await asyncio.gather(rpc.stop(IN_FLIGHT_TIMEOUT), answering)
    receiver.close()


@contextmanager
def _listening(address: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        made = socket.create_server((address, port), family=family, backlog=512, dualstack_ipv6=address == "::")
    except OSError as error:
        raise _unusable(address, port, "--http-port", str(error.strerror)) from error
    with made:
        yield made


def _bind(rpc: GrpcServer, address: str, port: int) -> int:
    host = f"[{address}]" if ":" in address else address
    try:
        return rpc.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise _unusable(address, port, "--grpc-port", "it is in use, or not allowed") from error


def _unusable(address: str, port: int, option: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"cannot listen on {address} port {port}: {reason}; choose another with {option}")
