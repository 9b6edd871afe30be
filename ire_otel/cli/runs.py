"""`ire-otel runs`: the recorded runs as a table."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
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

_LEFT_OUT = ("domain", "report", "gaps", "took", "started", "intent", "project", "decisions", "query")
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
    live: Annotated[bool, typer.Option("--live", help="Only runs that go on, with how far they are.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """List the recorded runs, newest first."""
    from ire_otel.query import list_runs

    if live and status not in {None, "in_progress"}:
        raise typer.BadParameter(f"a run that is {status} does not go on: leave out --live", param_hint="'--status'")
    earliest = None if since is None else starting_from(since, datetime.now(UTC))
    chosen = settings.load()
    ask = partial(
        list_runs,
        chosen.database_url,
        pooler=chosen.pooler,
        intent=intent,
        domain=domain,
        project=project,
        since=earliest,
        limit=limit,
    )
    if live:
        from ire_otel.cli.live import print_live_runs

        wanted = {"intent": intent, "domain": domain, "project": project}
        print_live_runs(chosen, ask, wanted, earliest, limit, as_json=as_json)
        return
    found = ask(status=status)
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
    return fitted_table([_cells(result) for result in results], width)


def fitted_table(rows: Sequence[dict[str, Text]], width: int) -> Table:
    """Give a table of runs by column, with as many columns as have room in `width`; the query gets what is left."""
    widths = {name: max(len(name), *(row[name].cell_len for row in rows)) for name in rows[0]}
    widths = {name: taken if name == "trace_id" else min(taken, _WIDEST) for name, taken in widths.items()}
    shown = list(widths)
    for name in _LEFT_OUT:
        if sum(widths[column] + _GAP for column in shown) <= width:
            break
        if name in shown:
            shown.remove(name)
    rest = width - sum(widths[column] + _GAP for column in shown if column != "query")
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for name in shown:
        table.add_column(name, no_wrap=True, overflow="ellipsis", width=rest if name == "query" else widths[name])
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def minute(stamp: str) -> str:
    """Give an ISO 8601 time as tables show it: in UTC, to the minute."""
    return terminal.moment(stamp).astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def _cells(result: "TraceResult") -> dict[str, Text]:
    return {
        "trace_id": Text(result.trace_id),
        "started": Text(minute(result.started_at)),
        "project": Text(terminal.one_line(result.project_name)),
        "intent": Text(terminal.one_line(result.intent)),
        "domain": Text(terminal.one_line(result.domain)),
        "report": Text(terminal.one_line(result.report_type)),
        "status": Text(result.status, style=terminal.STATUS_STYLE.get(result.status, "")),
        "gate": terminal.verdict(result.quality_gate_passed, result.overall_quality_score),
        "gaps": Text(" ".join(map(terminal.one_line, result.gap_principles or ()))),
        "took": Text(terminal.seconds(result.duration_seconds)),
        "query": Text(terminal.one_line(result.query)),
    }
