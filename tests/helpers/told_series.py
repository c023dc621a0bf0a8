"""Series that a test tells, and an HTTP server that answers Headgate's questions about them as a Prometheus does.

It knows the time, and raw samples by names and labels (`{a="b",c=~"d|e"}[60s]`). Everything else has no result.
"""

import json
import re
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_RANGE = re.compile(r"\{(?P<matchers>.*)\}\[(?P<seconds>\d+)s\]")
_MATCHER = re.compile(r'(\w+)(=~?)"((?:[^"\\]|\\.)*)"')


class ToldSeries:
    """Samples by labels, in the order of time. `add` and `find` may be called in different threads."""

    def __init__(self) -> None:
        self._samples: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = defaultdict(list)
        self._lock = threading.Lock()

    def add(self, at: float, samples: Mapping[tuple[tuple[str, str], ...], float]) -> None:
        """What a scrape of all targets has found."""
        with self._lock:
            for labels, value in samples.items():
                self._samples[labels].append((at, value))

    def find(self, query: str, at: float) -> list[Any]:
        """The result of a query for raw samples."""
        asked = _RANGE.fullmatch(query)
        if asked is None:
            return []
        matchers = [
            (name, re.compile(text if kind == "=~" else re.escape(text)))
            for name, kind, text in (
                (name, kind, text.replace("\\\\", "\\")) for name, kind, text in _MATCHER.findall(asked["matchers"])
            )
        ]
        found = []
        with self._lock:
            for labels, samples in self._samples.items():
                named = dict(labels)
                if all(pattern.fullmatch(named.get(name, "")) for name, pattern in matchers):
                    first = bisect_right(samples, (at - float(asked["seconds"]), float("inf")))
                    inside = samples[first : bisect_right(samples, (at, float("inf")))]
                    if inside:
                        found.append({"metric": named, "values": [[t, str(v)] for t, v in inside]})
        return found


@contextmanager
def answering(series: ToldSeries | None = None) -> Iterator[str]:
    """The URL of a Prometheus with these series; without any it scrapes nobody."""
    told = series or ToldSeries()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = parse_qs(urlsplit(self.path).query)
            now, query = time.time(), asked.get("query", [""])[0]
            if query == "time()":
                data: dict[str, Any] = {"resultType": "scalar", "result": [now, str(now)]}
            elif query.endswith("]"):
                data = {"resultType": "matrix", "result": told.find(query, float(asked.get("time", [now])[0]))}
            else:
                data = {"resultType": "vector", "result": []}
            body = json.dumps({"status": "success", "data": data}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
