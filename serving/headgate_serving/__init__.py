"""What runs beside a model: the server, the fetcher that brings the model, the monitor, and the router's agent."""
