"""What becomes of requests and processes when a serving process crashes, hangs, or is told to end."""

import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import serving_models as models
from patience import PATIENCE
from serving_process import Served

INFER = "/v2/models/fraud/infer"
SCORE = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
DIES = """
import os, signal
from headgate_serving.server import worker
def serve(settings, place):
    {first}
    os.kill(os.getpid(), signal.SIGSEGV)
worker.serve = serve
"""
CAN_NOT_BE_STOPPED = """
from headgate_serving.runtime import model
from headgate_serving.server import worker
model.Run.terminate = lambda run: setattr(run, "terminated", True)
worker._GIVE_UP = 0.2
"""

LOOP_HANGS_AT_SIGTERM = """
import time
from headgate_serving.server import worker
async def hang(*args):
    time.sleep(3600)
worker.drain = hang
"""


def loop(times: int) -> dict[str, object]:
    rounds = {"name": "TIMES", "datatype": "INT64", "shape": [1], "data": [times]}
    return {"inputs": [{"name": "IN", "datatype": "FP32", "shape": [2], "data": [0, 1]}, rounds]}


FOR_EVER = loop(10**12)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    models.score(tmp_path / "model.onnx")
    process = Served(tmp_path, log=tmp_path / "termination-log")
    yield process
    assert process.stop() == 0


def counted(served: Served, name: str) -> float:
    return next(value for key, value in served.metrics().items() if key.startswith(name))


def ends(pid: int) -> bool:
    """Whether the process is gone within some seconds, or waits for somebody to ask how it ended."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_who_comes_while_a_crashed_process_is_replaced_waits_and_is_answered(served: Served) -> None:
    assert served.client.post(INFER, json=SCORE).status_code == 200
    first = served.child
    os.kill(first, signal.SIGSEGV)
    with ThreadPoolExecutor(8) as clients:  # each with a new connection
        url = f"http://{served.address}{INFER}"
        answers = list(clients.map(lambda _: httpx.post(url, json=SCORE, timeout=PATIENCE), range(16)))
    assert [answer.status_code for answer in answers] == [200] * 16
    assert served.child != first
    assert counted(served, "headgate_worker_restarts_total") == 1
    assert any("was killed by SIGSEGV; starting another one" in line for line in served.lines)


@pytest.mark.parametrize(
    ("first", "when"), [("pass", "before it was ready"), ("os.write(place.ready, b'1')", "5 times within 60 s")]
)
def test_what_crashes_at_once_or_again_and_again_is_left_to_the_kubelet(tmp_path: Path, first: str, when: str) -> None:
    models.score(tmp_path / "model.onnx")
    process = Served(tmp_path, log=tmp_path / "termination-log", before=DIES.format(first=first))
    assert process.stop() == 128 + signal.SIGSEGV
    assert process.last_words == {
        "reason": "ServingCrashed",
        "message": f"the serving process was killed by SIGSEGV, {when}",
    }


def test_a_run_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    models.looping(tmp_path / "model.onnx")
    served = Served(tmp_path, "--run-timeout", "2", log=tmp_path / "termination-log")
    try:
        answer = served.client.post(INFER, json=FOR_EVER, timeout=PATIENCE)
        assert answer.status_code == 500
        assert "was stopped" in answer.json()["error"]
        assert served.client.post(INFER, json=loop(3)).json()["outputs"][0]["data"] == [3.0, 4.0]
        assert counted(served, "headgate_runs_stopped_total") == 1
        assert counted(served, "headgate_worker_restarts_total") == 0
    finally:
        assert served.stop() == 0


def test_who_gives_a_timeout_is_told_when_it_is_over(tmp_path: Path) -> None:
    """A model that was never slow runs on the loop's own thread, where nobody can look at the clock."""
    models.looping(tmp_path / "model.onnx")
    served = Served(tmp_path, "--run-timeout", "4", "--threads", "1", log=tmp_path / "termination-log")
    try:
        assert served.client.post(INFER, json=FOR_EVER, timeout=PATIENCE).status_code == 500
        asked = time.monotonic()
        answer = served.client.post(INFER, json=FOR_EVER | {"parameters": {"timeout": 100_000}}, timeout=PATIENCE)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "deadline passed" in answer.json()["error"]
        assert time.monotonic() - asked >= 0.1  # and before the run was stopped, which would be another answer
        assert served.client.post(INFER, json=loop(3), timeout=PATIENCE).status_code == 200  # when that run was stopped
        dropped = {key: value for key, value in served.metrics().items() if "requests_dropped_total" in key}
        assert [value for key, value in dropped.items() if 'reason="deadline"' in key] == [1]
    finally:
        assert served.stop() == 0


