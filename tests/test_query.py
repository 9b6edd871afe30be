"""TraceQuery: every question of a person who calibrates, asynchronous and not, the same on both databases."""

import asyncio
import inspect
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from msgspec import UNSET
from sqlalchemy import event

import ire_otel
from ire_otel.db import tables
from ire_otel.db.engine import database, engine
from ire_otel.db.store import RunStore
from ire_otel.errors import IreOtelError, StoreUnavailableError
from ire_otel.model import PrincipleScore, ScoreNote, StageTrace
from ire_otel.query import QueryError, Results, SyncTraceQuery, TraceQuery, TraceResult
from ire_otel.query.runs import PAGE
from ire_otel.row import row
from tests.sample_document import LOCATION, decision, sample_document

FIRST = datetime(2026, 2, 13, 10, 30, tzinfo=UTC)
SYNC = TraceQuery.sync


def gate(*scores: tuple[str, float], passing: bool | None = True, gaps: list[str] | None = None) -> StageTrace:
    """Give a quality gate that scored principles, or only named gaps."""
    named = [principle for principle, score in scores if score < 2] if gaps is None else gaps
    return StageTrace(
        duration_seconds=1.0,
        decisions=[decision("quality_assessment", component="Gate")],
        principle_scores=[PrincipleScore(id=principle, score=score) for principle, score in scores],
        overall_score=2.5,
        passing=UNSET if passing is None else passing,
        gaps=[ScoreNote(id=principle) for principle in named],
    )


RUNS: list[dict[str, Any]] = [
    {"intent": "validating", "stages": {"quality_gate": gate(("META-1", 3), ("META-12", 1.5))}},
    {"intent": "exploring", "stages": {"quality_gate": gate(("META-1", 1), ("META-12", 2), passing=False)}},
    {"domain": "edtech", "status": "failed", "stages": {"quality_gate": gate(("META-12", 0), passing=False)}},
    {"project_name": "garden", "stages": {"quality_gate": gate(("META-1", 1), ("META-12", 1))}},
    {"status": "incomplete", "duration_seconds": None, "stages": {"intake": StageTrace(decisions=[decision()])}},
    {"intent": "validating", "domain": "edtech", "stages": {"quality_gate": gate(gaps=["META-1"], passing=None)}},
    {"duration_seconds": 900.0},
]
"""Runs, a minute apart; what they do not say is as in sample_document."""


@pytest.fixture
def recorded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured database, holding RUNS."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    with closing(RunStore(database_url)) as store:
        store.save(
            [
                row(
                    sample_document(
                        0xA0 + number, **{"started_at": (FIRST + timedelta(minutes=number)).isoformat(), **fields}
                    ),
                    LOCATION,
                )
                for number, fields in enumerate(RUNS)
            ]
        )
    return database_url


def numbers(results: list[TraceResult]) -> list[int]:
    """Give the places in RUNS of the runs that were found."""
    return [int(result.trace_id[-1]) for result in results]


@pytest.mark.parametrize(
    ("method", "arguments", "expected"),
    [
        ("by_intent", ("validating",), [6, 5, 3, 0]),
        ("by_intent", ("validating", 2), [6, 5]),
        ("by_intent", ("v' OR 1=1 --",), []),
        ("by_domain", ("robotics",), [6, 3, 1, 0]),
        ("by_domain", ("edtech",), [5]),
        ("by_project", ("cobot",), [6, 5, 4, 2, 1, 0]),
        ("by_status", ("incomplete",), [4]),
        ("low_scoring_principle", ("META-12",), [6, 3, 0]),
        ("low_scoring_principle", ("META-12", 1.5), [6, 3]),
        ("low_scoring_principle", ("META-12", 3), [6, 3, 1, 0]),
        ("low_scoring_principle", ("META-12", 2, 1), [6]),
        ("quality_gate_failures", (), [1]),
        ("flagged_for_review", (), []),
        ("slowest", (2,), [6, 5]),
        ("costliest", (), [6]),
    ],
)
def test_each_question_has_its_answer(
    recorded: str, method: str, arguments: tuple[Any, ...], expected: list[int]
) -> None:
    """The newest first, and the same answer whether one awaits it or not."""
    at_once = getattr(SYNC, method)(*arguments)
    assert numbers(at_once) == expected
    assert asyncio.run(getattr(TraceQuery, method)(*arguments)) == at_once


