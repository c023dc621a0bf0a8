"""What a table of requests can't hold: streamed bodies, broken connections, the series, the end."""

import signal
import socket
import time
from collections.abc import Iterator

import httpx
import orjson
import pytest

import serving_models as models
from conformance_requests import asked
from conformance_servers import MAX_BODY
from patience import PATIENCE
from serving_process import Served

INFER = "/v2/models/fraud/infer"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("mixed")
    models.mixed(folder / "model.onnx")
    process = Served(folder, "--max-body", str(MAX_BODY), log=folder / "termination-log")
    yield process
    assert process.stop() == 0


def test_monitoring_that_is_off_says_why(served: Served) -> None:
    assert "no profile.json" in served.client.get("/v2/models/fraud").json()["headgate"]["monitoring"]


def test_a_body_of_streamed_size_can_be_too_large(served: Served) -> None:
    pieces = (b" " * 10_000 for _ in range(11))
    with httpx.Client(base_url=f"http://{served.address}") as client:
        answer = client.post(INFER, content=pieces)
    assert answer.status_code == 413
    assert "100000 bytes" in answer.json()["error"]


def test_a_streamed_body_of_good_size_is_taken(served: Served) -> None:
    body = orjson.dumps(asked())
    assert served.client.post(INFER, content=iter([body[:50], body[50:]])).status_code == 200


@pytest.mark.parametrize("raw", [b"\x00\x01\x02\r\n\r\n", b"POST " + INFER.encode() + b" HTTP/1.1\r\n\r\n", b"GET"])
def test_what_is_no_http_takes_nothing_down(served: Served, raw: bytes) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    assert served.client.post(INFER, json=asked()).status_code == 200


def test_a_client_that_hangs_up_takes_nothing_down(served: Served) -> None:
    host, port = served.address.split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST " + INFER.encode() + b" HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
    assert served.client.post(INFER, json=asked()).status_code == 200


def test_the_series_say_what_happened(served: Served) -> None:
    before = served.metrics()
    served.client.post(INFER, json=asked())
    served.client.post(INFER, json={})
    after = served.metrics()
    labels = 'headgate_model="fraud",headgate_namespace="ns",headgate_revision="fraud-1a2b3c4d"'
    grown = {key: value - before.get(key, 0) for key, value in after.items() if value != before.get(key, 0)}
    assert grown[f'headgate_requests_total{{code="200",{labels}}}'] == 1
    assert grown[f'headgate_requests_total{{code="400",{labels}}}'] == 1
    assert grown[f'headgate_schema_violation_total{{{labels},kind="json"}}'] == 1
    assert grown[f"headgate_request_duration_seconds_count{{{labels}}}"] == 2
    assert after[f"headgate_ready{{{labels}}}"] == 1
    assert after[f"headgate_start_time_seconds{{{labels}}}"] == before[f"headgate_start_time_seconds{{{labels}}}"]
    assert abs(after[f"headgate_start_time_seconds{{{labels}}}"] - time.time()) < 3600
    assert any(key.startswith("headgate_model_info{") and 'digest="sha256:' in key for key in after)
    assert not any(key.startswith("headgate_feature_bin") and "bin=" in key for key in after)


def test_nothing_is_written_anywhere(served: Served) -> None:
    assert served.client.post(INFER, json=asked()).status_code == 200
    assert not served.home.exists()


def test_drains_at_sigterm(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("drain")
    models.mixed(folder / "model.onnx")
    process = Served(folder, "--drain-delay", "0", log=folder / "termination-log")
    host, port = process.address.split(":")
    body = orjson.dumps(asked())
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
    try:
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(head.encode())
            assert b" 100 Continue" in connection.recv(1000)  # so it knows of the request
            connection.sendall(body[:10])
            assert process.client.get("/v2/health/live").status_code == 200
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("draining")
            ready = process.client.get("/v2/health/ready")
            assert (ready.status_code, ready.json()) == (503, {"ready": False})
            connection.sendall(body[10:])
            assert b" 200 OK" in connection.recv(1000)
    finally:
        assert process.stop() == 0
