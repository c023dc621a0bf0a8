"""What runs beside a model: the server, the fetcher that brings it, the monitor, and the router's agent."""
