"""The monitor's process: it waits for its engine, refuses what is no batch, and ends as Kubernetes expects it."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pytest

from headgate_serving.codec.http_message import Message
from headgate_serving.errors import ProfileInvalid
from headgate_serving.monitor import build_profile
from headgate_serving.monitor.profile import Column
from headgate_serving.sidecar.batch import Sample, packed
from patience import PATIENCE
from ports import free_ports
from serving_process import LABELS

METADATA = {
    "name": "fraud",
    "platform": "pytorch_libtorch",
    "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, 1]}],
    "outputs": [{"name": "Y", "datatype": "FP32", "shape": [-1]}],
}


@dataclass
class Engine:
    """Says what it serves, once it does."""

    metadata: object = None
    asked: int = 0
    port: int = field(default_factory=lambda: free_ports(1)[0])


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            engine.asked += 1
            known = self.path == "/v2/models/fraud" and engine.metadata is not None
            body = json.dumps(engine.metadata).encode() if known else b"{}"
            self.send_response(200 if known else 400)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", engine.port), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield engine
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Monitor:
    process: "subprocess.Popen[bytes]"
    url: str
    words: Path

    def metrics(self) -> str:
        return httpx.get(f"{self.url}/metrics").text

    def take(self, body: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}/samples", content=body)


@pytest.fixture
def monitor(engine: Engine, tmp_path: Path) -> Iterator[Monitor]:
    artifact, baseline, words = tmp_path / "artifact", tmp_path / "baseline", tmp_path / "words"
    artifact.mkdir()
    profile, _ = build_profile([Column("x", "X", 0, np.arange(100.0))], {})
    (artifact / "profile.json").write_text(profile.to_json())
    (port,) = free_ports(1)
    code = "import sys; from headgate_serving.sidecar import main; sys.exit(main())"
    options = ["--artifact", str(artifact), "--baseline", str(baseline), "--model", "fraud", "--host", "127.0.0.1"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *options, "--engine", f"http://127.0.0.1:{engine.port}", "--port", str(port)],
        env=LABELS | {"HEADGATE_TERMINATION_LOG": str(words)},
        stdout=subprocess.DEVNULL,
    )
    started = Monitor(process, f"http://127.0.0.1:{port}", words)
    until(lambda: answers(started))
    yield started
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


def answers(monitor: Monitor) -> bool:
    try:
        monitor.metrics()
    except httpx.TransportError:
        return False
    return True


def until(done: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sample(*values: float) -> Sample:
    def half(which: str, name: str) -> Message:
        tensor = {"name": name, "datatype": "FP32", "shape": [len(values), 1][: 2 if which == "inputs" else 1]}
        body = json.dumps({which: [tensor | {"data": values}]}).encode()
        return Message({}, [body], len(body))

    return Sample(half("inputs", "X"), half("outputs", "Y"), is_grpc=False)


def test_samples_are_refused_until_the_engine_says_what_it_serves_and_counted_from_then_on(
    engine: Engine, monitor: Monitor
) -> None:
    assert monitor.take(packed([sample(1)])).status_code == 503
    engine.metadata = {"inputs": [{"name": "X", "datatype": "FP99", "shape": [-1]}], "outputs": []}
    asked = engine.asked
    until(lambda: engine.asked > asked + 1)
    assert monitor.take(packed([sample(1)])).status_code == 503
    engine.metadata = METADATA
    until(lambda: monitor.take(packed([])).status_code == 200)
    assert monitor.take(packed([sample(1, 50), sample(-7)])).json() == {"counted": 2}
    nonsense = Message({}, [b"{"], 1)
    other = Sample(nonsense, sample(1).answer, is_grpc=False)
    assert monitor.take(packed([other, sample(1000)])).json() == {"counted": 1}
    assert monitor.take(b"nonsense").status_code == 400
    assert monitor.take(bytes(5 << 20)).status_code == 413
    labels = [f'{name.lower()}="{value}"' for name, value in LABELS.items()]
    (started,) = [line for line in monitor.metrics().splitlines() if line.startswith("headgate_start_time_seconds{")]
    assert all(label in started for label in labels)
    assert abs(float(started.rpartition(" ")[2]) - time.time()) < 3600
    lines = [line for line in monitor.metrics().splitlines() if line.startswith("headgate_feature_bin_total{")]
    assert all(label in line for line in lines for label in labels)
    counts = {line.split('bin="')[1].split('"')[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert (counts["below"], counts["above"], sum(counts.values())) == (1, 1, 4)


def test_a_profile_of_another_model_ends_it_and_says_why(engine: Engine, monitor: Monitor) -> None:
    engine.metadata = METADATA | {"inputs": [{"name": "Z", "datatype": "FP32", "shape": [-1]}]}
    assert monitor.process.wait(PATIENCE) == ProfileInvalid.exit_status
    said = json.loads(monitor.words.read_text())
    assert said["reason"] == "ProfileInvalid"
    assert "this one has no x" in said["message"]
