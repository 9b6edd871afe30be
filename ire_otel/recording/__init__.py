"""Recording: what a pipeline calls while it runs. OpenTelemetry's API only; the SDK is the runtime's affair."""