@pytest.mark.parametrize("method", ["by_status", "search", "quality_gate_failures", "low_scoring_principle"])
def test_a_window_of_time(recorded: str, method: str) -> None:
    """`since` is inside, `until` is not; a time without a zone is local."""
    arguments = {"by_status": ("complete",), "search": ("robots",), "low_scoring_principle": ("META-12", 3)}
    ask = getattr(SYNC, method)
    everything = numbers(ask(*arguments.get(method, ())))
    since, until = FIRST + timedelta(minutes=1), FIRST + timedelta(minutes=6)
    for zone in (UTC, None):
        window = {name: moment.astimezone(zone) for name, moment in (("since", since), ("until", until))}
        if zone is None:
            window = {name: moment.replace(tzinfo=None) for name, moment in window.items()}
        assert numbers(ask(*arguments.get(method, ()), **window)) == [n for n in everything if 1 <= n < 6]


def test_principle_patterns(recorded: str) -> None:
    """Gaps are counted also where the gate named them without scores; runs that did not complete do not count."""
    assert SYNC.principle_patterns(min_runs=1) == [
        {"principle_id": "META-1", "fail_count": 3, "avg_score": 2.0, "total_runs": 5},
        {"principle_id": "META-12", "fail_count": 3, "avg_score": 1.375, "total_runs": 4},
    ]
    assert SYNC.principle_patterns(min_runs=4) == []
    late = SYNC.principle_patterns(min_runs=1, since=FIRST + timedelta(minutes=4))
    assert [(pattern["principle_id"], pattern["fail_count"]) for pattern in late] == [("META-1", 1), ("META-12", 1)]
    assert asyncio.run(TraceQuery.principle_patterns(1)) == SYNC.principle_patterns(1)


def test_summary(recorded: str) -> None:
    """Counts of all runs, means of the complete ones; None where nobody knows."""
    assert SYNC.summary() == {
        "total_runs": 7,
        "complete": 5,
        "failed": 1,
        "incomplete": 1,
        "qg_passed": 3,
        "qg_failed": 2,
        "avg_quality": pytest.approx(2.48),
        "avg_duration": pytest.approx((4 * 262 + 900) / 5),
        "avg_cost": pytest.approx(0.32),
    }
    nothing = SYNC.summary(until=FIRST)
    assert (nothing["total_runs"], nothing["avg_quality"]) == (0, None)
    assert asyncio.run(TraceQuery.summary()) == SYNC.summary()


def test_decisions_of_a_type(recorded: str) -> None:
    """Of the newest run first, with what became of the run."""
    found = SYNC.decisions(type="quality_assessment", component="Gate")
    assert numbers([*found]) == [5, 3, 2, 1, 0]  # type: ignore[list-item] # a decision has a trace_id too
    assert (found[3].stage, found[3].quality_gate_passed, found[3].why) == (
        "quality_gate",
        False,
        "The query assumes what it asks.",
    )
    assert [entry.stage for entry in SYNC.decisions("classified_intent", limit=2)] == ["intake", "intake"]
    assert SYNC.decisions(stage="intake", until=FIRST) == []
    assert asyncio.run(TraceQuery.decisions("quality_assessment")) == SYNC.decisions("quality_assessment")


