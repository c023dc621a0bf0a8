"""Connections: HTTP/1.1 (`http1.py`) and HTTP/2 (`http2.py`), for whatever is served over them. Knows no model."""
