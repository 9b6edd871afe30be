"""Content policies: what exporters other than `ire` get of what models and people wrote and read."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider

import ire_otel
from ire_otel import content, semconv, settings
from ire_otel.errors import ConfigurationError
from ire_otel.records import EventRecord, SpanRecord
from ire_otel_exporters.otlp import from_otlp
from tests.otlp_sink import Sink, receiving
from tests.runs import document

WORDS = "confidential words about the client"
LONG = f"{WORDS}, " * 40


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with receiving() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
        yield server


def told(sink: Sink, policy: str) -> dict[str, SpanRecord]:
    """Trace a run full of content; gives what the peer got of it, by span name."""
    provider = TracerProvider(shutdown_on_exit=False)
    ire_otel.configure(tracer_provider=provider, exporters=["ire", "otlp"], content={"otlp": policy})
    inputs = {"evidence": [{"url": LONG, "n": number} for number in range(50)], "count": 3}
    with ire_otel.run(query=LONG, project_name="cobot", report_type="market_research") as trace:
        with ire_otel.stage("collection") as stage:
            stage.decide("chose", what=LONG, why=LONG, confidence=0.5, alternatives=[LONG] * 9, inputs=inputs)
            stage.evidence(kept=[{"url": LONG, "scores": {"composite": 0.5}}])
            stage.score("META-1", 1, name="Sources", feedback=LONG)
            stage.set_outputs(inputs)
            with provider.get_tracer("model.client").start_as_current_span("chat") as span:
                span.set_attributes({"gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 12})
                span.set_attribute("gen_ai.input.messages", json.dumps([{"role": "user", "content": LONG}]))
                span.set_attribute("somebodys.own", LONG)
        trace.record_prompts("synthesis", {"system_prompt": LONG})
        trace.set_outputs({"report": LONG})
        trace.mark_failed(LONG)
    assert ire_otel.flush(30)
    return {record.name.split()[0]: record for request in sink.requests for record in from_otlp(request)}


def event(record: SpanRecord, key: str) -> EventRecord:
    (only,) = (event for event in record.events if key in event.attributes)
    return only


@pytest.mark.parametrize("policy", ["full", "preview", "none"])
def test_names_numbers_and_ids_always_go_out(sink: Sink, policy: str) -> None:
    """The shape of a run, its scores, counts and confidences."""
    spans = told(sink, policy)
    run, stage, call = spans["research_run"], spans["collection"], spans["chat"]
    assert run.attributes[semconv.PROJECT_NAME] == "cobot"
    assert run.attributes[semconv.RUN_ID] == stage.attributes[semconv.RUN_ID] == call.attributes[semconv.RUN_ID]
    assert run.status == "ERROR"
    assert stage.attributes[semconv.EVIDENCE_KEPT] == 1
    assert event(stage, semconv.DECISION_TYPE).attributes[semconv.DECISION_CONFIDENCE] == 0.5
    assert event(stage, semconv.SCORE_ID).attributes[semconv.PRINCIPLE_NAME] == "Sources"
    assert call.attributes["gen_ai.request.model"] == "m-1"
    assert call.attributes["gen_ai.usage.input_tokens"] == 12


def test_none_sends_no_content_and_says_that_something_is_missing(sink: Sink) -> None:
    """The file still has all of it."""
    spans = told(sink, "none")
    assert WORDS.encode() not in b"".join(sink.bodies)
    assert event(spans["collection"], semconv.DECISION_TYPE).dropped_attributes == 4
    assert spans["chat"].dropped_attributes == 2
    assert document().run.query == LONG


def test_previews_are_short_and_of_the_same_kind(sink: Sink) -> None:
    """Objects stay objects, lists lists, texts texts."""
    spans = told(sink, "preview")
    decided = event(spans["collection"], semconv.DECISION_TYPE).attributes
    assert decided[semconv.DECISION_WHAT] == LONG[:199] + "…"
    inputs = json.loads(decided[semconv.GIVEN_INPUTS])
    assert inputs["evidence"][0]["url"].startswith(WORDS)
    assert inputs["…"] == "1 more"
    assert json.loads(decided[semconv.GIVEN_ALTERNATIVES])[-1] == "… 8 more"
    assert json.loads(spans["chat"].attributes["gen_ai.input.messages"])[0]["role"] == "user"
    held = [value for record in spans.values() for value in record.attributes.values() if isinstance(value, str)]
    assert all(len(value) < 400 for value in held)
    assert document().run.query == LONG


def test_full_sends_everything(sink: Sink) -> None:
    """Which is the default."""
    assert told(sink, "full")["research_run"].attributes[semconv.RUN_QUERY] == LONG
    assert content.steps(settings.load({}, environment={}), "otlp") == ()


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=300), inner),
    max_leaves=40,
)


@hypothesis_settings(deadline=None)
@given(json_values)
def test_a_preview_of_json_is_json_of_the_same_kind(value: Any) -> None:
    """And shorter than twice what is said, but for its brackets."""
    encoded = json.dumps(value)
    record = SpanRecord(trace_id="1", span_id="1", start_ns=1, attributes={semconv.STAGE_OUTPUTS: encoded})
    shown = content.previewed(record).attributes[semconv.STAGE_OUTPUTS]
    if isinstance(value, dict | list | str):
        assert type(json.loads(shown)) is type(value)
    if len(encoded) <= content.PREVIEW:
        assert shown == encoded


@pytest.mark.parametrize(
    ("policies", "said"),
    [
        ({"otlp": "prevue"}, r"'content.otlp' in configure\(\) cannot be 'prevue': did you mean 'preview'\?"),
        ({"otlp": 3}, "'content.otlp' in .* cannot be 3: valid are full, preview, none"),
        ({"otpl": "none"}, r"exporter 'otpl' in content has no policy: did you mean 'otlp'\?"),
        ({"ire": "none"}, "exporter 'ire' in content has no policy: trace files and rows always hold everything"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_valid_word(policies: dict[str, Any], said: str) -> None:
    """configure() raises; the message has value, place and remedy."""
    with pytest.raises(ConfigurationError, match=said):
        ire_otel.configure(content=policies)


def test_in_a_running_pipeline_a_mistake_in_the_policies_sends_nothing(
    tmp_path: Path, sink: Sink, caplog: pytest.LogCaptureFixture
) -> None:
    """Better no span at the peer than one with content that should stay."""
    (tmp_path / "ire_otel.toml").write_text('exporters = ["ire", "otlp"]\n[content]\notpl = "none"\n')
    with ire_otel.run(query=LONG):
        pass
    assert ire_otel.flush(30)
    assert sink.bodies == []
    assert "did you mean 'otlp'" in caplog.text
