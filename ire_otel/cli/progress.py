"""How far a command is that takes its time."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

EVERY: Final = 5.0
"""Seconds between two lines about how far it is, where no terminal shows a bar."""


@contextmanager
def progress(task: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Tell on stderr how many are done (`unit`: of what): by a bar on a terminal, by a line now and then elsewhere."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            shown = bar.add_task(task, total=total)
            yield lambda more: bar.advance(shown, more)
    else:
        yield _lines(task, total, unit)


def _lines(task: str, total: int, unit: str) -> Callable[[int], None]:
    done, told = 0, time.monotonic()

    def tell(more: int) -> None:
        nonlocal done, told
        done += more
        if time.monotonic() - told > EVERY:
            told = time.monotonic()
            typer.echo(f"{task}: {done} of {total} {unit}", err=True)

    return tell
