"""What tracing a research run costs, beside bare OpenTelemetry with the same content: `python -m benchmarks`."""
