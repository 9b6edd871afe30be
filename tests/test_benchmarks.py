"""The benchmarks measure: each of their parts once, at the smallest scale; how fast things are is no matter here."""

import msgspec
import pytest

from benchmarks import contenders, measurements, tables
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


def test_absent_contenders_are_named() -> None:
    """The benchmarks work without the peers, and say which are missing."""
    assert set(contenders.present()) | set(contenders.absent()) == set(contenders.names())
    assert set(contenders.FIRST) <= set(contenders.present())


def _measured(figures: list[Figure], goals: list[Goal]) -> Measured:
    return Measured(name="cost", title="Cost", figures=figures, goals=goals, seconds=1.0, load=(0.0, 0.0))
