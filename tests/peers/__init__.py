"""The real OpenTelemetry Collector and the real Jaeger, for the tests of what goes through them."""