@pytest.mark.parametrize(
    ("ask", "named"),
    [
        (lambda: SYNC.by_intent("x", 0), "limit cannot be 0"),
        (lambda: SYNC.by_intent("x", True), "limit cannot be True"),
        (lambda: SYNC.slowest(10**6), "limit cannot be 1000000: .*iter_runs"),
        (lambda: SYNC.by_intent("x", "5"), "limit cannot be '5'"),  # type: ignore[arg-type] # the point
        (lambda: SYNC.by_intent(None), "intent cannot be None"),  # type: ignore[arg-type] # the point
        (lambda: SYNC.principle_patterns(0), "min_runs cannot be 0"),
        (lambda: SYNC.low_scoring_principle("META-1", "2"), "threshold cannot be '2'"),  # type: ignore[arg-type] # the point
        (lambda: SYNC.summary(since="2026-02-13"), "since cannot be '2026-02-13': give a datetime"),  # type: ignore[arg-type] # the point
        (lambda: SYNC.search(7), "text cannot be 7"),  # type: ignore[arg-type] # the point
    ],
)
def test_a_wrong_question_is_named(recorded: str, ask: Callable[[], object], named: str) -> None:
    """The error says what cannot be and what can, and is a ValueError too."""
    with pytest.raises(QueryError, match=named) as raised:
        ask()
    assert isinstance(raised.value, ValueError)


def test_texts_are_asked_for_as_rows_hold_them(recorded: str) -> None:
    """NUL, lone surrogates and what is too long for the column find what was stored of them."""
    odd = "a\0b" + "x" * 300
    with closing(RunStore(recorded)) as store:
        store.save([row(sample_document(0xAF, intent=odd), LOCATION)])
    assert [result.trace_id[-2:] for result in SYNC.by_intent(odd)] == ["af"]
    assert SYNC.by_intent("\ud800") == []


