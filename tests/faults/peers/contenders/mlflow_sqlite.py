"""MLflow Tracing with its default kind of store, a SQLite file; a decision is a span event."""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final

import mlflow  # pyright: ignore[reportMissingImports] # an optional peer
from mlflow.entities import SpanEvent  # pyright: ignore[reportMissingImports] # an optional peer
from mlflow.tracing import (  # pyright: ignore[reportMissingImports] # an optional peer
    get_tracing_context_headers_for_http_request,
    set_tracing_context_from_http_request_headers,
)

from tests.faults.peers.work import numbers_in

PACKAGES: Final = ("mlflow", "opentelemetry-sdk", "sqlalchemy")
RECOVERY: Final[tuple[str, ...]] = ()

_STORE: Final = "mlflow.db"
_stage: ContextVar[Any] = ContextVar("stage")
"""The open span: while the database is away MLflow gives one that records nothing, and has no current span."""


def start(sink_url: str, folder: Path) -> None:
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri(f"sqlite:///{folder / _STORE}")


def run(number: int) -> Any:
    return mlflow.start_span("run", attributes={"number": number})


@contextmanager
def stage(name: str) -> Iterator[None]:
    with mlflow.start_span(name) as span:
        before = _stage.set(span)
        yield
        _stage.reset(before)


def decide(text: str) -> None:
    _stage.get().add_event(SpanEvent("decision", attributes={"why": text, "confidence": 0.8}))


def carrier() -> Mapping[str, str]:
    return dict(get_tracing_context_headers_for_http_request())


def attached(carrier: Mapping[str, str]) -> Any:
    return set_tracing_context_from_http_request_headers(dict(carrier))


def flush() -> None:
    mlflow.flush_trace_async_logging()


def kept(folder: Path, received: Mapping[int, str]) -> Mapping[int, str]:
    store = folder / _STORE
    if not store.exists():
        return received
    with closing(sqlite3.connect(store)) as database:
        spans = database.execute("SELECT trace_id, content FROM spans").fetchall()
    return {number: trace_id for trace_id, content in spans for number in numbers_in(content.encode())}
