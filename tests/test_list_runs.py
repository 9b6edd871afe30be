"""list_runs and find_run: what `ire-otel runs` and `show` ask, the same on both databases."""

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ire_otel.db.engine import database, engine
from ire_otel.db.store import RunStore
from ire_otel.errors import IreOtelError, StoreUnavailableError
from ire_otel.query import RunNotFoundError, TraceResult, find_run, list_runs
from ire_otel.row import row
from tests.sample_document import LOCATION, sample_document

FIRST = datetime(2026, 2, 13, 10, 30, tzinfo=UTC)
INTENTS = ("validating", "exploring")


@pytest.fixture
def recorded(database_url: str) -> str:
    """A database with six runs, a minute apart."""
    with closing(RunStore(database_url)) as store:
        store.save(
            [
                row(
                    sample_document(
                        number + 0xA0,
                        started_at=(FIRST + timedelta(minutes=number)).isoformat(),
                        intent=INTENTS[number % 2],
                        domain="edtech" if number == 3 else "robotics",
                        project_name="other" if number == 4 else "cobot",
                        status="failed" if number == 5 else "complete",
                    ),
                    LOCATION,
                )
                for number in range(6)
            ]
        )
    return database_url


def test_a_result_holds_what_a_table_shows(recorded: str) -> None:
    """The fields of SPEC 6 and the costs, times as ISO 8601 UTC."""
    assert find_run(recorded, "trc_20260213_00000000000000a0") == TraceResult(
        trace_id="trc_20260213_00000000000000a0",
        project_name="cobot",
        query="What is the competitive landscape for collaborative robots?",
        intent="validating",
        domain="robotics",
        report_type="market_research",
        status="complete",
        quality_gate_passed=True,
        overall_quality_score=2.4,
        gap_principles=["META-12"],
        strength_principles=["META-1"],
        duration_seconds=262.0,
        started_at="2026-02-13T10:30:00.000000Z",
        completed_at="2026-02-13T10:34:22.000000Z",
        iteration_count=1,
        synthesis_cost_usd=0.32,
        cost_usd=0.32,
        error=None,
        current_stage=None,
        jaeger_url=None,
        trace_file_path=LOCATION,
        report_file_path="brain/projects/cobot/artifacts/report.md",
    )


@pytest.mark.parametrize(
    ("ask", "numbers"),
    [
        (list_runs, [5, 4, 3, 2, 1, 0]),
        (lambda url: list_runs(url, limit=2), [5, 4]),
        (lambda url: list_runs(url, intent="validating"), [4, 2, 0]),
        (lambda url: list_runs(url, domain="edtech"), [3]),
        (lambda url: list_runs(url, project="other"), [4]),
        (lambda url: list_runs(url, status="failed"), [5]),
        (lambda url: list_runs(url, since=FIRST + timedelta(minutes=4)), [5, 4]),
        (lambda url: list_runs(url, since=FIRST.astimezone() + timedelta(minutes=4)), [5, 4]),
        (lambda url: list_runs(url, intent="exploring", status="complete", since=FIRST), [3, 1]),
        (lambda url: list_runs(url, intent="' OR 1=1 --"), []),
    ],
)
def test_runs_are_chosen_and_newest_first(
    recorded: str, ask: Callable[[str], list[TraceResult]], numbers: list[int]
) -> None:
    """All conditions hold at once; values are bound, never part of the SQL."""
    assert [int(found.trace_id[-1]) for found in ask(recorded)] == numbers


@pytest.mark.parametrize(
    "wanted",
    ["last", "trc_20260213_00000000000000a5", "00000000000000a5"],
)
def test_a_run_is_found_by_what_names_it(recorded: str, wanted: str) -> None:
    """`last`, the whole trace_id, or the beginning of one of its parts."""
    assert find_run(recorded, wanted).trace_id == "trc_20260213_00000000000000a5"


def test_an_ambiguous_beginning_names_the_candidates(recorded: str) -> None:
    """The newest of them, and that there are more."""
    with pytest.raises(RunNotFoundError, match=r"'trc_2026' fits more than one.*0a5, .*0a4, .* and more; give more"):
        find_run(recorded, "trc_2026")


@pytest.mark.parametrize("wanted", ["nothing", "%", "_", "trc%", "' OR 1=1 --", ""])
def test_what_names_no_run_is_an_error(recorded: str, wanted: str) -> None:
    """Wildcards of LIKE are characters like any other."""
    with pytest.raises(RunNotFoundError, match=r"ire-otel runs|give more characters"):
        find_run(recorded, wanted)


def test_without_any_run_last_says_how_to_get_one(database_url: str) -> None:
    """An empty database is no failure of the listing."""
    assert list_runs(database_url) == []
    with pytest.raises(IreOtelError, match="ire-otel demo"):
        find_run(database_url, "last")


def test_a_missing_file_is_named_and_not_made(tmp_path: Path) -> None:
    """Looking makes no database: the working directory may just be the wrong one."""
    file = tmp_path / "traces.db"
    with pytest.raises(StoreUnavailableError, match=r"no database at .*traces\.db"):
        list_runs(f"sqlite:///{file}")
    assert not file.exists()


@pytest.mark.parametrize(
    ("column", "value", "index"),
    [
        ("intent", "validating", "idx_traces_intent"),
        ("domain", "edtech", "idx_traces_domain"),
        ("project_name", "cobot", "idx_traces_project_name"),
    ],
)
def test_choosing_by_one_column_sorts_nothing(sqlite_url: str, column: str, value: str, index: str) -> None:
    """The index gives the rows in the order of the answer."""
    question = f"EXPLAIN QUERY PLAN SELECT * FROM traces WHERE {column} = :value ORDER BY started_at DESC LIMIT 50"  # noqa: S608 # a column of the list above
    with engine(database(sqlite_url)).connect() as connection:
        plan = str(connection.execute(sa.text(question), {"value": value}).all())
    assert index in plan
    assert "TEMP B-TREE" not in plan
