"""`ire-otel show`: one run, from its trace file."""

import difflib
import sys
from pathlib import Path
from typing import Annotated

import typer

from ire_otel import report, settings
from ire_otel.cli import terminal
from ire_otel.errors import IreOtelError, TraceFileError
from ire_otel.model import StageTrace, TraceDocument
from ire_otel.settings import Settings

LAST = "last"


def show(
    trace_id: Annotated[
        str,
        typer.Argument(
            help="The run's trace_id, or enough of its beginning or of its hex digits, or its report's .md file, or "
            "`last`."
        ),
    ] = LAST,
    stage: Annotated[str | None, typer.Option(help="Only this stage, with everything it recorded.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trace document (or the stage) as JSON.")] = False,
) -> None:
    """Show one run: its stages in time, what each decided and why, evidence, scores and iterations."""
    from ire_otel.reader import decode

    path = trace_file(_run_of(trace_id), settings.load())
    data = _read(path)
    document = decode(data, str(path))
    chosen = None if stage is None else _stage(document, stage)
    if as_json and chosen is not None:
        terminal.print_json(chosen)
    elif as_json:
        sys.stdout.write(data.decode().rstrip("\n") + "\n")
    else:
        from ire_otel.cli import waterfall

        picture = waterfall.overview(document) if stage is None else waterfall.stage_in_full(document, stage)
        terminal.console().print(picture)


def _run_of(wanted: str) -> str:
    """Give the run that made the report `wanted`; what is no report's name is a run's."""
    path = Path(wanted)
    if not report.is_markdown(path):
        return wanted
    named = report.trace_id_of(path)
    if named is None:
        raise TraceFileError(f"report {path} names no run: set link_reports, or call ire_otel.link_report")
    return named


def trace_file(wanted: str, chosen: Settings) -> Path:
    """Find the trace file of the run `wanted`: by its row, else among the files, which are the truth.

    Raises TraceFileError where there is none, or more than one run is meant.
    """
    from ire_otel.query import find_run

    try:
        row = find_run(chosen.database_url, wanted, pooler=chosen.pooler)
    except IreOtelError as error:
        return _among_files(wanted, chosen, str(error))
    path = chosen.resolve(row.trace_file_path) if row.trace_file_path else None
    if path is not None and path.is_file():
        return path
    return _among_files(row.trace_id, chosen, "its row names no file that is there: restore it, or set brain_dir")


def _among_files(wanted: str, chosen: Settings, why_not_by_row: str) -> Path:
    files = list(chosen.brain_dir.glob("projects/*/_traces/trc_*.json"))
    if wanted == LAST and files:
        return max(files, key=lambda path: path.stat().st_mtime)
    matching = sorted(path for path in files if f"_{wanted}" in f"_{path.stem}")
    if len(matching) == 1:
        return matching[0]
    if matching:
        named = ", ".join(path.stem for path in matching[:3])
        raise TraceFileError(f"{wanted!r} fits {len(matching)} trace files ({named}, …): give more characters")
    raise TraceFileError(f"no trace file of run {wanted!r} under {chosen.brain_dir}: {why_not_by_row}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TraceFileError(f"cannot read {path}: {error.strerror}; mend its permissions") from error


def _stage(document: TraceDocument, name: str) -> StageTrace:
    if name in document.stages:
        return document.stages[name]
    nearest = difflib.get_close_matches(name, document.stages, n=1)
    remedy = f"did you mean {nearest[0]}?" if nearest else f"it has {', '.join(document.stages) or 'no stage'}"
    raise typer.BadParameter(f"run {document.trace_id} has no stage {name!r}: {remedy}", param_hint="'--stage'")
