"""`ire-otel doctor`: does everything work here, and what to do where it does not."""

from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.text import Text

from ire_otel import settings
from ire_otel.cli import terminal

if TYPE_CHECKING:
    from ire_otel.doctor import Finding

STYLE: Final = {"ok": "green", "note": "cyan", "warning": "yellow", "problem": "bold red"}
_WIDTH: Final = 9
"""Columns of the longest status, and of the longest subject, with a gap."""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False) -> None:
    """Check settings, OpenTelemetry, exporters, database, folders and what waits; exit code 1 if there is a problem."""
    from ire_otel.doctor import Setup, examine

    chosen, problems = settings.load_leniently()
    setup = Setup(
        settings=chosen,
        problems=tuple(str(problem) for problem in problems),
        variables=settings.opentelemetry_variables(),
    )
    found: list[Finding] = []
    for finding in examine(setup):
        found.append(finding)
        if not as_json:
            terminal.console().print(_line(finding), soft_wrap=True)
    counts = {status: sum(finding.status == status for finding in found) for status in STYLE}
    if as_json:
        terminal.print_json({"counts": counts, "findings": found})
    else:
        typer.echo(", ".join(f"{number} {status}" for status, number in counts.items()))
    if counts["problem"]:
        raise typer.Exit(1)


def _line(finding: "Finding") -> Text:
    remedy = f"; {terminal.one_line(finding.remedy)}" if finding.remedy else ""
    return Text.assemble(
        (finding.status.ljust(_WIDTH), STYLE[finding.status]),
        f"{finding.about}: ",
        terminal.one_line(finding.what),
        remedy,
    )
