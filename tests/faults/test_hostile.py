"""Late, odd and hostile spans: the document is right, or says what it is not; memory and time stay in bounds."""

import json
import time
from typing import Final

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator

import ire_otel
from ire_otel import settings
from ire_otel.verification import verify
from tests.faults import loads, programs
from tests.faults.conftest import RecordFigure
from tests.faults.subprocesses import Ended, documents, recovered, run, sayings
from tests.runs import document

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
MEGABYTE: Final = 1024 * 1024
SPANS: Final = 100_000
PROMPTS: Final = 100
"""Megabytes."""
DAY: Final = 24 * 3600 * 10**9
"""Nanoseconds."""


def test_children_that_end_after_the_root_are_in_its_document() -> None:
    """Each in the stage that it began in; file and row are written again."""
    ire_otel.configure()
    tracer = otel.get_tracer("instrumentation")
    with ire_otel.run(query="q") as root, ire_otel.stage("collection") as stage:
        late = [tracer.start_span(f"chat {number}") for number in range(20)]
        inside = stage.context
    assert ire_otel.flush(30)
    first = document()
    for number, span in enumerate(late):
        _decide_on(span, f"late {number}")
        span.end()
    begun_late = tracer.start_span("begun late", context=inside)
    _decide_on(begun_late, "begun late")
    begun_late.end()
    made = document()
    assert sayings([first]) == {}
    assert [decision.what for decision in made.stages["collection"].decisions] == [
        *(f"late {number}" for number in range(20)),
        "begun late",
    ]
    assert (made.trace_id, made.run.status) == (root.trace_id, "complete")
    assert made.run.completed_at == first.run.completed_at
    _assert_right()


def test_spans_that_never_end_keep_no_run_from_its_document() -> None:
    """A stage that is still open is ended with the run, and a run with the process; the documents say so."""
    ire_otel.configure()
    open_for_ever = otel.get_tracer("instrumentation").start_span
    with ire_otel.run(query="q") as root:
        root.start_stage("collection")
        spans = [open_for_ever(f"chat {number}") for number in range(20)]
        ire_otel.decide("said", what="in an open stage")
    never_left = ire_otel.run(query="never left")
    never_left.start_stage("synthesis")
    ire_otel.decide("said", what="in an open run")
    ire_otel.shutdown(30)
    first, second = documents()
    assert (first.run.status, second.run.status) == ("complete", "incomplete")
    assert any("still open" in warning for warning in first.metadata.warnings)
    assert sayings([first]) == {"in an open stage": 1}
    assert sayings([second]) == {"in an open run": 1}
    assert all(stage.completed_at for made in (first, second) for stage in made.stages.values())
    assert all(span.is_recording() for span in spans)
    _assert_right()


