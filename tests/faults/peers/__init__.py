"""What ire-otel and other tracing systems keep in the same fault tests: `python -m tests.faults.peers`."""
