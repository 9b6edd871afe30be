"""What a failed assertion says: expected and recorded, side by side."""

from __future__ import annotations

import difflib
import io
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ire_otel.model import TraceDocument
    from ire_otel.recording.run import Trace
    from ire_otel.testing.conformance import Conformance
    from ire_otel.testing.traces import Taken

WIDTH: Final = 118
"""Width of a failure's tables, in characters, whatever the terminal: a failure reads the same everywhere."""
COMPARED: Final = 3
"""Most decisions that are shown beside the expected one."""
LISTED: Final = 30
"""Most decisions that are listed where none of the expected type was taken."""


def not_one(documents: Sequence[TraceDocument], still_open: Sequence[Trace]) -> str:
    """Say how many runs have finished where a test asks for the only one."""
    unfinished = [f"{trace.trace_id} is still open (query {trace.query!r}); end it first" for trace in still_open]
    if not documents:
        return "\n".join(["no run has finished", *unfinished])
    head = f"{len(documents)} runs have finished, not one; `documents` has them all"
    finished = [f"{one.trace_id} {one.run.status} (query {one.run.query!r})" for one in documents]
    return "\n".join([head, *finished, *unfinished])


def no_such_decision(
    kind: str, expected: Mapping[str, Any], nearest: Sequence[tuple[Sequence[str], Taken]], taken: Sequence[Taken]
) -> str:
    """Show the decisions of the expected type beside what was expected, or where there is none, every decision."""
    if not nearest:
        return _none_of_type(kind, taken)
    shown = nearest[:COMPARED]
    more = f"; {len(nearest) - COMPARED} more of this type differ at least as much" if len(nearest) > COMPARED else ""
    where = ["trace_id", "stage"] if len({one.trace_id for _, one in shown}) > 1 else ["stage"]
    names: list[str] = list(dict.fromkeys([*where, "component", *expected]))
    rows = [
        [
            "≠" if all(name in differing for differing, _ in shown) else "",
            name,
            repr(expected[name]) if name in expected else "(any)",
            *(f"{'≠ ' if name in differing else ''}{one.value(name)!r}" for differing, one in shown),
        ]
        for name in names
    ]
    columns = ["", "", "expected", *("recorded" for _ in shown)]
    return f"no decision {kind!r} is as expected{more}\n{_table(columns, rows)}"


def _none_of_type(kind: str, taken: Sequence[Taken]) -> str:
    types = list(dict.fromkeys(one.decision.decision for one in taken))
    if not taken:
        return f"no decision {kind!r} was recorded, nor any other"
    rows = [
        [one.stage, one.decision.decision, repr(one.decision.what), one.decision.component or ""]
        for one in taken[:LISTED]
    ]
    table = _table(["stage", "recorded", "what", "component"], rows)
    more = f"\nand {len(taken) - LISTED} more" if len(taken) > LISTED else ""
    return f"no decision {kind!r} was recorded{_suggestion(kind, types)}\n{table}{more}"


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def silent_component(name: str, seen: Sequence[str]) -> str:
    """Say that a component recorded nothing, and which ones did."""
    return f"component {name!r} recorded nothing{_suggestion(name, seen)}\ncomponents seen: {', '.join(seen) or 'none'}"


def undeclared(found: Conformance) -> str:
    """Show what a component declares beside what it recorded."""
    rows = [
        *_declared_rows("decision", found.declared.decisions, found.recorded.decisions),
        *_declared_rows("output", found.declared.outputs, found.recorded.outputs),
    ]
    return (
        f"{found.component} recorded what its trace schema does not declare\n"
        f"{_table(['', 'declared', 'recorded', ''], rows)}\n"
        "declare it in get_trace_schema(), or do not record it"
    )


def _declared_rows(kind: str, declared: frozenset[str], recorded: frozenset[str]) -> Iterable[list[str]]:
    for name in sorted(declared | recorded):
        note = "≠ not declared" if name not in declared else "" if name in recorded else "not seen in this test"
        yield [kind, name if name in declared else "", name if name in recorded else "", note]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    table = Table(*columns, box=box.SIMPLE, show_edge=False, pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    out = io.StringIO()
    Console(file=out, width=WIDTH, color_system=None, legacy_windows=False).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())
