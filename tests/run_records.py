"""Records of runs, built as the run log and other people's instrumentation make them."""

from typing import Any

from ire_otel import semconv, values
from ire_otel.assembly import assemble, encode
from ire_otel.model import Attempt, StageTrace, TraceDocument
from ire_otel.reader import decode
from ire_otel.records import Attributes, EventRecord, SpanRecord

TRACE_ID = "5b8efff798038103d269b633813fc60c"
RUN_SPAN_ID = "abc123def4567890"
RUN_ID = f"trc_20260213_{RUN_SPAN_ID}"
START = 1_770_978_600_000_000_000
"""2026-02-13T10:30:00Z, in Unix nanoseconds."""
SECOND = 1_000_000_000


def attributes(**said: Any) -> dict[str, Any]:
    """Attributes named by constants of semconv, in lower case; a name ending in _ is a prefix whose dict is spread."""
    named: dict[str, Any] = {}
    for constant, value in said.items():
        if constant.endswith("_"):
            prefix = getattr(semconv, f"{constant[:-1].upper()}_PREFIX")
            named |= {f"{prefix}{key}": values.attribute(item) for key, item in value.items()}
        else:
            named[getattr(semconv, constant.upper())] = values.attribute(value)
    return {name: value for name, value in named.items() if value is not None}


def run_span(*events: EventRecord, end: float | None = 262, **said: Any) -> SpanRecord:
    """The run span; times in seconds since the run's start."""
    identity: dict[str, Any] = {"run_id": RUN_ID, "schema": semconv.SCHEMA_VERSION, "run_status": "complete"}
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=RUN_SPAN_ID,
        name=semconv.RUN_SPAN,
        start_ns=START,
        end_ns=None if end is None else at(end),
        attributes=attributes(**(identity | said)),
        events=events,
        scope_name=semconv.SCOPE,
        resource={"service.name": "engine"},
    )


def stage_span(
    name: str,
    start: float,
    end: float | None,
    *events: EventRecord,
    span_id: str | None = None,
    parent: str = RUN_SPAN_ID,
    **said: Any,
) -> SpanRecord:
    """A stage span; times in seconds since the run's start."""
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=span_id or f"{hash_of(f'{name}{start}'):016x}",
        parent_span_id=parent,
        name=name,
        start_ns=at(start),
        end_ns=None if end is None else at(end),
        attributes=attributes(run_id=RUN_ID, stage_name=name, **said),
        events=events,
        scope_name=semconv.SCOPE,
        resource={"service.name": "engine"},
    )


def decision(
    kind: str,
    time: float,
    *,
    what: Any = None,
    why: str = "because",
    confidence: float | None = None,
    alternatives: Any = None,
    inputs: Any = None,
    seq: int = 0,
    stage: str | None = None,
    component: str | None = None,
) -> EventRecord:
    """A decision event; the time in seconds since the run's start."""
    said = attributes(
        decision_type=kind,
        decision_what=what,
        decision_why=why,
        decision_confidence=confidence,
        decision_component=component,
        given_alternatives=alternatives,
        given_inputs=inputs,
        seq=seq,
        stage_name=stage,
    )
    return event(f"{semconv.DECISION_EVENT_PREFIX}{kind}", time, said)


def score(principle: str, value: Any, time: float, *, seq: int = 0, **said: Any) -> EventRecord:
    """A principle score event; the time in seconds since the run's start."""
    return event(semconv.SCORE_EVENT, time, attributes(score_id=principle, score_value=value, seq=seq, **said))


def event(name: str, time: float, said: Attributes) -> EventRecord:
    """An event; the time in seconds since the run's start."""
    return EventRecord(name=name, time_ns=at(time), attributes=said)


def at(seconds: float) -> int:
    """Seconds since the run's start, in Unix nanoseconds."""
    return START + round(seconds * 1_000_000) * 1000


def hash_of(text: str) -> int:
    """A number from text that is the same in every process."""
    return int.from_bytes(text.encode()[-7:], "big") * 31 % 2**63


def document(*records: SpanRecord, **options: Any) -> TraceDocument:
    """Assemble, write and read back, so that everything inside is plain Python."""
    return decode(encode(assemble(records, **options)), "test")


def stage(name: str, *records: SpanRecord) -> StageTrace:
    """Give one stage of the document of a run with these records."""
    return document(run_span(), *records).stages[name]


def attempts(found: StageTrace) -> list[Attempt]:
    """Give the attempts of a stage that ran more than once."""
    assert isinstance(found.attempts, list)
    return found.attempts
