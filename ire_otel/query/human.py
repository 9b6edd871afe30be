"""What people say about a run: into the review file first, then into the row."""

import sqlalchemy as sa

from ire_otel import reviews, values
from ire_otel.db.tables import traces
from ire_otel.query.conditions import equal
from ire_otel.query.execution import Brain
from ire_otel.query.results import QueryError, RunNotFoundError


def flag(brain: Brain, trace_id: str, flagged: bool = True, *, who: str | None = None) -> None:  # noqa: FBT001, FBT002 # flag(trace_id, False) reads well
    """Flag a run for review, or take the flag off. Raises RunNotFoundError and ReviewError."""
    _say(brain, trace_id, reviews.Entry(kind=reviews.FLAG, who=who, data={"flagged": bool(flagged)}))


def note(brain: Brain, trace_id: str, text: str, *, who: str | None = None) -> None:
    """Add a note to a run; the notes before it stay. Raises RunNotFoundError, ReviewError and QueryError."""
    if not str(text).strip():
        raise QueryError(f"a note cannot be {text!r}: give words")
    clean = values.well_formed(str(text)).replace("\0", "\ufffd").strip()
    _say(brain, trace_id, reviews.Entry(kind=reviews.NOTE, who=who, data={"text": clean}))


def _say(brain: Brain, trace_id: str, entry: reviews.Entry) -> None:
    this_run = equal(traces.c.trace_id, trace_id)
    columns = sa.select(traces.c.project_name, traces.c.review_notes).where(this_run)
    brain.connection.rollback()
    # Two notes at once must not lose one, and SQLite must know from the start that this will write.
    with_lock = columns.with_for_update()
    brain.connection.execution_options(sqlite_begin="BEGIN IMMEDIATE")
    row = brain.connection.execute(with_lock).first()
    if row is None:
        raise RunNotFoundError(f"no run {trace_id!r}: `ire-otel runs` lists what is there")
    brain.off_loop(lambda: reviews.append(brain.settings, row.project_name, trace_id, entry))
    changed = (
        {"flagged_for_review": entry.data["flagged"]}
        if entry.kind == reviews.FLAG
        else {"review_notes": reviews.with_note(row.review_notes, entry.data["text"])}
    )
    brain.connection.execute(sa.update(traces).where(this_run).values(changed))
