"""`ire-otel runs --live`: the runs that go on, here by their journals, elsewhere by their rows."""

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.text import Text

from ire_otel import live_runs
from ire_otel.cli import terminal
from ire_otel.cli.runs import fitted_table, minute
from ire_otel.errors import StoreError
from ire_otel.model import TraceDocument
from ire_otel.settings import Settings

if TYPE_CHECKING:
    from ire_otel.query import TraceResult


class LiveRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run that goes on."""

    trace_id: str
    started_at: str
    """ISO 8601 UTC with microseconds."""
    project_name: str | None
    stage: str | None
    """The stage that it is in."""
    decisions: int | None
    """How many it has taken so far; None where only its row is known."""
    since_seconds: float
    """How long it has gone on."""
    query: str | None
    here: bool
    """Whether its process is on this machine."""


def print_live_runs(
    chosen: Settings,
    ask: "Callable[..., list[TraceResult]]",
    wanted: Mapping[str, str | None],
    earliest: datetime | None,
    limit: int,
    *,
    as_json: bool,
) -> None:
    """Print the runs that go on, newest first.

    ask: lists rows of the wanted runs by `status`. wanted: intent, domain and project that a run must have, None: any.
    """
    rows = [_of_document(document) for document in _documents(chosen) if _fits(document, wanted, earliest)]
    rows += _elsewhere(chosen, ask)
    rows = sorted(rows, key=lambda row: (row.started_at, row.trace_id), reverse=True)[:limit]
    if as_json:
        terminal.print_json(rows)
    elif rows:
        console = terminal.console()
        console.print(fitted_table([_cells(row) for row in rows], console.width))
    else:
        typer.echo("no run goes on")


def _documents(chosen: Settings) -> Iterator[TraceDocument]:
    for run in live_runs.live_runs(chosen.state_dir):
        seen = live_runs.look(chosen.state_dir, run)
        if seen.state == "open" and seen.document is not None:
            yield seen.document


def _fits(document: TraceDocument, wanted: Mapping[str, str | None], earliest: datetime | None) -> bool:
    said = {
        "intent": document.run.intent,
        "domain": document.run.domain,
        "project": document.project_name,
    }
    if any(value is not None and said[name] != value for name, value in wanted.items()):
        return False
    return earliest is None or terminal.moment(document.run.started_at) >= earliest.astimezone()


def _elsewhere(chosen: Settings, ask: "Callable[..., list[TraceResult]]") -> Iterator[LiveRow]:
    """Give the runs that go on by their rows; what the journals of this machine hold, those know better."""
    try:
        found = ask(status="in_progress")
    except StoreError as error:
        typer.echo(f"ire-otel: {' '.join(str(error).split())}; only runs of this machine are listed", err=True)
        return
    here = live_runs.began_here(chosen.state_dir, {result.trace_id for result in found})
    for result in found:
        if result.trace_id not in here:
            yield LiveRow(
                trace_id=result.trace_id,
                started_at=result.started_at,
                project_name=result.project_name,
                stage=result.current_stage,
                decisions=None,
                since_seconds=_since(result.started_at),
                query=result.query,
                here=False,
            )


def _of_document(document: TraceDocument) -> LiveRow:
    return LiveRow(
        trace_id=document.trace_id,
        started_at=document.run.started_at,
        project_name=document.project_name,
        stage=document.open_stage,
        decisions=sum(len(stage.decisions) for stage in document.stages.values()),
        since_seconds=_since(document.run.started_at),
        query=document.run.query,
        here=True,
    )


def _since(stamp: str) -> float:
    return round(max(0.0, time.time() - terminal.moment(stamp).timestamp()), 3)


def _cells(row: LiveRow) -> dict[str, Text]:
    return {
        "trace_id": Text(row.trace_id),
        "started": Text(minute(row.started_at)),
        "project": Text(terminal.one_line(row.project_name)),
        "stage": Text(terminal.one_line(row.stage) or "–"),
        "decisions": Text("–" if row.decisions is None else str(row.decisions), justify="right"),
        "since": Text(terminal.seconds(row.since_seconds)),
        "query": Text(terminal.one_line(row.query)),
    }
