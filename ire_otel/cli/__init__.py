"""The command line `ire-otel`: what it offers, and how an error ends it (one line on stderr, no traceback)."""

import io
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ire_otel.cli import calibrate, database, flags, query
from ire_otel.cli.compare import compare
from ire_otel.cli.demo import demo
from ire_otel.cli.doctor import doctor
from ire_otel.cli.files import verify
from ire_otel.cli.recover import recover
from ire_otel.cli.review import flag, review
from ire_otel.cli.runs import runs
from ire_otel.cli.serve import serve
from ire_otel.cli.show import show
from ire_otel.cli.transfer import export, import_
from ire_otel.errors import ConfigurationError, IreOtelError
from ire_otel.settings import raises_errors

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Record what a research pipeline decides, and see which decision makes its reports bad.",
)
app.command()(demo)
app.command()(runs)
app.command()(show)
app.add_typer(query.app, name="query")
app.command()(compare)
app.command()(flag)
app.command()(review)
app.command()(verify)
app.command()(recover)
app.command(name="import")(import_)
app.command()(export)
app.command()(serve)
app.command()(doctor)
app.add_typer(calibrate.app, name="calibrate")
app.add_typer(flags.app, name="flags")
app.add_typer(database.app, name="db")


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if show_version:
        typer.echo(f"ire-otel {version('ire-otel')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and leave with its exit code: 0, 1 (failed) or 2 (called or configured wrongly)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Recorded texts hold any character; a terminal that cannot show one gets a question mark.
            stream.reconfigure(errors="replace")
    sys.exit(_exit_code(sys.argv[1:]))


def _exit_code(arguments: list[str]) -> int:
    try:
        code = app(arguments, prog_name="ire-otel", standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message()  # empty where a group was called alone and has printed its help
        return _failed(f"{message} (see `ire-otel --help`)", error.exit_code) if message else error.exit_code
    except ConfigurationError as error:
        return _failed(str(error), 2)
    except IreOtelError as error:
        return _failed(str(error), 1)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(f"{place}{error.strerror or error}; mend its permissions, or name another brain_dir", 1)
    except typer.Abort:
        return _failed("stopped", 1)
    except Exception as error:
        if raises_errors():
            raise
        # A traceback helps nobody who only wants to look at a run; whoever hunts the fault can ask for it.
        return _failed(f"{type(error).__name__}: {error} (IRE_OTEL_RAISE=1 shows where)", 1)
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int) -> int:
    typer.echo(f"ire-otel: {' '.join(message.split())}", err=True)
    return code
