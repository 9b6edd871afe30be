"""`ire-otel flag` and `ire-otel review`: what a person says about a run."""

import getpass
from typing import Annotated

import msgspec
import typer

from ire_otel import reviews, settings
from ire_otel.cli import listing, terminal
from ire_otel.cli.listing import AsCsv, AsJson
from ire_otel.cli.show import LAST

TraceId = Annotated[
    str, typer.Argument(help="The run's trace_id, or enough of its beginning or of its hex digits, or `last`.")
]
Who = Annotated[str | None, typer.Option(help="Who says so; default: the user of this machine.")]


def flag(
    trace_id: TraceId,
    off: Annotated[bool, typer.Option("--off", help="Take the flag off.")] = False,
    who: Who = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Flag a run for review; `ire-otel query flagged` lists them."""
    from ire_otel.query import TraceQuery

    found = run_id(trace_id)
    TraceQuery.sync.flag(found, not off, who=who or user())
    if as_json or as_csv:
        done = [{"trace_id": found, "flagged_for_review": not off}]
        listing.print_rows(tuple(done[0]), done, as_json=as_json, as_csv=as_csv)
        return
    typer.echo(f"{found} is {'no longer ' if off else ''}flagged for review")


def review(
    trace_id: TraceId = LAST,
    note: Annotated[str | None, typer.Option(help="Add this note to the run.")] = None,
    who: Who = None,
    as_json: AsJson = False,
    as_csv: AsCsv = False,
) -> None:
    """Show what people said about a run, or add a note."""
    from ire_otel.query import TraceQuery, find_run

    chosen = settings.load()
    run = find_run(chosen.database_url, trace_id, pooler=chosen.pooler)
    if note is not None:
        TraceQuery.sync.note(run.trace_id, note, who=who or user())
    said = reviews.entries(chosen, run.project_name, run.trace_id)
    if as_json or as_csv:
        rows = [msgspec.to_builtins(entry) for entry in said]
        listing.print_rows(reviews.Entry.__struct_fields__, rows, as_json=as_json, as_csv=as_csv)
        return
    typer.echo(f"{run.trace_id}: {'nobody said anything yet' if not said else f'{len(said)} said'}")
    for entry in said:
        words = entry.data.get("text", entry.data) if entry.kind == reviews.NOTE else entry.data
        who_said = terminal.one_line(entry.who) or "somebody"
        typer.echo(f"  {entry.when[:16].replace('T', ' ')}  {who_said}  {entry.kind}: {terminal.one_line(words)}")


def run_id(wanted: str) -> str:
    """Give the trace_id of the run that `wanted` names. Raises RunNotFoundError."""
    from ire_otel.query import find_run

    chosen = settings.load()
    return find_run(chosen.database_url, wanted, pooler=chosen.pooler).trace_id


def user() -> str | None:
    """Give the name of this machine's user; None where it has none, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
