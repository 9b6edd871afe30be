"""`ire-otel verify` and `ire-otel db reindex`: trace files against the database, and the database from the files."""

import time
from typing import Annotated, Final

import typer

from ire_otel import brain_files
from ire_otel.cli import database, terminal
from ire_otel.cli.progress import progress
from ire_otel.settings import Settings, load

SHOWN: Final = 20
"""Rows without a file that are named one by one; `--json` names all."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


@database.app.command()
def reindex(
    force: Annotated[bool, typer.Option("--force", help="Rewrite rows that are newer than their file, too.")] = False,
    database_url: database.DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Fill the database from the trace files, and from what people said; start it again to go on where it stopped."""
    from ire_otel.db.reindex import Reindexed
    from ire_otel.db.reindex import reindex as fill

    settings = _settings(database_url)
    begun = time.monotonic()
    with progress("reindex", _count(settings), "trace files") as on_files:
        done: Reindexed = fill(settings, force=force, on_files=on_files)
    if as_json:
        terminal.print_json(done)
    else:
        for problem in done.problems:
            typer.echo(terminal.one_line(problem.reason))
        for trace_id in done.rows_without_file[:SHOWN]:
            typer.echo(f"{terminal.one_line(trace_id)}: its row has no trace file, and stays")
        if len(done.rows_without_file) > SHOWN:
            typer.echo(f"… and {len(done.rows_without_file) - SHOWN} more rows without a trace file")
        typer.echo(
            f"{done.files} trace files: {done.written} written, {done.current} were up to date; {done.reviewed} runs "
            f"reviewed by people; {len(done.problems)} problems; {terminal.seconds(time.monotonic() - begun)}"
        )
    if done.problems:
        raise typer.Exit(1)


def verify(
    project: Annotated[str | None, typer.Option(help="Only runs of this project.")] = None,
    database_url: database.DatabaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Compare trace files, rows, reports and reviews, and name each difference; exit code 1 if there is any."""
    from ire_otel.verification import Difference
    from ire_otel.verification import verify as compare

    settings = _settings(database_url)
    files, differences = _count(settings, project), 0
    named: list[Difference] = []
    with progress("verify", files, "trace files") as on_files:
        for difference in compare(settings, project=project, on_files=on_files):
            differences += 1
            if as_json:
                named.append(difference)
            else:
                typer.echo(terminal.one_line(difference.line))
    if as_json:
        terminal.print_json({"files": files, "differences": named})
    else:
        typer.echo(f"{files} trace files, {differences or 'no'} {'difference' if differences == 1 else 'differences'}")
    if differences:
        raise typer.Exit(1)


def _settings(database_url: str | None) -> Settings:
    return load({"database_url": database_url} if database_url else None)


def _count(settings: Settings, project: str | None = None) -> int:
    return sum(1 for _ in brain_files.trace_files(settings, project))
