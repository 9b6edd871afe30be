"""Exporters of ire-otel, found through the entry points of OpenTelemetry."""
