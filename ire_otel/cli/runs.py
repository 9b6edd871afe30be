"""`ire-otel runs`: the recorded runs as a table."""

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ire_otel import settings
from ire_otel.cli import terminal
from ire_otel.model import RunStatus

if TYPE_CHECKING:
    from ire_otel.query import TraceResult

_AGO = re.compile(r"(\d{1,5})([dhm])")
_UNIT = {"d": "days", "h": "hours", "m": "minutes"}

_COLUMNS = ("trace_id", "started", "project", "intent", "domain", "report", "status", "gate", "gaps", "took", "query")
_LEFT_OUT = ("domain", "report", "gaps", "took", "started", "intent", "project", "query")
"""Columns that a narrow terminal goes without, the least wanted first."""
_WIDEST = 24
"""Columns of a terminal that any but trace_id and query may take."""
_GAP = 2


def runs(
    intent: Annotated[str | None, typer.Option(help="Only runs of this intent, e.g. validating.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only runs of this domain, e.g. robotics.")] = None,
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs that stand so.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only runs begun since: 7d, 24h, 30m, or a date or time (ISO 8601).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many runs.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the recorded runs, newest first."""
    from ire_otel.query import list_runs

    earliest = None if since is None else starting_from(since, datetime.now(UTC))
    chosen = settings.load()
    found = list_runs(
        chosen.database_url,
        pooler=chosen.pooler,
        intent=intent,
        domain=domain,
        project=project,
        status=status,
        since=earliest,
        limit=limit,
    )
    if as_json:
        terminal.print_json(found)
    elif found:
        console = terminal.console()
        console.print(runs_table(found, console.width))
    else:
        filtered = any((intent, domain, project, status, since))
        typer.echo("no run matches" if filtered else "no runs yet: `ire-otel demo` records one")


def starting_from(since: str, now: datetime) -> datetime:
    """Give the moment that `--since` names: so long before `now`, or an ISO 8601 date or time (UTC unless it says)."""
    try:
        ago = _AGO.fullmatch(since.strip())
        if ago:
            return now - timedelta(**{_UNIT[ago[2]]: int(ago[1])})
        return terminal.moment(since.strip())
    except (ValueError, OverflowError):
        message = f"{since!r} is neither an age like 7d, 24h, 30m nor a date like 2026-02-13"
        raise typer.BadParameter(message, param_hint="'--since'") from None


def runs_table(results: "list[TraceResult]", width: int) -> Table:
    """Give the table of `results` for a terminal of `width` columns, which never cuts the trace_id."""
    rows = [_cells(result) for result in results]
    widths = {name: max(len(name), *(row[name].cell_len for row in rows)) for name in _COLUMNS}
    widths = {name: taken if name == "trace_id" else min(taken, _WIDEST) for name, taken in widths.items()}
    shown = list(_COLUMNS)
    for name in _LEFT_OUT:
        if sum(widths[column] + _GAP for column in shown) <= width:
            break
        shown.remove(name)
    rest = width - sum(widths[column] + _GAP for column in shown if column != "query")
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in shown:
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=rest if name == "query" else widths[name])
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def _cells(result: "TraceResult") -> dict[str, Text]:
    texts = {
        "trace_id": result.trace_id,
        "started": terminal.moment(str(result.started_at)).astimezone(UTC).strftime("%Y-%m-%d %H:%M"),
        "project": terminal.one_line(result.project_name),
        "intent": terminal.one_line(result.intent),
        "domain": terminal.one_line(result.domain),
        "report": terminal.one_line(result.report_type),
        "gaps": " ".join(map(terminal.one_line, result.gap_principles or ())),
        "took": terminal.seconds(result.duration_seconds),
        "query": terminal.one_line(result.query),
    }
    return {
        **{name: Text(text) for name, text in texts.items()},
        "status": Text(result.status, style=terminal.STATUS_STYLE.get(result.status, "")),
        "gate": terminal.verdict(result.quality_gate_passed, result.overall_quality_score),
    }