def test_runs_that_began_together_keep_one_order(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iterator gives each of them once, whatever the size of a page."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    monkeypatch.setattr("ire_otel.query.runs.PAGE", 3)
    with closing(RunStore(database_url)) as store:
        store.save([row(sample_document(number, stages={}), None) for number in range(10)])
    found = numbers(list(SYNC.iter_runs(intent="validating")))
    assert found == list(range(9, -1, -1))

    async def collect() -> list[TraceResult]:
        return [result async for result in TraceQuery.iter_runs(intent="validating", since=FIRST, status="complete")]

    assert numbers(asyncio.run(collect())) == found
    assert list(SYNC.iter_runs(project="nobody's")) == []


def test_ten_thousand_runs_pass_through_little_memory(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iterator holds a page at a time: memory does not grow with the number of runs."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    template = {"status": "complete", "query": "q" * 200, "intent": "validating"}
    with engine(database(sqlite_url)).begin() as connection:
        connection.execute(
            sa.insert(tables.traces),
            [
                {**template, "trace_id": f"trc_{number:06}", "started_at": FIRST + timedelta(seconds=number)}
                for number in range(10_000)
            ],
        )
    iterator = SYNC.iter_runs()
    first = next(iterator)
    tracemalloc.start()
    try:
        rest = sum(1 for _ in iterator)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (first.trace_id, rest) == ("trc_009999", 9_999)
    a_page = PAGE * len(msgspec.json.encode(first))
    assert peak < 10 * a_page


def test_one_process_may_start_many_event_loops(recorded: str) -> None:
    """Each has connections of its own, and leaves none behind; many questions at once are answered."""

    async def many() -> list[Results[TraceResult]]:
        return await asyncio.gather(*(TraceQuery.by_intent("validating") for _ in range(16)))

    for _ in range(3):
        assert {len(found) for found in asyncio.run(many())} == {4}
    if recorded.startswith("postgresql"):
        with engine(database(recorded)).connect() as connection:
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.scalar(sa.text(f"{mine} AND pid <> pg_backend_pid()")) == 0


def test_an_event_loop_that_nobody_closes_does_not_hold_the_process(sqlite_url: str) -> None:
    """A script that forgets its loop still ends."""
    program = (
        "import asyncio; from ire_otel.query import TraceQuery; loop = asyncio.new_event_loop();"
        "print(loop.run_until_complete(TraceQuery.summary())['total_runs'])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={"IRE_OTEL_DATABASE_URL": sqlite_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


async def test_the_synchronous_twin_works_beside_a_loop(recorded: str) -> None:
    """As in a notebook, where a loop is always running."""
    assert await TraceQuery.by_domain("edtech") == SYNC.by_domain("edtech")


def test_the_configured_runtime_wins(recorded: str, sqlite_template: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `configure()` was told counts before the environment."""
    assert SYNC.summary()["total_runs"] == len(RUNS)
    ire_otel.configure(database_url=f"sqlite:///{sqlite_template}")
    assert SYNC.summary()["total_runs"] == 0
    assert asyncio.run(TraceQuery.summary())["total_runs"] == 0


@pytest.mark.parametrize(
    "url",
    ["sqlite:////nowhere/traces.db", "postgresql://nobody@127.0.0.1:1/nothing"],
)
def test_a_database_that_is_not_there(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error from either twin."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", url)
    with pytest.raises(StoreUnavailableError, match=r"no database at|cannot be used"):
        SYNC.summary()
    with pytest.raises(StoreUnavailableError, match=r"no database at|cannot be used"):
        asyncio.run(TraceQuery.summary())


def test_a_mistake_in_the_call_is_no_fault_of_the_database(recorded: str) -> None:
    """It stays a TypeError."""
    with pytest.raises(TypeError):
        SYNC.by_intent()  # type: ignore[call-arg] # the point
    with pytest.raises(TypeError):
        asyncio.run(TraceQuery.by_intent("x", size=3))  # type: ignore[call-arg] # the point


def public(queries: type) -> dict[str, Any]:
    """Give the questions that a class offers."""
    return {name: value for name, value in vars(queries).items() if not name.startswith("_") and name != "sync"}


def test_the_twins_offer_the_same() -> None:
    """The same names, the same parameters, each with its documentation; one coroutine functions, one plain ones."""
    asynchronous, synchronous = public(TraceQuery), public(SyncTraceQuery)
    assert asynchronous.keys() == synchronous.keys()
    for name in asynchronous:
        ask, wait = getattr(TraceQuery, name), getattr(SyncTraceQuery, name)
        assert inspect.signature(ask) == inspect.signature(wait)
        assert not {"brain", "last"} & inspect.signature(ask).parameters.keys()
        assert ask.__doc__
        assert ask.__doc__ == wait.__doc__
        assert inspect.iscoroutinefunction(ask) or inspect.isasyncgenfunction(ask)
        assert not inspect.iscoroutinefunction(wait)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_results_become_a_data_frame(recorded: str, library: Any) -> None:
    """With the library that is asked for; where it is not installed, the error says how to get it."""
    found = SYNC.by_intent("validating")
    if find_spec(library) is None:
        with pytest.raises(QueryError, match=f"pip install {library}"):
            found.to_dataframe(library)
        return
    frame = found.to_dataframe(library)
    assert list(frame.columns) == list(TraceResult.__struct_fields__)
    assert list(frame["trace_id"]) == [result.trace_id for result in found]
    assert list(Results(SYNC.iter_runs(intent="exploring")).to_dataframe(library)["status"]) == ["complete"]


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda: SYNC.low_scoring_principle("META-12", 1), "idx_trace_principle_scores_gaps"),
        (lambda: list(SYNC.iter_runs()), "idx_traces_started"),
        (lambda: SYNC.decisions("classified_intent"), "idx_traces_started"),
    ],
)
def test_sqlite_reads_an_index(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, ask: Callable[[], object], index: str
) -> None:
    """In the order of the answer, so that nothing is sorted as a whole."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    plans = []

    def explain(connection: Any, _cursor: Any, sql: str, parameters: Any, *_: object) -> None:
        if sql.startswith("SELECT"):
            plan = connection.connection.cursor().execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            plans.append(" ".join(step[3] for step in plan))

    event.listen(sa.Engine, "before_cursor_execute", explain)
    try:
        ask()
    finally:
        event.remove(sa.Engine, "before_cursor_execute", explain)
    assert index in plans[-1]
    assert "USE TEMP B-TREE FOR ORDER BY" not in plans[-1]


def test_errors_of_queries_are_ours() -> None:
    """Whoever catches IreOtelError catches them."""
    assert issubclass(QueryError, IreOtelError)
