"""The rows that a trace document becomes: complete, storable in both databases, changes noted."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ire_otel.db import tables
from ire_otel.errors import RowRefusedError
from ire_otel.model import Attempt, Dropped, Metadata, PrincipleScore, StageTrace, TokenUsage
from ire_otel.row import Row, RunRow, row
from tests.sample_document import LOCATION, STARTED, decision, sample_document

METADATA: dict[str, Any] = {"generator": "test", "otel_trace_id": "1" * 32, "otel_span_id": "2" * 16}


def test_the_run_row_says_what_the_document_says() -> None:
    """Every column that both have agrees with the document of SPEC 3.1."""
    run = row(sample_document(), LOCATION).run
    assert run == RunRow(
        trace_id="trc_20260213_00000000000000a1",
        project_id=None,
        project_key="uuid-here",
        project_name="cobot",
        otel_trace_id="0" * 31 + "1",
        query="What is the competitive landscape for collaborative robots?",
        intent="validating",
        domain="robotics",
        report_type="market_research",
        research_type="competitive",
        status="complete",
        quality_gate_passed=True,
        overall_quality_score=2.4,
        started_at=STARTED,
        completed_at="2026-02-13T10:34:22.000000Z",
        duration_seconds=262.0,
        intake_duration=5.2,
        rubric_duration=0.3,
        collection_duration=45.8,
        synthesis_duration=180.5,
        quality_gate_duration=30.2,
        evidence_collected=28,
        evidence_passed=18,
        evidence_filtered=10,
        synthesis_model="claude-opus-4-6",
        synthesis_input_tokens=45_000,
        synthesis_output_tokens=3_800,
        synthesis_cost_usd=0.32,
        principle_scores={"META-1": 3, "META-12": 1},
        gap_principles=["META-12"],
        strength_principles=["META-1"],
        iteration_count=1,
        quality_gate_failures=0,
        decision_count=3,
        input_tokens=45_000,
        output_tokens=3_800,
        cost_usd=0.32,
        dropped_telemetry=0,
        schema_version=1,
        trace_file_path=LOCATION,
        report_file_path="brain/projects/cobot/artifacts/report.md",
        output_file_paths=["brain/projects/cobot/artifacts/report.md", "brain/e1", "brain/e2"],
    )


def test_a_run_without_anything_has_a_row() -> None:
    """What nobody reported is unknown, not zero."""
    made = row(sample_document(stages={}, outputs={}, project_id=None), None)
    assert made.run.overall_quality_score is None
    assert made.run.gap_principles is None
    assert made.run.cost_usd is None
    assert made.run.trace_file_path is None
    assert [made.principle_scores, made.stages, made.decisions, made.sources, made.model_usage, made.notes] == [[]] * 6


def test_encoded_values_are_read() -> None:
    """A document just assembled holds outputs and evidence as encoded JSON; its rows are the same."""
    plain = sample_document()
    encoded = msgspec.structs.replace(
        plain,
        stages={
            name: msgspec.structs.replace(
                stage,
                outputs=Raw(msgspec.json.encode(stage.outputs)),
                evidence={key: Raw(msgspec.json.encode(value)) for key, value in stage.evidence.items()}
                if stage.evidence
                else stage.evidence,
                decisions=[
                    msgspec.structs.replace(taken, what=Raw(msgspec.json.encode(taken.what)))
                    for taken in stage.decisions
                ],
            )
            for name, stage in plain.stages.items()
        },
        outputs={key: Raw(msgspec.json.encode(value)) for key, value in plain.outputs.items()},
    )
    assert row(encoded, LOCATION) == row(plain, LOCATION)


def test_every_attempt_of_a_stage_is_a_row() -> None:
    """Totals are over all attempts; the stage's own columns are the last attempt's."""
    attempts = [
        Attempt(attempt=n, started_at=STARTED, model=model, token_usage=TokenUsage(input_tokens=100 * n), cost_usd=0.5)
        for n, model in ((1, "small"), (2, "large"), (3, "large"))
    ]
    last = attempts[-1]
    stage = StageTrace(model=last.model, token_usage=last.token_usage, cost_usd=0.5, attempts=attempts)
    made = row(sample_document(stages={"synthesis": stage}), None)
    assert [(attempt.attempt, attempt.model) for attempt in made.stages] == [(1, "small"), (2, "large"), (3, "large")]
    assert (made.run.synthesis_input_tokens, made.run.input_tokens, made.run.cost_usd) == (300, 600, 1.5)
    assert [(usage.model, usage.input_tokens, usage.cost_usd) for usage in made.model_usage] == [
        ("small", 100, 0.5),
        ("large", 500, 1.0),
    ]


def test_a_talkative_stage_does_not_crowd_out_the_others() -> None:
    """At most 1,000 decisions become rows, in turns from all stages; the run says how many there were."""
    stages = {
        "intake": StageTrace(decisions=[decision(f"first_{number}") for number in range(5_000)]),
        "quality_gate": StageTrace(decisions=[decision("verdict", what=["a", 1], why="y" * 900)]),
    }
    made = row(sample_document(stages=stages), None)
    assert len(made.decisions) == 1_000
    assert made.run.decision_count == 5_001
    verdict = next(kept for kept in made.decisions if kept.stage == "quality_gate")
    assert (verdict.what, verdict.why) == ('["a",1]', "y" * 500)
    assert made.notes == []


def test_sources_are_counted_by_host_or_by_name() -> None:
    """A count by source without items that name it leaves open what was kept."""
    sources = {source.source: source for source in row(sample_document(), None).sources}
    assert (sources["exa"].collected, sources["exa"].kept) == (22, None)
    assert (sources["ifr.org"].kept, sources["ifr.org"].filtered) == (1, 1)
    assert sources["ifr.org"].mean_score == pytest.approx((0.93 + 0.2) / 2)
    assert sources["spam-site.com"].filtered == 1


def test_evidence_that_was_judged_twice_counts_once() -> None:
    """A second attempt's verdict on a URL replaces the first's; where items name their source, zero is zero."""
    item = {"url": "https://a.org/1", "source": "exa"}
    stage = StageTrace(
        attempts=[
            Attempt(attempt=1, evidence={"filtered_out": [item]}),
            Attempt(attempt=2, evidence={"kept": [item], "by_source": {"exa": 1, "reddit": 2}}),
        ]
    )
    sources = row(sample_document(stages={"collection": stage}), None).sources
    assert {(source.source, source.collected, source.kept, source.filtered) for source in sources} == {
        ("exa", 1, 1, 0),
        ("reddit", 2, 0, 0),
    }


@pytest.mark.parametrize(
    "evidence", [{}, {"kept": "many"}, {"kept": [None, 3, "https://a.org"]}, {"by_source": ["exa"]}]
)
def test_evidence_of_any_shape_is_borne(evidence: dict[str, Any]) -> None:
    """A pipeline may give what it likes; rows hold what can be understood."""
    made = row(sample_document(stages={"collection": StageTrace(evidence=evidence, outputs="none")}), None)
    assert made.run.evidence_passed in {None, 3}
    assert all(source.source == "unknown" for source in made.sources)


def test_what_only_one_database_takes_is_changed_and_noted() -> None:
    """NUL becomes U+FFFD, long text is cut to its column, numbers out of range become NULL, long paths are left out."""
    made = row(
        sample_document(
            query="a\0b",
            intent="x" * 300,
            duration_seconds=10**400,
            stages={"collection": StageTrace(evidence={"collected_count": 10**12})},
            outputs={"report_path": "p/" * 300},
        ),
        None,
    )
    assert made.run.query == "a\ufffdb"
    assert made.run.intent == "x" * 50
    assert made.run.duration_seconds is None
    assert made.run.evidence_collected is None
    assert made.run.report_file_path is None
    assert made.notes == [
        "query: NUL characters are U+FFFD in the row",
        "intent: cut from 300 to 50 characters in the row",
        "duration_seconds: a number out of range is NULL in the row",
        "evidence_collected: 1000000000000 is out of range, NULL in the row",
        "report_file_path: a path of 600 characters is not in the row, 500 fit",
    ]


def test_notes_in_the_document_change_no_row() -> None:
    """The exporter writes the notes into the document; the rows of that are the same."""
    document = sample_document(query="a\0b")
    noted = msgspec.structs.replace(
        document, metadata=msgspec.structs.replace(document.metadata, warnings=row(document, LOCATION).notes)
    )
    assert row(noted, LOCATION) == row(document, LOCATION)


def test_dropped_telemetry_is_added_up() -> None:
    """Attributes, events and links lost elsewhere are one number."""
    metadata = Metadata(**METADATA, dropped=Dropped(attributes=1, events=20, links=300))
    assert row(sample_document(metadata=metadata), None).run.dropped_telemetry == 321


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-02-13T10:30:00Z", "2026-02-13T10:30:00.000000Z"),
        ("2026-02-13T12:30:00.5+02:00", "2026-02-13T10:30:00.500000Z"),
        ("2026-02-13 10:30:00.123456Z", "2026-02-13T10:30:00.123456Z"),
    ],
)
def test_times_have_one_spelling(given: str, stored: str) -> None:
    """So that they sort as text."""
    assert row(sample_document(started_at=given), None).run.started_at == stored


@pytest.mark.parametrize("fields", [{"started_at": "yesterday"}, {"trace_id": "t" * 101}, {"trace_id": ""}])
def test_a_run_without_key_or_start_is_refused(fields: dict[str, Any]) -> None:
    """Nothing could find such a row again."""
    with pytest.raises(RowRefusedError, match="mend the trace file"):
        row(sample_document(**fields), None)


def test_the_structs_have_the_columns_of_the_tables() -> None:
    """Every column is written from a field, but those that people and the database set; texts are cut to its width."""
    by_themselves = {"id", "flagged_for_review", "review_notes", "created_at", "updated_at"}
    assert set(RunRow.__struct_fields__) == {column.name for column in tables.traces.columns} - by_themselves
    long = row(
        sample_document(
            project_id="i" * 999, project_name="n" * 999, domain="d" * 999, report_type="r" * 999, output_type="o" * 999
        ),
        None,
    )
    for name in ("project_key", "project_name", "domain", "report_type", "output_type"):
        assert len(getattr(long.run, name)) == getattr(tables.traces.c[name].type, "length", None)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=700)
NUMBERS = st.one_of(st.none(), st.integers(), st.floats(), st.integers(min_value=10**300, max_value=10**400))


@given(query=TEXTS, name=TEXTS, score=NUMBERS, seconds=NUMBERS, what=st.one_of(TEXTS, NUMBERS, st.lists(TEXTS)))
def test_every_document_gives_rows_that_both_databases_take(
    query: str, name: str, score: Any, seconds: Any, what: Any
) -> None:
    """No text with NUL, no infinite number, nothing wider than its column."""
    stage = StageTrace(
        duration_seconds=seconds,
        decisions=[decision(name, what=what, why=query)],
        principle_scores=[PrincipleScore(id=name, name=query, score=score, feedback=query)],
        error=query,
    )
    made = row(sample_document(query=query, domain=name, stages={name: stage}, outputs={"path": query}), None)
    assert all(_storable(value) for value in _leaves(made))
    assert all(len(taken.stage) <= 200 and len(taken.what or "") <= 500 for taken in made.decisions)


def _leaves(made: Row) -> list[Any]:
    leaves: list[Any] = []
    waiting: list[Any] = [msgspec.structs.asdict(made.run), *made.principle_scores, *made.stages, *made.decisions]
    while waiting:
        value = waiting.pop()
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
        else:
            leaves.append(value)
    return leaves


def _storable(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value
    return not isinstance(value, float) or math.isfinite(value)
