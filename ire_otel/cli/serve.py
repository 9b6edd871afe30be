"""`ire-otel serve`: receive the runs of other processes and machines over OTLP."""

import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

from ire_otel import settings
from ire_otel.cli.mapping import read_mapping
from ire_otel.errors import ConfigurationError

_EXTRA = "grpc", "starlette", "uvicorn", "opentelemetry", "google"
_LARGEST_PORT = 65535


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; beyond loopback a token is needed.")] = "127.0.0.1",
    grpc_port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="Port of OTLP/gRPC; 0: a free one.")] = 4317,
    http_port: Annotated[int, typer.Option(min=0, max=_LARGEST_PORT, help="Port of OTLP/HTTP; 0: a free one.")] = 4318,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the bearer token that senders need; else IRE_OTEL_SERVE_TOKEN.")
    ] = None,
    max_body: Annotated[int, typer.Option(min=1, max=32, metavar="MIB", help="Largest request taken.")] = 20,
    max_inbox: Annotated[int, typer.Option(min=1, metavar="MIB", help="Most spans kept on the disk.")] = 4096,
    foreign: Annotated[
        bool, typer.Option("--foreign", help="Take traces of other agents, too, each as a run.")
    ] = False,
    mapping: Annotated[
        Path | None, typer.Option(help="With --foreign: TOML file that says how (docs/exporters.md).")
    ] = None,
) -> None:
    """Receive spans over OTLP (gRPC and HTTP) and write the runs that they belong to."""
    if mapping is not None and not foreign:
        raise typer.BadParameter("it says how others' traces become runs: add --foreign", param_hint="'--mapping'")
    try:
        from ire_otel.server.receiver import MIB, Limits
        from ire_otel.server.serving import Listening
        from ire_otel.server.serving import serve as receive
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise ConfigurationError(f"`ire-otel serve` needs {error.name}; install ire-otel[serve]") from error
    _log_plainly()
    listening = Listening(
        host=host,
        grpc_port=grpc_port,
        http_port=http_port,
        token=settings.serve_token(token_file),
        limits=Limits(body=max_body * MIB, inbox=max_inbox * MIB),
        mapping=read_mapping(mapping) if foreign else None,
    )
    chosen = settings.load()
    receive(chosen, listening, lambda where: typer.echo(f"listening: {where}; runs go to {chosen.brain_dir}"))


def _log_plainly() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("ire_otel").setLevel(logging.INFO)
