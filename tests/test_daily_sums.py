"""Sums by day: whatever happened to runs, and whenever days were summed up, views and queries give the plain answer."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from sqlalchemy import exc

from ire_otel.db import migrate
from ire_otel.db.arrears import catch_up
from ire_otel.db.daily_sums import MARKS, due, is_about_others, sum_up
from ire_otel.db.daily_tables import DAILY, stale_days
from ire_otel.db.engine import database, engine
from ire_otel.db.store import RunStore
from ire_otel.db.tables import VIEWS, traces
from ire_otel.model import PrincipleScore, ScoreNote, StageTrace, TokenUsage, TraceDocument
from ire_otel.query import patterns
from ire_otel.query.days import Days
from ire_otel.query.effects import decision_effects
from ire_otel.query.execution import Brain
from ire_otel.row import row
from ire_otel.settings import Settings
from tests.sample_document import LOCATION, decision, sample_document

FIRST = datetime(2026, 1, 1, 22, tzinfo=UTC)
PLAIN: dict[str, Any] = ScriptDirectory(str(migrate.migrations())).get_revision("0003").module.__dict__
"""The migration that made the views without any sums."""
DOCUMENTS = st.builds(
    lambda number, hours, intent, status, passing, scores, named, options, seconds: sample_document(
        number,
        stages={
            "intake": StageTrace(
                duration_seconds=seconds,
                decisions=[decision("style", what=what, component=of, confidence=sure) for what, of, sure in options],
            ),
            "collection": StageTrace(evidence={"by_source": {"exa": len(options)}, "kept": [], "filtered_out": []}),
            "synthesis": StageTrace(
                model="large",
                token_usage=TokenUsage(input_tokens=2_000_000_000, output_tokens=None),
                cost_usd=UNSET if seconds is None else seconds / 7,
            ),
            "quality_gate": StageTrace(
                principle_scores=[PrincipleScore(id=name, score=score) for name, score in scores.items()],
                gaps=[ScoreNote(id=name, score=None) for name in named],
                passing=passing,
                overall_score=UNSET if seconds is None else seconds,
            ),
        },
        started_at=(FIRST + timedelta(hours=hours)).isoformat(),
        intent=intent,
        status=status,
        duration_seconds=seconds,
    ),
    number=st.integers(1, 6),
    hours=st.sampled_from([0, 1, 2, 30, 60]),
    intent=st.sampled_from(["validating", None]),
    status=st.sampled_from(["complete", "complete", "complete", "failed", "in_progress"]),
    passing=st.sampled_from([True, False, None]),
    scores=st.dictionaries(st.sampled_from(['META-"1"', "MR-2"]), st.sampled_from([0.5, 1.5, 2.0, 3.0, None])),
    named=st.lists(st.sampled_from(['META-"1"', "MR-2", "X-3"]), unique=True),
    options=st.lists(
        st.tuples(
            st.sampled_from(["inline", "grouped", None]),
            st.sampled_from(["Writer", None]),
            st.sampled_from([None, 0.25, 0.5]),
        ),
        max_size=4,
    ),
    seconds=st.sampled_from([None, 0.0, 0.3, 7.5, 120.0]),
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("save"), st.lists(DOCUMENTS, min_size=1, max_size=3)),
        st.tuples(st.just("sum up"), st.integers(1, 3)),
        st.tuples(st.just("delete"), st.integers(1, 6)),
        st.tuples(st.just("settle"), st.none()),
        st.tuples(st.just("move"), st.integers(1, 6)),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, edges=st.tuples(st.integers(-1, 70), st.integers(-1, 70)))
def test_views_and_queries_give_the_plain_answer(
    database_url: str, steps: list[tuple[str, Any]], edges: tuple[int, int]
) -> None:
    """After any history of runs written, written anew, moved, settled, removed, and days summed up in between."""
    with engine(database(database_url)).connect() as connection, closing(RunStore(database_url)) as store:
        _empty(connection)
        for step in steps:
            _take(step, store, connection)
        found = {view: _seen(connection, view) for view in VIEWS}
        assert found == {view: _asked(connection, _plain(connection, view)) for view in VIEWS}
        brain = Brain(Settings(), connection)
        for since, until in ((None, None), tuple(FIRST + timedelta(hours=hours, minutes=7) for hours in edges)):
            summed = _answers(brain, since, until)
            with pytest.MonkeyPatch.context() as patch:
                _read_runs_only(patch)
                assert summed == _answers(brain, since, until), (since, until)
        connection.rollback()


def test_sums_are_read(database_url: str) -> None:
    """A view reads what the tables hold of a day that nothing has marked: else the test above would show nothing."""
    with engine(database(database_url)).connect() as connection, closing(RunStore(database_url)) as store:
        store.save([row(sample_document(), LOCATION)])
        catch_up(database(database_url))
        for table in DAILY.values():
            assert connection.scalar(sa.select(sa.func.count()).select_from(table)), table.name
            connection.execute(sa.delete(table))
        connection.commit()
        assert [view for view in VIEWS if "gap" not in view and "gate" not in view and _seen(connection, view)] == []
        assert patterns.summary(Brain(Settings(), connection))["total_runs"] == 0


def test_a_flag_leaves_the_sums_alone(database_url: str) -> None:
    """What people say about a run is in no sum."""
    with engine(database(database_url)).connect() as connection, closing(RunStore(database_url)) as store:
        store.save([row(sample_document(), LOCATION)])
        catch_up(database(database_url))
        connection.execute(sa.update(traces).values(flagged_for_review=True, review_notes="seen"))
        assert due(connection, everything=True) == []
        connection.execute(sa.update(traces).values(status="failed"))
        assert len(due(connection, everything=True)) == 1
        connection.rollback()


def test_a_day_that_goes_on_waits(sqlite_url: str) -> None:
    """Until it is over, or many runs have been written."""
    now = datetime.now(UTC)
    with engine(database(sqlite_url)).connect() as connection, closing(RunStore(sqlite_url)) as store:
        store.save([row(sample_document(started_at=now.isoformat()), LOCATION)])
        assert due(connection) == []
        assert due(connection, everything=True) == [now.date()]
        connection.rollback()
        with connection.begin():
            connection.execute(sa.insert(stale_days), [{"day": now.date()}] * MARKS)
        assert due(connection) == [now.date()]


def test_writers_and_those_who_sum_up_at_once(database_url: str) -> None:
    """Nobody waits for anybody, nothing is lost: in the end, and all the time, the sums are those of the runs."""
    with ThreadPoolExecutor() as threads, engine(database(database_url)).connect() as connection:
        writers = [threads.submit(_write_on, database_url, first) for first in (1, 101)]
        others = [threads.submit(_sum_up_until, database_url, writers) for _ in range(2)]
        while not all(writer.done() for writer in writers):
            # In one statement, so of one state.
            seen, there = connection.exec_driver_sql(BOTH_WAYS).one()
            assert seen == there
            connection.rollback()
        for ended in (*writers, *others):
            ended.result()
        for view in VIEWS:
            assert _seen(connection, view) == _asked(connection, _plain(connection, view)), view


def test_who_may_only_read_gets_the_same_answer(postgres_url: str) -> None:
    """A query that finds many days not summed up reads the runs where it may not write."""
    with closing(RunStore(postgres_url)) as store:
        starts = [FIRST + timedelta(days=number) for number in range(9)]
        store.save([row(sample_document(1 + n, started_at=at.isoformat()), LOCATION) for n, at in enumerate(starts)])
    with engine(database(postgres_url)).connect() as connection:
        connection.exec_driver_sql("SET default_transaction_read_only = on")
        connection.commit()
        assert patterns.summary(Brain(Settings(), connection))["total_runs"] == 9
        assert len(due(connection)) == 9
        connection.rollback()
        connection.exec_driver_sql("SET default_transaction_read_only = off")
        connection.commit()
        assert patterns.summary(Brain(Settings(), connection))["total_runs"] == 9
        assert due(connection) == []


def test_truncating_the_runs_empties_the_views(postgres_url: str) -> None:
    """Somebody starts anew, by hand."""
    with closing(RunStore(postgres_url)) as store:
        store.save([row(sample_document(), LOCATION)])
    catch_up(database(postgres_url))
    with psycopg.connect(postgres_url) as connection:
        connection.execute("TRUNCATE traces CASCADE")
    with engine(database(postgres_url)).connect() as made:
        assert [view for view in VIEWS if _seen(made, view)] == []


BOTH_WAYS = """
SELECT (SELECT coalesce(SUM(total_runs), 0) FROM trace_intent_summary),
    (SELECT COUNT(*) FROM traces WHERE status = 'complete')
