"""The entry point by which `opentelemetry-instrument python app.py` has ire-otel see the spans of a whole process."""

from __future__ import annotations

from typing import Any

from ire_otel import settings
from ire_otel.recording import host


class IreOtelInstrumentor:
    """What OpenTelemetry's auto-instrumentation, and `instrumentation/development` in OTEL_CONFIG_FILE, call.

    It has the methods of BaseInstrumentor without its package (opentelemetry-instrumentation), which who does not
    instrument this way need not have.
    """

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether ire-otel works already."""
        return host.installed() is not None

    def instrument(self, **_options: Any) -> None:
        """Put ire-otel into the provider that OpenTelemetry has set up; settings as for an implicit first run."""
        from ire_otel import runtime  # loads the SDK

        with host.lock():
            if host.installed() is None:
                host.install(runtime.configure_at_first_run(settings.opentelemetry_exporters()))

    def uninstrument(self, **_options: Any) -> None:
        """Flush and stop."""
        from ire_otel import runtime  # as above

        runtime.shutdown()
