"""`ire-otel recover`: what processes left that died, and rows that wait for their database."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from ire_otel import exporter_names, settings
from ire_otel.cli import terminal
from ire_otel.cli.progress import progress
from ire_otel.errors import StoreError
from ire_otel.outbox import Outbox, Refused

if TYPE_CHECKING:
    from ire_otel.records import SpanRecord
    from ire_otel.recovery import Recovered
    from ire_otel_exporters.research import ResearchExporter


_NOWHERE: Final = (exporter_names.OWN_EXPORTER, "console")
"""Exporters that send nothing to anybody else."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what became of it."""

    dry_run: bool
    traces: list[Recovered]
    """What processes left that died."""
    rows_waiting: int
    """Rows in the outbox before."""
    rows_left: int
    """Rows in the outbox after."""
    rows_refused: list[Refused]
    """Rows that their database refused for their content."""
    settled: int
    """Rows of runs that went on by their rows, and whose processes have not been heard of for long."""
    problems: list[str]


def recover(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what there is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Write the runs of processes that died, and the rows that wait for their database; exit code 1 if any is left.

    Other exporters, such as OTLP, get the spans of those runs that never ended.
    """
    from ire_otel_exporters.research import ResearchExporter

    chosen = settings.load()
    begun = time.monotonic()
    with ExitStack() as stack:
        exporter = others = None
        if not dry_run:
            exporter, others = ResearchExporter(chosen), _Others(chosen)
            stack.callback(others.shutdown)
            stack.callback(exporter.shutdown)
        report = _recovered(chosen, exporter, others, as_json=as_json)
    if as_json:
        terminal.print_json(report)
    else:
        _tell(report, time.monotonic() - begun)
    if not dry_run and (report.rows_left or report.problems or any(made.left for made in report.traces)):
        raise typer.Exit(1)


class _Others:
    """The exporters, besides ours, that send spans somewhere."""

    def __init__(self, chosen: settings.Settings) -> None:
        from ire_otel.forwarding import made

        named = settings.with_exporters(
            chosen, tuple(dict.fromkeys((*chosen.exporters, *settings.opentelemetry_exporters())))
        )
        usable, unusable = exporter_names.with_usable_exporters(named, _NOWHERE)
        self.problems = [str(problem) for problem in unusable]
        found = {name: exporter_names.find_exporter(name, chosen) for name in usable.exporters}
        exporters = [
            made(name, exporter_names.loaded(name, entry_point), chosen, (), None)
            for name, entry_point in found.items()
        ]
        self._exporters = [exporter for exporter in exporters if exporter is not None]

    def send(self, records: Sequence[SpanRecord]) -> bool:
        """Send spans; False, and a problem more, where one of the exporters did not take them."""
        from opentelemetry.sdk.trace.export import SpanExportResult

        from ire_otel.sdk_spans import to_readable

        if not records:
            return True
        spans = [to_readable(record) for record in records]
        refusing = [one for one in self._exporters if one.export(spans) is not SpanExportResult.SUCCESS]
        self.problems += [
            f"{type(one.inner).__qualname__} did not take {len(spans)} spans; the next recovery sends them"
            for one in refusing
        ]
        return not refusing

    def shutdown(self) -> None:
        """Shut the exporters down."""
        for exporter in self._exporters:
            exporter.shutdown()


def _recovered(
    chosen: settings.Settings, exporter: ResearchExporter | None, others: _Others | None, *, as_json: bool
) -> Report:
    from ire_otel.recovery import Recovery

    outbox = Outbox(chosen.state_dir)
    waiting = len(outbox)
    recovery = Recovery(chosen, exporter, None if others is None else others.send)
    pending = recovery.pending()
    traces: list[Recovered] = []
    with progress("recover", sum(map(len, pending.values())), "traces") as on_step:
        for made in recovery.steps(pending):
            on_step(1)
            traces.append(made)
            if not as_json:
                _tell_of(made)
    problems = [*recovery.problems, *(() if others is None else others.problems)]
    settled = 0
    if exporter is not None:
        problems += _drained(exporter)
        try:
            settled = exporter.settle_unfinished(recovery.live_runs())
        except StoreError as error:
            problems += [str(error)] if str(error) not in problems else []
    return Report(
        dry_run=exporter is None,
        traces=traces,
        rows_waiting=waiting,
        rows_left=len(outbox),
        rows_refused=list(outbox.refused()),
        settled=settled,
        problems=problems,
    )


def _drained(exporter: ResearchExporter) -> list[str]:
    """Write the rows that wait; gives why some still do."""
    while (again := exporter.retry(now=True)) == 0.0:
        pass
    return [] if again is None else [f"rows still wait for the database: {exporter.why_rows_wait}"]


def _tell_of(made: Recovered) -> None:
    found = f"{made.decisions} decisions" + (f", {made.damaged} damaged lines" if made.damaged else "")
    if not made.runs:
        what = "would be written" if made.run_ids else "waits for its run"
        typer.echo(f"{' '.join(made.run_ids) or made.otel_trace_id}: {what} ({found})")
    for outcome in made.runs:
        wrong = outcome.file_error or outcome.row_error or (outcome.row if outcome.row != "saved" else None)
        typer.echo(
            f"{outcome.trace_id}: {outcome.file_path or 'no file'} ({found})"
            + (f"; {terminal.one_line(wrong)}" if wrong else "")
        )


def _tell(report: Report, took: float) -> None:
    runs = sum(len(made.run_ids) for made in report.traces)
    for problem in report.problems:
        typer.echo(terminal.one_line(problem))
    for refused in report.rows_refused:
        typer.echo(f"{refused.trace_id}: its row is refused: {terminal.one_line(refused.reason)}")
    if report.dry_run:
        typer.echo(f"{runs} runs to recover, {report.rows_waiting} rows wait for their database")
        return
    typer.echo(
        f"{runs} runs recovered, {max(0, report.rows_waiting - report.rows_left)} waiting rows written, "
        f"{report.rows_left} left, {report.settled} unfinished rows settled; {terminal.seconds(took)}"
    )
