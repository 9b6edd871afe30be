"""What tracing a research run costs, beside what bare OpenTelemetry costs for the same content: `python -m benchmarks`."""
