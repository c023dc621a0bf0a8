"""A version that keeps up with a load passes, and one that does not fails: real requests, in bounds."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from headgate_serving.preflight import load
from headgate_serving.preflight.endpoint import MAX_ANSWER, Endpoint, Kind
from headgate_serving.preflight.findings import Findings, NothingToCheck
from headgate_serving.preflight.subject import Asked, Load, Subject
from preflight_versions import Version, classifier, packaged, preflight
from serving_process import Served

TENSOR = {"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [0.5, 0.5]}
ANSWER = {"model_name": "m", "outputs": [{**TENSOR, "name": "P"}]}
METADATA = {
    "name": "m",
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "P", "datatype": "FP32", "shape": [-1, 2]}],
}


class Engine(ThreadingHTTPServer):
    """Answers its n-th request as `behave` says: a status, or None for an answer of its own making."""

    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(self, behave: Callable[["Engine", int, BaseHTTPRequestHandler], int | None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behave, self.asked, self.within, self.most = behave, 0, 0, 0
        self.lock, self.alone = threading.Lock(), threading.Lock()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that have gone."""


class _Handler(BaseHTTPRequestHandler):
    server: Engine

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._say(200, METADATA)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        with self.server.lock:
            self.server.asked += 1
            at = self.server.asked
            self.server.within += 1
            self.server.most = max(self.server.most, self.server.within)
        try:
            status = self.server.behave(self.server, at, self)
        finally:
            with self.server.lock:
                self.server.within -= 1
        if status is not None:
            self._say(status, ANSWER if status == 200 else {"error": "too much"})

    def _say(self, status: int, words: Any) -> None:
        body = json.dumps(words).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


Serve = Callable[[Callable[[Engine, int, BaseHTTPRequestHandler], int | None]], Engine]


@pytest.fixture
def serve() -> Iterator[Serve]:
    engines: list[Engine] = []

    def begin(behave: Callable[[Engine, int, BaseHTTPRequestHandler], int | None]) -> Engine:
        engines.append(Engine(behave))
        return engines[-1]

    yield begin
    for engine in engines:
        engine.shutdown()
        engine.server_close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sample = {"row": "0", "request": {"inputs": [TENSOR]}, "response": ANSWER}
    words = {"format": 1, "tolerance": {"relative": 0.1, "absolute": 0.1}, "samples": [sample]}
    (tmp_path / "samples.json").write_text(json.dumps(words))
    return tmp_path


def asked(engine: Engine, folder: Path | None, timeout: float = 5.0) -> Asked:
    return Asked(Endpoint(engine.url, "m", timeout, time.monotonic() + 60), folder)


def loaded(candidate: Asked, rate: float, budget: float, stable: Asked | None = None) -> Findings:
    findings = Findings()
    load.check(Subject(candidate, stable, load=Load(rate, budget)), findings)
    return findings


def good(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> int:
    return 200


def slow(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> int:
    """One after the other: ten in a second."""
    with engine.alone:
        time.sleep(0.1)
    return 200


def hangs(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> int:
    if at > 1:
        time.sleep(3)
    return 200


def errs(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> int:
    return 503 if at > 1 and at % 2 else 200


def test_one_that_keeps_up_passes(serve: Serve, folder: Path) -> None:
    found = loaded(asked(serve(good), folder), 10, 5)
    assert not found.wrong
    assert found.figures["requests"] == 50
    assert found.figures["failed"] == 0
    assert found.figures["p50Ms"] <= found.figures["p99Ms"] <= found.figures["maxMs"]


def test_one_that_serialises_is_late_from_the_time_that_requests_are_due(serve: Serve, folder: Path) -> None:
    engine = serve(slow)
    (told,) = loaded(asked(engine, folder, timeout=10), 50, 1.0).wrong
    assert "does not keep up" in told
    assert engine.most <= load.MOST_IN_FLIGHT


def test_one_that_hangs_fails_in_bounded_time(serve: Serve, folder: Path) -> None:
    started = time.monotonic()
    (told,) = loaded(asked(serve(hangs), folder, timeout=0.5), 50, 0.5).wrong
    assert "did not come" in told
    assert time.monotonic() - started < 30


def test_one_that_errs_under_load_fails(serve: Serve, folder: Path) -> None:
    (told,) = loaded(asked(serve(errs), folder), 10, 5).wrong
    assert "requests failed at 10/s" in told
    assert "503" in told


def test_the_load_stops_where_stable_gets_slower(serve: Serve, folder: Path) -> None:
    candidate = serve(good)

    def disturbed(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> int:
        time.sleep(0.5 if candidate.asked > 1 else 0)
        return 200

    stable = serve(disturbed)
    with pytest.raises(NothingToCheck, match="stopped: stable took"):
        loaded(asked(candidate, folder), 10, 5, asked(stable, folder))
    assert candidate.asked < 51


def test_without_a_rate_or_samples_there_is_nothing_to_check(serve: Serve, folder: Path) -> None:
    engine = serve(good)
    with pytest.raises(NothingToCheck, match="no rate"):
        load.check(Subject(asked(engine, folder), None), Findings())
    with pytest.raises(NothingToCheck, match="no golden samples"):
        loaded(asked(engine, None), 10, 5)
    assert engine.asked == 0


def test_answers_that_are_too_large_for_many_at_once_are_not_loaded(serve: Serve, folder: Path) -> None:
    engine = serve(oversized)
    with pytest.raises(NothingToCheck, match="a single request is not answered: an answer of more than 1048576 bytes"):
        loaded(asked(engine, folder, timeout=20), 10, 5)
    assert engine.asked == 3


def test_a_real_version_keeps_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_TERMINATION_LOG", str(tmp_path / "words"))
    artifact = packaged(classifier(tmp_path / "good.onnx"))
    served = Served(artifact, log=tmp_path / "log")
    try:
        checks = preflight(tmp_path / "words", Version(served, artifact), None, "--load-rate", "10")
    finally:
        served.stop()
    assert checks["load"].outcome == "Passed", checks


def oversized(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(2 * MAX_ANSWER >> 20):
        handler.wfile.write(bytes(1 << 20))


def dripping(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        time.sleep(0.1)


def dripping_head(engine: Engine, at: int, handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nx: ")
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("behave", "kind"), [(oversized, Kind.FAILED), (dripping, Kind.LATE), (dripping_head, Kind.LATE)]
)
def test_answers_without_end_are_cut_off(
    behave: Callable[[Engine, int, BaseHTTPRequestHandler], None], kind: Kind, serve: Serve, folder: Path
) -> None:
    started = time.monotonic()
    candidate = asked(serve(behave), folder, timeout=20 if behave is oversized else 0.5)
    assert candidate.endpoint.infer(candidate.usable_samples.samples[0].request).kind is kind
    assert behave is oversized or time.monotonic() - started < 8, "the answer alone takes ten seconds"
