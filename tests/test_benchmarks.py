"""The benchmarks measure: each of their parts once, at the smallest scale; how fast things are is no matter here."""

from pathlib import Path

import msgspec
import psycopg
import pytest

from benchmarks import contenders, measurements, tables
from benchmarks.measurements import decisions, queries
from benchmarks.population import Population, record_seeds
from benchmarks.results import Figure, Figures, Goal, Measured, Report, Scale

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", measurements.names())
def test_a_measurement_gives_figures_and_goals(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every figure has samples, nothing is lost, every goal is held against them, and all can be shown and written."""
    monkeypatch.delenv("IRE_OTEL_RAISE", raising=False)
    made = measurements.measurement(name)
    figures = made.measure(Scale.SMALLEST)
    assert figures
    assert all(figure.samples for figure in figures)
    assert all(figure.samples == [0] for figure in figures if figure.what == "lost")
    keys = [(figure.what, figure.of, figure.at) for figure in figures]
    assert len(set(keys)) == len(keys)
    measured = _measured(figures, list(made.goals(Figures(figures))))
    columns = tables.header(measured)
    assert {len(row) for row in tables.rows(measured)} == {len(columns)}
    assert all(goal.verdict in {"met", "not met", "not measured"} for goal in measured.goals)
    report = Report(scale=Scale.SMALLEST, surroundings={}, absent={}, measured=[measured])
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert set(made.CHARTS) <= {figure.what for figure in figures}


def test_the_memory_of_many_decisions_is_that_of_a_fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times are of all rounds; memory is of the first, which finds nothing that another round has left free."""
    monkeypatch.delenv("IRE_OTEL_RAISE", raising=False)
    figures = decisions.measure(Scale.SMALLEST)
    assert {len(figure.samples) for figure in figures if figure.unit == "µs"} == {2}
    assert {len(figure.samples) for figure in figures if figure.unit == "MB"} == {1}


def test_memory_is_held_against_a_straight_line() -> None:
    """Memory of a run may grow with its decisions, memory of a decision may not."""
    sizes = {1_000: [6.0], 10_000: [58.0], 100_000: [638.0]}
    figures = [Figure(what="memory, most", of="ire", unit="MB", at=at, samples=mb) for at, mb in sizes.items()]
    figures += [Figure(what="caller", of="ire", unit="µs", at=at, samples=[5.0]) for at in sizes]
    (goal,) = (goal for goal in decisions.goals(Figures(figures)) if goal.what.startswith("memory"))
    assert goal.measured == pytest.approx(1.1)
    assert goal.verdict == "met"


def test_absent_contenders_are_named() -> None:
    """The benchmarks work without the peers, and say which are missing."""
    assert set(contenders.present()) | set(contenders.absent()) == set(contenders.names())
    assert set(contenders.FIRST) <= set(contenders.present())


def test_a_run_of_a_grown_database_lies_on_few_pages(postgres_url: str, tmp_path: Path) -> None:
    """As whoever writes runs one by one leaves them; scattered, their decisions would be on a page each."""
    population = Population(postgres_url, record_seeds(tmp_path / "brain", 3))
    population.grow(300, decisions=200, searched=100)
    pages = "SELECT count(DISTINCT split_part(ctid::text, ',', 1)), count(*) FROM trace_decisions GROUP BY trace_id"
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(pages).fetchall()
        newest_last = connection.execute("SELECT started_at FROM traces ORDER BY ctid").fetchall()
    assert len(found) == 200
    assert {count for _, count in found} == {40}
    assert max(spread for spread, _ in found) <= 4
    assert newest_last == sorted(newest_last)


def test_queries_are_held_against_each_other_at_as_many_rows() -> None:
    """What the smallest database has fewer rows for is asked for as many in the others; the goal takes that time."""
    found = queries.measure(Scale.SMALLEST)
    assert {figure.at for figure in found if figure.what == queries.SAME_ROWS} == {40}
    assert {figure.at for figure in found if figure.what == "p50"} == {20, 40}
    times = {("p50", 1_000): 1.0, ("p50", 1_000_000): 9.0, (queries.SAME_ROWS, 1_000_000): 1.5}
    figures = [
        Figure(what=what, of="by_project, Postgres", unit="ms", at=at, samples=[time])
        for (what, at), time in times.items()
    ]
    assert next(iter(queries.goals(Figures(figures)))).measured == 1.5
    assert next(iter(queries.goals(Figures(figures[:2])))).measured == 9.0


def _measured(figures: list[Figure], goals: list[Goal]) -> Measured:
    return Measured(name="cost", title="Cost", figures=figures, goals=goals, seconds=1.0, load=(0.0, 0.0))
