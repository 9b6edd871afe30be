"""Databases of a thousand to a million runs: real rows of some hundred traced runs, multiplied."""

import hashlib
import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.event import listen

import ire_otel
from benchmarks import reference
from ire_otel import brain_files
from ire_otel.db.arrears import catch_up
from ire_otel.db.daily_tables import stale_days
from ire_otel.db.engine import Database, database, engine
from ire_otel.db.migrate import ensure_current
from ire_otel.db.store import RunStore
from ire_otel.db.tables import (
    trace_decisions,
    trace_model_usage,
    trace_principle_scores,
    trace_search_pending,
    trace_sources,
    trace_stages,
    traces,
)
from ire_otel.db.types import UtcDateTime
from ire_otel.settings import Settings

APART: Final = 30
"""Seconds between two runs: a million of them fill a year."""
FIRST: Final = datetime(2025, 1, 1, tzinfo=UTC)
INTENTS: Final = ("validating", "exploring", "comparing", "deciding", "monitoring")
DOMAINS: Final = tuple(f"domain-{number}" for number in range(20))
REPORT_TYPES: Final = ("market_research", "landscape", "due_diligence", "brief")
PROJECTS: Final = 40
STEP: Final = 2_000
"""Runs that are added by one statement: so many can be put in order in memory."""
MODELS: Final = ("claude-opus-4-6", "claude-sonnet-4-6", "gpt-5.2")
TABLES: Final = (
    traces,
    trace_principle_scores,
    trace_stages,
    trace_sources,
    trace_model_usage,
    trace_decisions,
)


def record_seeds(brain: Path, count: int) -> Settings:
    """Trace `count` runs like the reference run that differ in kind, choices, scores, end; gives their settings."""
    ire_otel.configure(brain_dir=brain, flag_policies=(), shutdown_timeout=120.0)
    try:
        for number in range(count):
            _record(number)
        if not ire_otel.flush(120):
            raise RuntimeError(f"the runs in {brain} were not written within two minutes")
    finally:
        ire_otel.shutdown(120)
    return Settings(brain_dir=brain)


