"""How commands that ask the database print their answer: a table, JSON or CSV; and the options that they share."""

import csv
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from ire_otel.cli import terminal
from ire_otel.cli.runs import runs_table, starting_from

if TYPE_CHECKING:
    from ire_otel.query import TraceResult

Limit = Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")]
Since = Annotated[
    str | None, typer.Option(help="Only runs begun since: 7d, 24h, 30m, or a date or time (ISO 8601, UTC).")
]
Until = Annotated[str | None, typer.Option(help="Only runs begun before; written as --since.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Print CSV for spreadsheets; lists in it are JSON.")]


def window(since: str | None, until: str | None) -> dict[str, datetime | None]:
    """Give the times that --since and --until name, as queries take them."""
    return {"since": _moment(since, "--since"), "until": _moment(until, "--until")}


def print_runs(found: "Sequence[TraceResult]", *, as_json: bool, as_csv: bool, nothing: str = "no run matches") -> None:
    """Print runs in the form that was asked for."""
    from ire_otel.query import TraceResult

    if as_json:
        terminal.print_json(found)
    elif as_csv:
        print_csv(TraceResult.__struct_fields__, [msgspec.to_builtins(run) for run in found])
    elif found:
        console = terminal.console()
        console.print(runs_table(list(found), console.width))
    else:
        typer.echo(nothing)


def print_rows(columns: Sequence[str], found: Sequence[Mapping[str, Any]], *, as_json: bool, as_csv: bool) -> None:
    """Print rows that are no runs, in the form that was asked for."""
    if as_json:
        terminal.print_json(found)
    elif as_csv:
        print_csv(columns, found)
    elif found:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
        for name in columns:
            table.add_column(name.replace("_", " "))
        for row in found:
            table.add_row(*(_cell(row[name]) for name in columns))
        terminal.console().print(table)
    else:
        typer.echo("nothing matches")


def print_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print CSV with a header (RFC 4180, but for line ends); what nobody knows is empty."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(row[name]) for name in columns] for row in rows)


def _moment(stamp: str | None, option: str) -> datetime | None:
    try:
        return None if stamp is None else starting_from(stamp, datetime.now(UTC))
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint=f"'{option}'") from None


def _cell(value: Any) -> Text:
    if value is None:
        return Text("–", justify="right")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Text(terminal.one_line(value))
    return Text(f"{value:,}" if isinstance(value, int) else f"{value:.4g}", justify="right")


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return str(value).lower()
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else value
