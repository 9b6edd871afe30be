"""`ire-otel serve`: an OTLP receiver, over gRPC and HTTP, that assembles the runs of many processes and machines."""
