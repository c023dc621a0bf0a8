"""The outside world, each part behind a small Protocol: the API server, Prometheus, the Lease, telemetry."""