"""


def _write_on(url: str, first: int) -> None:
    with closing(RunStore(url)) as store:
        for number in range(60):
            document = sample_document(first + number % 40, started_at=(FIRST + timedelta(hours=number)).isoformat())
            assert store.save([row(document, LOCATION)]) == {}


def _sum_up_until(url: str, writers: list[Future[None]]) -> None:
    with engine(database(url)).connect() as connection:
        while not all(writer.done() for writer in writers):
            for day in due(connection, everything=True):
                _tried(connection, day)


def _tried(connection: sa.Connection, day: Any) -> None:
    try:
        sum_up(connection, day)
    except exc.DBAPIError as error:
        connection.rollback()
        if not is_about_others(error):
            raise


def _empty(connection: sa.Connection) -> None:
    connection.execute(sa.delete(traces))
    connection.commit()
    for day in due(connection, everything=True):
        assert sum_up(connection, day)


def _take(step: tuple[str, Any], store: RunStore, connection: sa.Connection) -> None:
    what, about = step
    connection.rollback()
    if what == "save":
        documents: list[TraceDocument] = about
        assert store.save([row(document, LOCATION) for document in documents]) == {}
    elif what == "sum up":
        for day in due(connection, everything=True)[:about]:
            assert sum_up(connection, day)
    elif what == "settle":
        store.settle_unfinished(datetime.now(UTC) + timedelta(days=1), ())
    else:
        this_run = traces.c.trace_id == sample_document(about).trace_id
        moved = sa.update(traces).where(this_run).values(started_at=FIRST + timedelta(days=5))
        connection.execute(sa.delete(traces).where(this_run) if what == "delete" else moved)
        connection.commit()


def _plain(connection: sa.Connection, view: str) -> str:
    on = PLAIN["ON_SQLITE" if connection.dialect.name == "sqlite" else "ON_POSTGRESQL"]
    query: str = PLAIN["VIEWS"][view].format(outcome=PLAIN["OUTCOME"].strip(), **on)
    return query


def _asked(connection: sa.Connection, statement: str) -> list[list[tuple[str, Any]]]:
    """Give the rows in an order of their own, without the last digits, which depend on the order of adding."""
    found = connection.exec_driver_sql(statement.replace("%", "%%")).mappings()
    rows = [[(name, _rounded(value)) for name, value in entry.items()] for entry in found]
    return sorted(rows, key=str)


def _seen(connection: sa.Connection, view: str) -> list[list[tuple[str, Any]]]:
    return _asked(connection, f"SELECT * FROM {view}")  # noqa: S608 # one of VIEWS


def _rounded(value: Any) -> Any:
    return f"{value:.9g}" if isinstance(value, float) else value


def _answers(brain: Brain, since: datetime | None, until: datetime | None) -> list[Any]:
    window = {"since": since, "until": until}
    summed = [patterns.summary(brain, **window), *patterns.principle_patterns(brain, 1, **window)]
    effects = [decision_effects(brain, name, 1, **window) for name in ('META-"1"', "MR-2")]
    told = [[(name, _rounded(value)) for name, value in entry.items()] for entry in summed]
    told += sorted(
        (
            [(name, _rounded(getattr(one, name))) for name in one.__struct_fields__]
            for found in effects
            for one in found
        ),
        key=str,
    )
    return told


def _read_runs_only(patch: pytest.MonkeyPatch) -> None:
    """Have the queries take every day for out of date."""

    def days(brain: Brain, since: datetime | None, until: datetime | None) -> Days:
        begin = since or FIRST - timedelta(days=99)
        end = until or FIRST + timedelta(days=99)
        return Days(begin.date(), begin.date(), [], [(begin, end)])

    for name in ("patterns", "effects"):
        patch.setattr(f"ire_otel.query.{name}.days", days)