def _record(number: int) -> None:
    with ire_otel.run(
        f"{reference.QUERY} Question {number}.",
        project_name=f"project-{number % PROJECTS}",
        intent=INTENTS[number % len(INTENTS)],
        domain=DOMAINS[number // 3 % len(DOMAINS)],
        report_type=REPORT_TYPES[number // 7 % len(REPORT_TYPES)],
    ) as trace:
        for stage in reference.STAGES:
            with ire_otel.stage(stage.name, component=stage.component) as open_stage:
                for decision in stage.decisions:
                    what = f"{decision.what}, variant {(number + int(decision.confidence * 100)) % 4}"
                    confidence = decision.confidence
                    ire_otel.decide(decision.kind, what=what, why=decision.why, confidence=confidence)
                for place, score in enumerate(stage.scores):
                    open_stage.score(score.principle, _score(number, place), name=score.name, feedback=score.feedback)
                if stage.name == "synthesis":
                    open_stage.prompts(**stage.prompts)
                    model = MODELS[number % len(MODELS)]
                    open_stage.usage(model=model, input_tokens=40_000, output_tokens=3_000, cost_usd=0.3)
                if stage.evidence:
                    open_stage.evidence(**stage.evidence)
                verdict = {"passed": number % 10 < 7} if stage.scores else {}
                open_stage.set_outputs({**stage.outputs, **verdict})
        trace.set_outputs(reference.OUTPUTS)
        if number % 25 == 3:
            trace.mark_failed("the synthesis ended without a report")
        elif number % 25 in {5, 11}:
            trace.mark_incomplete("cancelled")


def _score(number: int, place: int) -> float:
    """Fail each principle in some of the runs: the first ones in few, the last ones in a third."""
    drawn = (number * 7919 + place * 104_729) % 1009 / 1009
    return 1.0 if drawn < 0.04 + place * 0.015 else 2.0 if drawn < 0.6 else 3.0


class Population:
    """A migrated database that grows."""

    def __init__(self, url: str, seeds: Settings) -> None:
        self.target: Database = database(url)
        ensure_current(self.target)
        self._engine = engine(self.target, patient=True)
        self._on_sqlite = self.target.file is not None
        if self._on_sqlite:
            listen(self._engine, "connect", _with_hash)
        self.runs = 0
        self._seeds = self._sow(seeds)

    def grow(self, runs: int, decisions: int, searched: int) -> None:
        """Add runs until there are `runs`.

        Only the first `decisions` of all have rows in trace_decisions, and only `searched` are taken in for searches.
        A run's rows lie side by side, as whoever writes it leaves them. Sums of days and statistics are up to date
        afterwards and everything is on the disk, as in a database that is left alone.
        """
        with self._engine.begin() as connection:
            self._unchecked(connection)
            for table in TABLES:
                last = min(runs, decisions) if table is trace_decisions else runs
                multiply = sa.text(self._multiply(table))
                for first in range(self.runs, last, STEP):
                    connection.execute(multiply, {"first": first, "last": min(first + STEP, last) - 1})
            if not self._on_sqlite:
                self._mark(connection)
            if runs > searched:
                connection.execute(sa.delete(trace_search_pending))
        self.runs = runs
        self._analyse()
        while catch_up(self.target):
            pass
        self._analyse()
        self._write_out()

    def _analyse(self) -> None:
        self._maintain("ANALYZE" if self._on_sqlite else "VACUUM ANALYZE")

    def _write_out(self) -> None:
        """Do now what is due after so many writes: else the queries are asked beside it."""
        self._maintain("PRAGMA wal_checkpoint(TRUNCATE)" if self._on_sqlite else "CHECKPOINT")
        os.sync()

    def _maintain(self, statement: str) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(statement)

    def _sow(self, seeds: Settings) -> int:
        rows = [brain_files.document_and_row(seeds, path)[1] for path in sorted(brain_files.trace_files(seeds))]
        with closing(RunStore(self.target.url.render_as_string(hide_password=False))) as store:
            refused = store.save(rows)
        if refused:
            raise RuntimeError(f"the database refused seeds: {refused}")
        with self._engine.begin() as connection:
            number = "row_number() OVER (ORDER BY trace_id) - 1"
            connection.exec_driver_sql(f"CREATE TABLE seeds AS SELECT trace_id, {number} AS number FROM traces")  # noqa: S608 # as below
            for table in TABLES:
                connection.exec_driver_sql(f"CREATE TABLE seed_{table.name} AS SELECT * FROM {table.name}")  # noqa: S608 # a table's name
            connection.execute(sa.delete(traces))
        return len(rows)

    def _unchecked(self, connection: sa.Connection) -> None:
        """Skip foreign keys and triggers, which take longer than the rows."""
        if not self._on_sqlite:
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")

    def _mark(self, connection: sa.Connection) -> None:
        """Do what the triggers would have done."""
        new = sa.text(f"started_at >= to_timestamp({int(FIRST.timestamp()) + self.runs * APART})")
        day = sa.cast(sa.func.timezone("UTC", traces.c.started_at), sa.Date)
        connection.execute(sa.insert(stale_days).from_select(["day"], sa.select(day).distinct().where(new)))
        waiting = sa.select(traces.c.trace_id).where(new).order_by(traces.c.started_at)
        connection.execute(sa.insert(trace_search_pending).from_select(["trace_id"], waiting))

    def _multiply(self, table: sa.Table) -> str:
        started = _STARTED_ON_SQLITE if self._on_sqlite else _STARTED_ON_POSTGRESQL
        own = {column.name: f"{started}" for column in table.columns if isinstance(column.type, UtcDateTime)} | {
            name: made for name, made in _OWN.items() if name in table.c
        }
        own["trace_id"] = _ID_ON_SQLITE if self._on_sqlite else _ID_ON_POSTGRESQL
        columns = [column.name for column in table.columns if column.name != "id"]
        values = ", ".join(own.get(name, f"seed.{name}") for name in columns)
        return f"""
            WITH RECURSIVE numbers (i) AS (SELECT :first UNION ALL SELECT i + 1 FROM numbers WHERE i < :last)
            INSERT INTO {table.name} ({", ".join(columns)})
            SELECT {values}
            FROM numbers
            JOIN seeds ON seeds.number = (numbers.i * 7919) % {self._count()}
            JOIN seed_{table.name} AS seed ON seed.trace_id = seeds.trace_id
            ORDER BY numbers.i
        """.replace(":first", "CAST(:first AS BIGINT)", 1)  # noqa: S608 # names of our own tables

    def _count(self) -> int:
        with self._engine.connect() as connection:
            found: int = connection.scalar(sa.text("SELECT count(*) FROM seeds")) or 0
            return found


_EPOCH: Final = int(FIRST.timestamp())
_STARTED_ON_POSTGRESQL: Final = f"to_timestamp({_EPOCH} + numbers.i * {APART})"
_STARTED_ON_SQLITE: Final = f"strftime('%Y-%m-%dT%H\\:%M\\:%f000Z', {_EPOCH} + numbers.i * {APART}, 'unixepoch')"
# As real ones: the day first, the rest at random.
_ID_ON_POSTGRESQL: Final = (
    f"'trc_' || to_char({_STARTED_ON_POSTGRESQL} AT TIME ZONE 'UTC', 'YYYYMMDD') || '_'"
    " || substr(md5(numbers.i\\:\\:text), 1, 16)"
)
_ID_ON_SQLITE: Final = (
    f"'trc_' || strftime('%Y%m%d', {_EPOCH} + numbers.i * {APART}, 'unixepoch') || '_'"
    " || substr(md5(CAST(numbers.i AS TEXT)), 1, 16)"
)
_OWN: Final = {
    "duration_seconds": "20 + (numbers.i * 7919) % 100003 / 200.0 + coalesce(seed.duration_seconds, 0)",
    "cost_usd": "0.05 + (numbers.i * 104729) % 100003 / 100000.0",
    "synthesis_cost_usd": "0.05 + (numbers.i * 104729) % 100003 / 100000.0",
    "flagged_for_review": "numbers.i % 997 = 0",
}


def _with_hash(connection: Any, _record: object) -> None:
    connection.create_function("md5", 1, lambda text: hashlib.md5(text.encode()).hexdigest(), deterministic=True)  # noqa: S324 # spreads ids
