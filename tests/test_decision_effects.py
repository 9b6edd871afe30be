"""Which decision goes with a principle's failures: what `query decisions META-12` answers."""

import asyncio
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ire_otel.db.store import RunStore
from ire_otel.model import PrincipleScore, StageTrace, TraceDocument
from ire_otel.query import DecisionEffect, TraceQuery
from ire_otel.row import row
from tests.sample_document import LOCATION, decision, sample_document


def judged(number: int, *styles: str, score: float | None, status: str = "complete") -> TraceDocument:
    """Give a run that took these citation styles, and was judged so."""
    synthesis = StageTrace(decisions=[decision("citation_style", what=style) for style in styles])
    gate = StageTrace(principle_scores=[PrincipleScore(id="META-12", score=score)])
    return sample_document(number, stages={"synthesis": synthesis, "quality_gate": gate}, status=status)


def effects(url: str, documents: list[TraceDocument], min_runs: int = 1) -> list[DecisionEffect]:
    with closing(RunStore(url)) as store:
        store.save([row(document, LOCATION) for document in documents])
    found = TraceQuery.sync.decision_effects("META-12", min_runs)
    assert asyncio.run(TraceQuery.decision_effects("META-12", min_runs)) == found
    return found


def test_the_option_that_goes_with_the_failures_comes_first(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rates with and without it, and Fisher's exact test; what was not judged or did not finish does not count."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", database_url)
    documents = [
        *(judged(1 + number, "grouped", score=1.0 if number < 3 else 3.0) for number in range(4)),
        *(judged(10 + number, "inline", "inline", score=3.0) for number in range(6)),
        judged(20, "grouped", score=0.0, status="failed"),
        judged(21, "grouped", score=None),
    ]
    grouped, inline = effects(database_url, documents)
    assert (grouped.what, grouped.runs, grouped.fail_rate, grouped.mean_score) == ("grouped", 4, 0.75, 1.5)
    assert (grouped.other_runs, grouped.other_fail_rate, grouped.other_mean_score) == (6, 0.0, 3.0)
    assert grouped.p_value == pytest.approx(4 / 120)  # C(4,3)·C(6,0) of C(10,3) ways to spread 3 failures
    assert (inline.what, inline.fail_rate, inline.p_value) == ("inline", 0.0, 1.0)
    assert grouped.q_value == pytest.approx(2 * grouped.p_value)


def test_a_run_that_changed_its_mind_counts_for_both(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each option, and once for the type."""
    monkeypatch.setenv("IRE_OTEL_DATABASE_URL", sqlite_url)
    found = effects(sqlite_url, [judged(1, "grouped", "inline", score=1.0), judged(2, "inline", score=3.0)])
    assert [(one.what, one.runs, one.other_runs) for one in found] == [("grouped", 1, 1)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([0.0, 1.5, 2.0, 3.0])), max_size=12))
def test_rates_are_those_of_a_count_by_hand(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[str, float]]
) -> None:
    """For any runs, each option's rate and its complement's are plain shares."""
    with pytest.MonkeyPatch.context() as patch:
        url = f"sqlite:///{tmp_path_factory.mktemp('effects') / 'traces.db'}"
        patch.setenv("IRE_OTEL_DATABASE_URL", url)
        found = effects(
            url,
            [judged(1 + n, option, score=score) for n, (option, score) in enumerate(runs)] or [judged(1, score=2.0)],
        )
    by_option = {one.what: one for one in found}
    for option in {option for option, _ in runs}:
        taken = [score < 2 for each, score in runs if each == option]
        others = [score < 2 for each, score in runs if each != option]
        assert (option in by_option) == bool(others)
        if others:
            assert by_option[option].fail_rate == pytest.approx(sum(taken) / len(taken))
            assert by_option[option].other_fail_rate == pytest.approx(sum(others) / len(others))