@pytest.mark.parametrize("jump", [-365 * DAY, -DAY, DAY, 365 * DAY])
def test_a_wall_clock_that_jumps_moves_nothing(jump: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order and durations of a run are those of the monotonic clock; a run that begins later has the new date."""
    ire_otel.configure()
    real, real_ns = time.time, time.time_ns
    with ire_otel.run(query="through the jump"):
        for number in range(10):
            with ire_otel.stage(f"stage {number}"):
                ire_otel.decide("said", what=number)
                if number == 5:
                    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + jump)
                    monkeypatch.setattr(time, "time", lambda: real() + jump / 1e9)
    with ire_otel.run(query="after the jump"):
        pass
    assert ire_otel.flush(30)
    made = {one.run.query: one for one in documents()}
    through, after = made["through the jump"], made["after the jump"]
    assert list(through.stages) == [f"stage {number}" for number in range(10)]
    stamps = [stage.decisions[0].timestamp for stage in through.stages.values()]
    assert stamps == sorted(map(str, stamps))
    assert through.run.duration_seconds is not None
    assert 0 <= through.run.duration_seconds < 60
    assert all(0 <= (stage.duration_seconds or -1) < 60 for stage in through.stages.values())
    assert (after.run.started_at < through.run.started_at) == (jump < 0)
    _assert_right()


class OneId(IdGenerator):
    """Gives every trace the same id, and every span one of three."""

    def __init__(self) -> None:
        self._spans = 0

    def generate_trace_id(self) -> int:
        return 1

    def generate_span_id(self) -> int:
        self._spans += 1
        return self._spans % 3 + 1


def test_ids_that_come_again_cost_no_other_run_its_document() -> None:
    """Spans of one id are taken for one span, as OpenTelemetry has it; the run with ids of its own is as ever."""
    hostile = TracerProvider(id_generator=OneId(), shutdown_on_exit=False)
    ire_otel.configure(tracer_provider=hostile)
    with ire_otel.run(query="same ids"):
        for number in range(5):
            with ire_otel.stage(f"stage {number}"):
                ire_otel.decide("said", what=f"same {number}")
    ire_otel.shutdown(30)
    ire_otel.configure(tracer_provider=TracerProvider(shutdown_on_exit=False))
    programs.small_run("ids of its own")
    ire_otel.shutdown(30)
    made = {one.run.query: one for one in documents()}
    assert sayings([made["ids of its own"]]) == {"ids of its own": 1}
    assert sum(sayings(documents()).values()) == 6


@pytest.mark.parametrize("whose", ["ours", "the application's"])
def test_experiments_that_seed_the_random_generator_have_ids_of_their_own(whose: str) -> None:
    """OpenTelemetry takes its ids from `random`: the same script, run again, would overwrite its own run."""
    done = [run(loads.seeded, whose) for _ in range(3)]
    made = recovered()
    assert len(made) == 3
    assert sayings(made) == {what: 1 for one in done for what in one.said}


def test_a_hundred_thousand_spans_of_others(figures: RecordFigure) -> None:
    """All are in the document; each costs the pipeline little more than a span outside a run, and a bounded memory."""
    bare = _measured(run(loads.many_spans, str(SPANS), "in none"))
    done = run(loads.many_spans, str(SPANS), "in a run")
    inside = _measured(done)
    (made,) = (one for one in documents() if one.run.query == "many")
    assert made.metadata.records >= 2 * SPANS
    assert sum(sayings([made]).values()) == SPANS
    figures("spans", SPANS)
    figures("microseconds a span, in no run", round(bare["seconds"] / SPANS * 1e6, 1))
    figures("microseconds a span, in a run", round(inside["seconds"] / SPANS * 1e6, 1))
    figures("most memory above that in no run, KB a span", round((inside["bytes"] - bare["bytes"]) / SPANS / 1024, 1))
    assert inside["seconds"] < 10 * bare["seconds"] + 5
    assert inside["bytes"] - bare["bytes"] < 16 * 1024 * SPANS


def test_a_hundred_megabytes_of_prompts(figures: RecordFigure) -> None:
    """All are in the document, and memory stays within a small multiple of them."""
    done = run(loads.large_prompts, str(PROMPTS))
    used = _measured(done)
    (made,) = (one for one in documents() if one.run.query == "large")
    assert len(made.stages) == PROMPTS
    assert all(len(str(stage.prompts)) > 10**6 for stage in made.stages.values())
    figures("prompts, MB", PROMPTS)
    figures("milliseconds a megabyte, on the caller's thread", round(used["seconds"] / PROMPTS * 1e3, 2))
    figures("most memory, times the prompts", round(used["bytes"] / (PROMPTS * MEGABYTE), 1))
    assert used["bytes"] < 12 * PROMPTS * MEGABYTE
    assert len(recovered()) == 2


@pytest.mark.parametrize("whose", ["ours", "the application's"])
def test_limits_of_opentelemetry_cut_nothing_of_ours(whose: str) -> None:
    """300 decisions, 50 prompts and long texts, under limits of 64 characters, 8 attributes and 8 events."""
    limits = {
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "64",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "8",
        "OTEL_SPAN_EVENT_COUNT_LIMIT": "8",
        "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "4",
    }
    process = run(loads.limited, whose, **limits)
    assert process.code == 0
    assert "ire-otel" not in process.errors  # OpenTelemetry itself says what it cuts
    (made,) = recovered()
    stage = made.stages["collection"]
    ours = [decision for decision in stage.decisions if "what" in str(decision.what)]
    assert [decision.what for decision in ours] == [f"{number} {'what ' * 100}" for number in range(300)]
    assert all(decision.why == "why " * 100 and decision.inputs["texts"] == ["in " * 100] * 9 for decision in ours)
    assert stage.prompts == {f"prompt_{number}": "text " * 100 for number in range(50)}
    assert (stage.outputs, made.outputs) == ({"path": "out/" * 100}, {"report_path": "r/" * 100})
    assert (made.run.query, made.run.intent) == ("long " * 100, "validating")


def _decide_on(span: otel.Span, what: str) -> None:
    span.add_event("decision: said", {"ire.decision.type": "said", "ire.decision.what": what})


def _measured(done: Ended) -> dict[str, float]:
    assert done.code == 0, done.errors
    measured: dict[str, float] = json.loads(done.lines[-1])
    return measured


def _assert_right() -> None:
    assert ire_otel.flush(30)
    assert [one.line for one in verify(settings.load())] == []
