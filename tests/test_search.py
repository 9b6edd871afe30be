"""Search: words and phrases in queries and decisions, with the same meaning on both databases."""

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ire_otel.db import migrate
from ire_otel.db.engine import database, engine
from ire_otel.db.search_index import BATCH
from ire_otel.db.store import RunStore
from ire_otel.model import StageTrace
from ire_otel.query import TraceQuery
from ire_otel.query.search import TERMS, terms
from ire_otel.row import row
from tests.sample_document import decision, sample_document

FIRST = datetime(2026, 2, 13, 10, 30, tzinfo=UTC)
SYNC = TraceQuery.sync


def save(url: str, number: int, query: str | None, *reasons: str, what: object = "exa") -> None:
    """Record a run with a query and one decision a reason."""
    decisions = [decision("source_selection", what=what, why=reason) for reason in reasons]
    document = sample_document(
        number,
        query=query,
        stages={"collection": StageTrace(decisions=decisions)},
        started_at=(FIRST + timedelta(minutes=number)).isoformat(),
    )
    with closing(RunStore(url)) as store:
        assert store.save([row(document, None)]) == {}


@pytest.fixture
def recorded(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The configured database, with runs that are worth a search."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    save(database_url, 1, "Competitive landscape for collaborative robots?", "Industry reports first.")
    save(database_url, 2, "Warum Größe zählt", "see https://ifr.org/report-2025, META-12", "recency of 2025")
    save(database_url, 3, None, "collaborative filtering", what=["confirmation_bias", "it's -3.5 %"])
    save(database_url, 4, "ROBOTS!", "reports", "industry")
    return database_url


def found(text: str) -> list[int]:
    """Give the numbers of the runs that a search finds."""
    return [int(result.trace_id[-2:], 16) for result in SYNC.search(text)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("robots", [4, 1]),
        ("Robots", [4, 1]),
        ("robot", []),
        ("robot*", [4, 1]),
        ("collaborative robots", [1]),
        ("robots industry", [4, 1]),
        ('"industry reports"', [1]),
        ('"collaborative robots"', [1]),
        ('"robots collaborative"', []),
        ('"collaborative rob"*', [1]),
        ('"collaborative rob', []),
        ("größe", [2]),
        ("grösse", []),
        ("ifr.org", [2]),
        ("report", [2]),
        ("2025", [2]),
        ("META-12", [2]),
        ("meta 12", [2]),
        ("12", [2]),
        ("confirmation_bias", [3]),
        ("bias", [3]),
        ('"bias it"', [3]),
        ("3.5", [3]),
        # A phrase does not reach from one text into the next.
        ('"exa industry"', []),
        ('"robots exa"', []),
        ('"landscape" AND competitive', []),
        ("", []),
        ("!? -- ()", []),
        ('"', []),
        ("' OR 1=1 --", []),
    ],
)
def test_words_and_phrases(recorded: str, text: str, numbers: list[int]) -> None:
    """All words must be there, somewhere in the run; the newest run comes first; signs separate words."""
    assert found(text) == numbers
    assert [result.trace_id for result in asyncio.run(TraceQuery.search(text))] == [
        result.trace_id for result in SYNC.search(text)
    ]


def test_a_limit_and_a_window(recorded: str) -> None:
    """As in all queries."""
    assert len(SYNC.search("robots", 1)) == 1
    assert found("robots") == [4, 1]
    assert [result.query for result in SYNC.search("robots", since=FIRST + timedelta(minutes=2))] == ["ROBOTS!"]


def test_a_run_that_is_written_again_is_found_by_its_new_words_only(recorded: str) -> None:
    """Late spans, or a second look at the gate, change what a run holds."""
    assert found("landscape") == [1]
    save(recorded, 1, "something else", "for other reasons")
    assert found("landscape") == []
    assert found('"other reasons"') == [1]
    save(recorded, 5, "landscape")
    assert found("landscape") == [5]


def test_a_run_that_is_removed_is_not_found(recorded: str) -> None:
    """Nor does a new one under its name inherit its words."""
    assert found("landscape") == [1]
    with engine(database(recorded)).begin() as connection:
        connection.execute(sa.text("DELETE FROM traces WHERE query LIKE 'Competitive%'"))
    assert found("landscape") == []
    save(recorded, 1, "something else")
    assert found("landscape") == []
    assert found("something") == [1]


def test_many_runs_are_taken_in_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In several transactions, and by several searches at a time."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    number = 2 * BATCH + 50
    with closing(RunStore(database_url)) as store:
        store.save([row(sample_document(place, query=f"word{place % 10}"), None) for place in range(number)])

    async def search() -> list[int]:
        return [len(found) for found in await asyncio.gather(*(TraceQuery.search("word3") for _ in range(4)))]

    assert asyncio.run(search()) == [number // 10] * 4
    with engine(database(database_url)).connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM trace_search")) == number


def test_runs_from_before_the_index_are_found(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first search takes in all that is there."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", empty_database_url)
    target = database(empty_database_url)
    migrate.upgrade(target, "0003")
    with engine(target).begin() as connection:
        statement = sa.text("INSERT INTO traces (trace_id, query, started_at) VALUES ('trc_1', 'robots', :started_at)")
        connection.execute(statement, {"started_at": FIRST.isoformat()})
    migrate.upgrade(target)
    assert found_ids("robots") == ["trc_1"]


def found_ids(text: str) -> list[str]:
    """Give the runs that a search finds."""
    return [result.trace_id for result in SYNC.search(text)]


def test_a_huge_query_is_stored_and_found_by_its_beginning(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No database refuses the row because of the index."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    words = " ".join(f"word{number}x{number}" for number in range(200_000))
    save(database_url, 1, f"{words} last")
    save(database_url, 2, "x" * 3_000_000)
    assert found("word7x7") == [1]
    assert found("last") == []
    assert found("x" * 3_000_000) == []


def test_what_counts_of_a_long_search() -> None:
    """The first words and phrases."""
    assert len(terms("a " * 1_000)) == TERMS
    assert [(term.text, term.prefix) for term in terms('"a b"* c* "d" - \x00e')] == [
        ("a b", True),
        ("c*", True),
        ("d", False),
        ("e", False),
    ]


OPERATORS = "\"*-^:(){}+\\'%&|!<>\0\ud800²½̈ ANDORNEAR"
signs = st.text(alphabet=st.one_of(st.characters(), st.sampled_from(OPERATORS)), max_size=60)


@given(text=signs)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_can_be_searched_for(recorded: str, text: str) -> None:
    """Nothing that somebody types is an error, or finds more than its words."""
    for typed in (text, f'"{text}"', f"{text}*", f"robots {text}"):
        assert set(found(typed)) <= {1, 2, 3, 4}
    assert set(found(f"nowhere {text}")) == set()
