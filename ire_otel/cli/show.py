"""`ire-otel show`: one run, from its trace file."""

import difflib
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ire_otel import live_runs, report, settings
from ire_otel.cli import terminal
from ire_otel.errors import IreOtelError, TraceFileError
from ire_otel.live_runs import LiveRun
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
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show a run that goes on until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trace document (or the stage) as JSON.")] = False,
) -> None:
    """Show one run: its stages in time, what each decided and why, evidence, scores and iterations."""
    if follow and stage is not None:
        raise typer.BadParameter("--follow shows the whole run: leave it out", param_hint="'--stage'")
    chosen = settings.load()
    wanted = _run_of(trace_id)
    run = _going_on(wanted, chosen, follow=follow)
    if run is None:
        _show_file(trace_file(wanted, chosen), chosen, stage, as_json=as_json)
    elif not follow:
        _show_so_far(run, chosen, stage, as_json=as_json)
    else:
        from ire_otel.cli.follow import until_its_end

        with suppress(KeyboardInterrupt):  # Ctrl-C is how one stops looking
            _show_file(until_its_end(chosen, run, terminal.console(), quiet=as_json), chosen, None, as_json=as_json)


def _show_file(path: Path, chosen: Settings, stage: str | None, *, as_json: bool) -> None:
    _show(_read(path), str(path), chosen, stage, as_json=as_json)


def _show_so_far(run: LiveRun, chosen: Settings, stage: str | None, *, as_json: bool) -> None:
    from ire_otel.cli.follow import so_far

    data = so_far(chosen, run)
    if data is None:  # it ended just now
        _show_file(trace_file(run.trace_id, chosen), chosen, stage, as_json=as_json)
    else:
        _show(data, f"the journal of run {run.trace_id}", chosen, stage, as_json=as_json, now=time.time())


def _show(
    data: bytes, place: str, chosen: Settings, stage: str | None, *, as_json: bool, now: float | None = None
) -> None:
    from ire_otel.reader import decode

    document = decode(data, place)
    alone = None if stage is None else _stage(document, stage)
    if as_json and alone is not None:
        terminal.print_json(alone)
    elif as_json:
        sys.stdout.write(data.decode().rstrip("\n") + "\n")
    else:
        from ire_otel.cli import waterfall

        picture = (
            waterfall.overview(document, now=now, jaeger_url=chosen.jaeger_link(document.metadata.otel_trace_id))
            if stage is None
            else waterfall.stage_in_full(document, stage, now=now)
        )
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


def _going_on(wanted: str, chosen: Settings, *, follow: bool) -> LiveRun | None:
    """Find the run `wanted` among those that go on in processes of this machine; None where it is none of them.

    Raises TraceFileError where more than one run is meant.
    """
    going_on = live_runs.live_runs(chosen.state_dir)
    if wanted == LAST:
        newest = going_on[0] if going_on else None
        return newest if newest is None or follow or not _began_later(chosen, newest) else None
    matching = [run for run in going_on if _fits(wanted, run.trace_id)]
    if not matching:
        return None
    fitting = dict.fromkeys([*(run.trace_id for run in matching), *(path.stem for path in _files(wanted, chosen))])
    if len(fitting) > 1 and wanted not in fitting:
        raise TraceFileError(_ambiguous(wanted, list(fitting)))
    return next((run for run in matching if run.trace_id == wanted), matching[0])


def _began_later(chosen: Settings, run: LiveRun) -> bool:
    """Tell whether the database knows of a run that began later."""
    from ire_otel.query import find_run

    try:
        row = find_run(chosen.database_url, LAST, pooler=chosen.pooler)
    except IreOtelError:
        return False
    return row.status != "in_progress" and terminal.moment(row.started_at).timestamp() > run.start_ns / 1e9


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
    why = "its row names no file that is there: restore it, or set brain_dir"
    if row.status == "in_progress":
        why = "it goes on by its row, and no process of this machine has it: look there, or wait for its end"
    return _among_files(row.trace_id, chosen, why)


def _among_files(wanted: str, chosen: Settings, why_not_by_row: str) -> Path:
    files = _files(wanted, chosen)
    if wanted == LAST and files:
        return max(files, key=lambda path: path.stat().st_mtime)
    if len(files) == 1:
        return files[0]
    if files:
        raise TraceFileError(_ambiguous(wanted, [path.stem for path in files]))
    raise TraceFileError(f"no trace file of run {wanted!r} under {chosen.brain_dir}: {why_not_by_row}")


def _files(wanted: str, chosen: Settings) -> list[Path]:
    """Give the trace files of the runs that `wanted` fits; all for `last`."""
    files = chosen.brain_dir.glob("projects/*/_traces/trc_*.json")
    return sorted(path for path in files if wanted == LAST or _fits(wanted, path.stem))


def _fits(wanted: str, trace_id: str) -> bool:
    """Tell whether `wanted` is the beginning of a trace_id, or of its date or hex digits."""
    return f"_{wanted}" in f"_{trace_id}"


def _ambiguous(wanted: str, fitting: list[str]) -> str:
    named = ", ".join(fitting[:3])
    return f"{wanted!r} fits {len(fitting)} runs ({named}{', …' if len(fitting) > 3 else ''}): give more characters"  # noqa: PLR2004 # as many as are named


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
