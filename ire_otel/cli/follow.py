"""A run that goes on, as `ire-otel show` shows it: once, or (`--follow`) again and again until it ends."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import typer
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.segment import Segment

from ire_otel import assembly, live_runs, reader
from ire_otel.cli import waterfall
from ire_otel.cli.terminal import one_line, seconds
from ire_otel.errors import TraceFileError
from ire_otel.live_runs import LiveRun
from ire_otel.model import Attempt, StageTrace, TraceDocument
from ire_otel.settings import Settings

PAUSE: Final = 0.5
"""Seconds between two looks at the run."""
PATIENCE: Final = 15.0
"""Seconds after the run's end for which its trace file is waited for."""
HEADING: Final = 3
"""Lines at the top that stay where the picture is higher than the terminal."""


def so_far(chosen: Settings, run: LiveRun) -> bytes | None:
    """Give the document of a run that goes on, as far as it is; None where it has ended by now.

    Raises TraceFileError where its process died.
    """
    seen = live_runs.look(chosen.state_dir, run)
    if seen.state == "died":
        raise TraceFileError(_died(run))
    return None if seen.state == "ended" or seen.document is None else assembly.encode(seen.document)


def until_its_end(chosen: Settings, run: LiveRun, console: Console, *, quiet: bool) -> Path:
    """Show a run until it ends, and give its trace file. quiet: show nothing.

    Raises TraceFileError where its process dies, or the file does not come.
    """
    documents = _documents(chosen, run)
    if quiet:
        for _ in documents:
            pass
    elif sys.stdout.isatty():
        # Drawn here, never by a thread: the newest picture is complete.
        with Live(console=console, auto_refresh=False, transient=True) as live:
            for document in documents:
                live.update(_Tail(waterfall.overview(document, now=time.time())), refresh=True)
    else:
        new_lines = _new_lines()
        for document in documents:
            for line in new_lines(document):
                typer.echo(line)
            sys.stdout.flush()
    return _file(chosen, run)


def _documents(chosen: Settings, run: LiveRun) -> Iterator[TraceDocument]:
    """Give the run as it is, again and again, the last time when it has ended."""
    while True:
        began = time.monotonic()
        seen = live_runs.look(chosen.state_dir, run)
        if seen.document is not None:
            yield reader.decode(assembly.encode(seen.document), run.trace_id)
        if seen.state == "died":
            raise TraceFileError(_died(run))
        if seen.state == "ended":
            return
        # A run with very many decisions must not keep a processor busy.
        time.sleep(max(PAUSE, time.monotonic() - began))


def _file(chosen: Settings, run: LiveRun) -> Path:
    deadline = time.monotonic() + PATIENCE
    while True:
        for path in chosen.brain_dir.glob(f"projects/*/_traces/{run.trace_id}.json"):
            return path
        seen = live_runs.look(chosen.state_dir, run)
        if seen.state == "died":
            raise TraceFileError(_died(run))
        if time.monotonic() > deadline:
            raise TraceFileError(
                f"run {run.trace_id} has ended, and its trace file is not written yet: `ire-otel doctor` says why"
            )
        time.sleep(PAUSE / 5)


def _died(run: LiveRun) -> str:
    pid = run.folder.name.partition("-")[0]
    return f"process {pid} of run {run.trace_id} died: `ire-otel recover` writes what it had recorded"


class _Tail:
    """A picture that is too high for the terminal: its heading, and its end, where the news is."""

    def __init__(self, picture: RenderableType) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw what has room."""
        lines = console.render_lines(self._picture, options.update(height=None), pad=False)
        room = console.height - 1
        shown = lines if len(lines) <= room else [*lines[:HEADING], *lines[HEADING - room :]]
        for number, line in enumerate(shown):
            if number:
                yield Segment.line()
            yield from line


class _News(msgspec.Struct, frozen=True, order=True):
    """Something that happened in a run."""

    time: str
    rank: int
    """Of what happens in the same microsecond: a stage begins, decides, ends."""
    line: str


def _new_lines() -> Callable[[TraceDocument], Iterator[str]]:
    """Make a function that gives a line for everything that is new in a document since it was called last."""
    told: Counter[_News] = Counter()

    def new_lines(document: TraceDocument) -> Iterator[str]:
        known = Counter[_News]()
        for news in sorted(_happened(document)):
            known[news] += 1
            if known[news] > told[news]:
                told[news] += 1
                yield f"{news.time[11:23]}  {news.line}"

    return new_lines


def _happened(document: TraceDocument) -> Iterator[_News]:
    for name, stage in document.stages.items():
        for number, attempt in enumerate(_attempts(stage), start=1):
            label = one_line(name) if number == 1 else f"{one_line(name)} #{number}"
            if attempt.started_at is not None:
                yield _News(attempt.started_at, 0, f"{label} begins")
            if attempt.completed_at is not None:
                failed = f": {one_line(attempt.error)}" if attempt.error else ""
                yield _News(attempt.completed_at, 2, f"{label} ends after {seconds(attempt.duration_seconds)}{failed}")
        for decision in stage.decisions:
            why = f" because {one_line(decision.why)}" if decision.why else ""
            yield _News(
                decision.timestamp or document.run.started_at,
                1,
                f"{one_line(name)}: {one_line(decision.decision)}: {one_line(decision.what)}{why}",
            )


def _attempts(stage: StageTrace) -> list[Attempt]:
    return stage.attempts or [stage]
