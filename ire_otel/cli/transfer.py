"""`ire-otel import` and `ire-otel export`: runs from OTLP files and Jaeger, and back to OTLP."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from ire_otel import brain_files, foreign_runs, settings
from ire_otel.cli import terminal
from ire_otel.cli.mapping import read_mapping
from ire_otel.cli.progress import progress
from ire_otel.cli.runs import starting_from
from ire_otel.cli.show import LAST, trace_file
from ire_otel.document_spans import spans_of
from ire_otel.errors import ConfigurationError
from ire_otel.foreign_runs import RunMapping
from ire_otel.records import ExportOutcome, SpanRecord

if TYPE_CHECKING:
    from ire_otel_exporters.otlp_files import Reading

Source = tuple[int, Callable[[], "Iterator[Reading]"]]
"""How much of the work it is, and what reads it."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was read, and what became of it."""

    spans: int
    runs: list[ExportOutcome]
    mapped: int
    """Traces among them that held no run of ire-otel."""
    skipped: int
    """Traces that hold neither a run nor an agent's spans."""
    problems: list[str]


def import_(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE…", help="OTLP/JSON files or downloads of Jaeger; with --jaeger, trace ids."),
    ] = None,
    jaeger: Annotated[str | None, typer.Option(help="A running Jaeger, e.g. http://localhost:16686.")] = None,
    service: Annotated[list[str] | None, typer.Option(help="With --jaeger: only traces of this service.")] = None,
    since: Annotated[str, typer.Option(help="With --jaeger: an age like 7d, 24h, or a date.")] = "24h",
    mapping: Annotated[
        Path | None, typer.Option(help="TOML file: how traces without a run become runs (docs/exporters.md).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Write the runs that spans from elsewhere hold; exit code 1 if anything could not be read or written."""
    chosen, how = settings.load(), read_mapping(mapping)
    if not sources and jaeger is None:
        raise typer.BadParameter("name a file, or a running Jaeger with --jaeger", param_hint="'FILE…'")
    _check_extra()
    begun = time.monotonic()
    readings = _of_files(sources or []) if jaeger is None else _of_jaeger(jaeger, sources or [], service or [], since)
    records, problems = _read(readings, "bytes" if jaeger is None else "requests")
    report = _written(chosen, how, records, problems)
    if as_json:
        terminal.print_json(report)
    else:
        _tell(report, time.monotonic() - begun)
    if report.problems or any(made.file_error or made.row_error for made in report.runs):
        raise typer.Exit(1)


def export(
    trace_id: Annotated[str, typer.Argument(help="The run, as for `ire-otel show`.")] = LAST,
    otlp: Annotated[  # noqa: ARG001 # says what is given: the only form so far
        bool, typer.Option("--otlp", help="As OTLP/JSON, in one line: the default.")
    ] = True,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Append to this file instead.")] = None,
) -> None:
    """Give the spans of a run, made from its trace file, as OTLP/JSON."""
    from ire_otel_exporters import json_file, otlp_json

    document = brain_files.document(trace_file(trace_id, settings.load()))
    line = otlp_json.line(spans_of(document))
    if output is None:
        sys.stdout.buffer.write(line)
    else:
        json_file.append(output, line)


def _check_extra() -> None:
    try:
        import ire_otel_exporters.otlp  # noqa: F401 # whether it can be
    except ImportError as error:
        raise ConfigurationError("reading OTLP needs an extra: pip install 'ire-otel[otlp]'") from error


def _of_files(paths: list[str]) -> Iterator[Source]:
    from ire_otel_exporters import otlp_files

    for path in map(Path, paths):
        size = path.stat().st_size
        yield size, lambda path=path: otlp_files.read(path)  # type: ignore[misc] # bound now, called later


def _of_jaeger(url: str, trace_ids: list[str], services: list[str], since: str) -> Iterator[Source]:
    from ire_otel_exporters import jaeger, otlp_files

    start = starting_from(since, datetime.now(UTC))

    def one(trace_id: str) -> Iterator[Reading]:
        answers = jaeger.trace(url, trace_id)
        if not answers:
            yield otlp_files.Reading(problems=[f"{url} has no trace {trace_id}"])
        for answer in answers:
            yield otlp_files.read_content(answer, f"trace {trace_id}")

    def all_of(name: str) -> Iterator[Reading]:
        for answer in jaeger.traces(url, name, start):
            yield otlp_files.read_content(answer, f"service {name}")

    if trace_ids:
        for trace_id in trace_ids:
            yield 1, lambda trace_id=trace_id: one(trace_id)  # type: ignore[misc] # as above
    else:
        for name in services or jaeger.services(url):
            yield 1, lambda name=name: all_of(name)  # type: ignore[misc] # as above


def _read(sources: Iterator[Source], unit: str) -> tuple[list[SpanRecord], list[str]]:
    records: list[SpanRecord] = []
    problems: list[str] = []
    given = list(sources)
    with progress("import", sum(size for size, _ in given), unit) as on_step:
        for size, read in given:
            for reading in read():
                records += reading.records
                problems += reading.problems
            on_step(size)
    return records, problems


def _written(chosen: settings.Settings, how: RunMapping, records: list[SpanRecord], problems: list[str]) -> Report:
    from ire_otel_exporters.research import ResearchExporter

    traces: dict[str, list[SpanRecord]] = {}
    for record in records:
        traces.setdefault(record.trace_id, []).append(record)
    runs: list[ExportOutcome] = []
    mapped = skipped = 0
    exporter = ResearchExporter(chosen)
    try:
        with progress("import", len(traces), "traces") as on_step:
            for spans in traces.values():
                on_step(1)
                is_run = foreign_runs.holds_run(spans)
                if not is_run and not foreign_runs.is_one(spans, how):
                    skipped += 1
                    continue
                mapped += not is_run
                runs += exporter.export_records(foreign_runs.mapped(spans, how), source="otlp")
    finally:
        exporter.shutdown()
    return Report(spans=len(records), runs=runs, mapped=mapped, skipped=skipped, problems=problems)


def _tell(report: Report, took: float) -> None:
    for problem in report.problems:
        typer.echo(terminal.one_line(problem))
    for made in report.runs:
        wrong = made.file_error or made.row_error or (made.row if made.row != "saved" else None)
        told = f"; {terminal.one_line(wrong)}" if wrong else ""
        typer.echo(f"{terminal.one_line(made.trace_id)}: {made.file_path or 'no file'}{told}")
    typer.echo(
        f"{report.spans} spans, {len(report.runs)} runs ({report.mapped} from traces without one), "
        f"{report.skipped} traces without any; {len(report.problems)} problems; {terminal.seconds(took)}"
    )
