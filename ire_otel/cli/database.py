"""`ire-otel db`: bring the database up to date, take it back, and show its migrations."""

from pathlib import Path
from typing import Annotated

import typer

from ire_otel.db import migrate
from ire_otel.db.engine import Database, database
from ire_otel.errors import ConfigurationError
from ire_otel.settings import load

app = typer.Typer(
    name="db", help="Make, migrate and inspect the database.", no_args_is_help=True, rich_markup_mode=None
)

DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url", metavar="URL", help="sqlite:////… or postgresql://…; default: the setting database_url."
    ),
]


@app.command()
def upgrade(database_url: DatabaseUrl = None) -> None:
    """Make or bring up to date the tables, indexes and views."""
    target = _target(database_url)
    before = migrate.current(target)
    migrate.upgrade(target)
    if before == migrate.HEAD:
        typer.echo(f"{target.place} is at migration {migrate.HEAD} already")
    else:
        typer.echo(f"{target.place} is at migration {migrate.HEAD} now (before: {before or 'none'})")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Migration to go back to; base removes everything of ours.")],
    database_url: DatabaseUrl = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take the tables back to an earlier migration; rows are lost, trace files stay."""
    target = _target(database_url)
    if not yes:
        typer.confirm(f"Take {target.place} back to {revision}, and lose the rows?", abort=True, err=True)
    migrate.downgrade(target, revision)
    typer.echo(f"{target.place} is at migration {migrate.current(target) or 'none'} now")


@app.command()
def current(database_url: DatabaseUrl = None) -> None:
    """Print the migration that the database is at."""
    found = migrate.current(_target(database_url))
    newest = "the newest" if found == migrate.HEAD else f"the newest is {migrate.HEAD}: run `ire-otel db upgrade`"
    typer.echo(f"{found or 'none'} ({newest})")


@app.command()
def sql(
    dialect: Annotated[str, typer.Option(help="postgresql or sqlite.")] = "postgresql",
    start: Annotated[str, typer.Option("--from", help="Migration to start from.")] = "base",
    end: Annotated[str, typer.Option("--to", help="Migration to end at; base to print the way back.")] = migrate.HEAD,
    supabase: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a file for each migration to DIR, for the Supabase CLI."),
    ] = None,
) -> None:
    """Print the migrations as SQL, for those who apply it by hand."""
    if supabase is None:
        typer.echo(migrate.sql(dialect, start=start, end=end), nl=False)
    elif (dialect, start, end) != ("postgresql", "base", migrate.HEAD):
        raise ConfigurationError("--supabase writes every migration, for postgresql: leave out --dialect, --from, --to")
    else:
        _write_supabase_files(supabase)


def _write_supabase_files(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in migrate.supabase_files().items():
            (folder / name).write_text(content, encoding="utf-8")
            typer.echo(folder / name)
    except OSError as error:
        raise ConfigurationError(f"cannot write to {folder}: {error.strerror}; name a folder for --supabase") from error


def _target(database_url: str | None) -> Database:
    settings = load({"database_url": database_url} if database_url else None)
    return database(settings.database_url, settings.pooler)
