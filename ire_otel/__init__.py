"""OpenTelemetry tracing and calibration for multi-stage AI research pipelines.

Decorate a pipeline, run it, and find one JSON trace file and one database row a run: every decision with its reason.

    import ire_otel

    @ire_otel.traced_stage("intake")
    def intake(query):
        ire_otel.decide("classified_intent", what="validating", why="the query states a hypothesis", confidence=0.85)
        return {"intent": "validating"}

    @ire_otel.traced_run(project_name="cobot", report_type="market_research")
    def research(query):
        return intake(query)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ire_otel.model import Decision, StageTrace
from ire_otel.recording import host as _host
from ire_otel.recording.api import TraceContext, current_run, current_stage, decide, finish_sync, run, stage
from ire_otel.recording.component import TracingComponent
from ire_otel.recording.decorators import traced_run, traced_stage
from ire_otel.recording.run import Trace
from ire_otel.report import link_report

if TYPE_CHECKING:
    from collections.abc import Iterable

    from opentelemetry.sdk.trace import TracerProvider

    from ire_otel.query import TraceQuery, TraceResult
    from ire_otel.recording.host import Host
    from ire_otel.steps import Step

__all__ = [
    "Decision",
    "StageTrace",
    "Trace",
    "TraceContext",
    "TraceQuery",
    "TraceResult",
    "TracingComponent",
    "configure",
    "current_run",
    "current_stage",
    "decide",
    "finish_sync",
    "flush",
    "link_report",
    "run",
    "shutdown",
    "stage",
    "traced_run",
    "traced_stage",
]


def __getattr__(name: str) -> Any:
    if name in {"TraceQuery", "TraceResult"}:
        from ire_otel import query  # loads SQLAlchemy, which `import ire_otel` must not

        return getattr(query, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def configure(*, tracer_provider: TracerProvider | None = None, steps: Iterable[Step] = (), **overrides: Any) -> None:
    """Configure tracing; optional, for the first run configures from ire_otel.toml and the environment.

    tracer_provider: the provider to work in; else the global one, which is made and set where there is none.
    steps: functions on SpanRecords that run before anything is written or sent (docs/configuration.md).
    overrides: settings by name, as in ire_otel.toml; they win over file and environment.

    Raises ConfigurationError, which names the setting and the nearest valid one.
    """
    from ire_otel import runtime  # loads the SDK, which `import ire_otel` must not

    runtime.configure(tracer_provider=tracer_provider, steps=steps, **overrides)


def flush(timeout: float | None = None) -> bool:
    """Wait until every run finished so far is in file and row; False if `timeout` (seconds) ran out first."""
    if _host.installed() is None:
        return True
    from ire_otel import runtime  # as above

    return runtime.flush(timeout)


def shutdown(timeout: float | None = None) -> bool:
    """Flush, end open runs as `incomplete`, and stop; the next run configures anew. At exit this happens by itself."""
    if _host.installed() is None:
        return True
    from ire_otel import runtime  # as above

    return runtime.shutdown(timeout)


def _bootstrap() -> Host:
    from ire_otel import runtime  # as above

    return runtime.configure_at_first_run()


_host.on_first_use(_bootstrap)