def test_a_run_that_can_not_be_stopped_takes_its_process_along_and_not_the_server(tmp_path: Path) -> None:
    models.looping(tmp_path / "model.onnx")
    log = tmp_path / "termination-log"
    served = Served(tmp_path, "--run-timeout", "2", log=log, before=CAN_NOT_BE_STOPPED)
    try:
        with pytest.raises(httpx.HTTPError):
            served.client.post(INFER, json=FOR_EVER, timeout=PATIENCE)
        assert served.client.post(INFER, json=loop(3), timeout=PATIENCE).status_code == 200
        assert counted(served, "headgate_worker_restarts_total") == 1
        assert any("gave up a run of the model that hangs" in line for line in served.lines)
    finally:
        assert served.stop() == 0


def test_what_is_running_at_sigterm_is_answered(tmp_path: Path) -> None:
    models.looping(tmp_path / "model.onnx")
    served = Served(tmp_path, log=tmp_path / "termination-log")
    with ThreadPoolExecutor(1) as client:
        waiting = client.submit(served.client.post, INFER, json=loop(3_000_000), timeout=PATIENCE)
        while not counted(served, "headgate_requests_in_flight"):
            pass
        served.process.send_signal(signal.SIGTERM)
        assert waiting.result().status_code == 200
    assert served.stop() == 0


@pytest.mark.parametrize("hangs", ["a run of the model", "the event loop"])
def test_what_does_not_end_within_the_grace_is_killed(tmp_path: Path, hangs: str) -> None:
    models.looping(tmp_path / "model.onnx")
    stuck = "" if hangs == "a run of the model" else LOOP_HANGS_AT_SIGTERM
    served = Served(
        tmp_path, "--run-timeout", "0", "--grace", "1", log=tmp_path / "termination-log", before=stuck or "pass"
    )
    with ThreadPoolExecutor(1) as client:
        if not stuck:
            client.submit(served.client.post, INFER, json=FOR_EVER, timeout=PATIENCE)
            child = served.child
            while not Path(f"/proc/{child}/stat").read_text().split(") ")[1].startswith("R"):
                time.sleep(0.05)
        assert served.stop() == 128 + signal.SIGKILL
    assert any("did not end within 1 s of grace" in line for line in served.lines)


class Client(threading.Thread):
    """Asks again and again; goes to a new connection when it is told that the old one ends."""

    def __init__(self, address: str, told_to_end: threading.Event) -> None:
        super().__init__()
        self.host, _, self.port = address.partition(":")
        self.told_to_end = told_to_end
        self.statuses: list[int] = []
        self.connections = 0
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            afterwards = 0
            while afterwards < 30:
                connection = http.client.HTTPConnection(self.host, int(self.port), timeout=PATIENCE)
                self.connections += 1
                while afterwards < 30:
                    afterwards += self.told_to_end.is_set()
                    connection.request("POST", INFER, body=self.body)
                    answer = connection.getresponse()
                    answer.read()
                    self.statuses.append(answer.status)
                    if answer.getheader("connection") == "close":
                        break
                connection.close()
        except Exception as error:
            self.failure = error

    body = httpx.Request("POST", "http://x", json=SCORE).content


def test_sigterm_under_load_loses_no_request(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    served = Served(tmp_path, "--drain-delay", "10", log=tmp_path / "termination-log")
    told_to_end = threading.Event()
    clients = [Client(served.address, told_to_end) for _ in range(6)]
    for client in clients:
        client.start()
    while min(len(client.statuses) for client in clients) < 50:
        time.sleep(0.01)
    served.process.send_signal(signal.SIGTERM)
    served.wait_for("draining")
    told_to_end.set()
    for client in clients:
        client.join()
    assert [client.failure for client in clients] == [None] * 6
    assert {status for client in clients for status in client.statuses} == {200}
    assert min(client.connections for client in clients) > 20  # while it drains each request has its own
    assert served.stop() == 0
    host, port = served.address.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))


def test_told_to_end_while_it_starts_it_ends(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    before = "import os, signal\nos.register_at_fork(before=lambda: os.kill(os.getpid(), signal.SIGTERM))"
    process = Served(tmp_path, log=tmp_path / "termination-log", before=before)
    assert process.process.wait(timeout=PATIENCE) == 0
    assert process.stop() == 0


def test_a_serving_process_does_not_outlive_its_supervisor(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    served = Served(tmp_path, log=tmp_path / "termination-log")
    child = served.child
    served.process.kill()
    assert ends(child)
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"http://{served.address}/v2")
    assert served.stop() == -signal.SIGKILL
