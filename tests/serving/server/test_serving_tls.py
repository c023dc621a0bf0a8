"""TLS of the runtime: who is let in, what a new certificate costs, and what needs none."""

import contextlib
import json
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from cryptography import x509
from tritonclient.grpc import service_pb2, service_pb2_grpc

import serving_models as models
from headgate_serving.certificates import Certificate, Identity, client_context
from headgate_serving.errors import UnusableSecret
from patience import PATIENCE
from ports import free_port
from router_mounts import Mount
from serving_process import Served
from stories.certificates import Pair, authority

NAME = "fraud.ns.svc"
PODS, ROUTERS, OTHERS = authority("pods"), authority("routers"), authority("others")
INFER = "/v2/models/fraud/infer"
ROW = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}]}


class Pod(Served):
    """A runtime with a mounted Secret."""

    def __init__(self, root: Path) -> None:
        self.mount = Mount(root / "tls")
        self.renew(PODS.issue(NAME), ROUTERS)
        self.health_port = free_port()
        model = models.score(root / "model.onnx")
        log = root / "log"
        super().__init__(model, "--tls", str(self.mount.root), "--health-port", str(self.health_port), log=log)
        self.url = f"https://{self.address}{INFER}"

    def renew(self, own: Pair, *trusted: Pair) -> None:
        self.mount.fill(tls_crt=own.pem, tls_key=own.key, ca_crt="".join(pair.pem for pair in trusted))

    def health(self, path: str) -> int:
        return httpx.get(f"http://127.0.0.1:{self.health_port}{path}").status_code

    def shown(self) -> int:
        """The serial number of the certificate that a new client sees."""
        text = ssl.get_server_certificate(self._place)
        return x509.load_pem_x509_certificate(text.encode()).serial_number

    @property
    def _place(self) -> tuple[str, int]:
        host, _, port = self.address.partition(":")
        return host, int(port)


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    running = Pod(tmp_path_factory.mktemp("pod"))
    yield running
    assert running.stop() == 0


def identity(own: Pair, *trusted: Pair) -> Identity:
    return Identity(Certificate(own.pem, own.key), "".join(pair.pem for pair in trusted or (PODS,)))


def client(own: Pair, *trusted: Pair) -> httpx.Client:
    return httpx.Client(verify=client_context(identity(own, *trusted), "http/1.1"), timeout=PATIENCE)


def refused(pod: Pod, context: ssl.SSLContext) -> None:
    """TLS 1.3 tells a client that it was refused only when it first reads."""
    with pytest.raises(httpx.TransportError), httpx.Client(verify=context, timeout=PATIENCE) as stranger:
        stranger.post(pod.url, json=ROW)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_client_with_a_certificate_is_answered_over_both_protocols(pod: Pod) -> None:
    router = ROUTERS.issue("router")
    with client(router) as asking:
        assert asking.post(pod.url, json=ROW).status_code == 200
    trusted = grpc.ssl_channel_credentials(PODS.pem.encode(), router.key.encode(), router.pem.encode())
    options = (("grpc.ssl_target_name_override", NAME),)
    with grpc.secure_channel(pod.grpc_address, trusted, options) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        assert stub.ModelReady(service_pb2.ModelReadyRequest(name="fraud"), timeout=PATIENCE).ready
    assert (
        pod.metrics()[
            'headgate_secret_usable{headgate_model="fraud",headgate_namespace="ns",headgate_revision="fraud-1a2b3c4d"}'
        ]
        == 1
    )


@pytest.mark.parametrize("who", ["nobody", "another authority's", "one that has ended", "one that vouches for itself"])
def test_nobody_else_is_answered(pod: Pod, who: str) -> None:
    before = pod.metrics()
    context = ssl.create_default_context(cadata=PODS.pem)
    shown = {
        "another authority's": OTHERS.issue("router"),
        "one that has ended": ROUTERS.issue("router", days=-1),
        "one that vouches for itself": authority("router"),
    }
    if who in shown:
        context = client_context(identity(shown[who]), "http/1.1")
    refused(pod, context)
    after = pod.metrics()
    assert [value for name, value in before.items() if name.startswith("headgate_requests_total")] == [
        value for name, value in after.items() if name.startswith("headgate_requests_total")
    ]


def test_over_grpc_nobody_else_is_answered_either(pod: Pod) -> None:
    for credentials in (
        grpc.ssl_channel_credentials(PODS.pem.encode()),
        grpc.ssl_channel_credentials(
            PODS.pem.encode(), (wrong := OTHERS.issue("router")).key.encode(), wrong.pem.encode()
        ),
    ):
        with grpc.secure_channel(pod.grpc_address, credentials, (("grpc.ssl_target_name_override", NAME),)) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            with pytest.raises(grpc.RpcError) as error:
                stub.ServerLive(service_pb2.ServerLiveRequest(), timeout=PATIENCE)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_plain_text_and_tls_1_2_are_refused(pod: Pod) -> None:
    for address in (pod.address, pod.grpc_address):
        host, _, port = address.partition(":")
        for sent in (b"GET /v2 HTTP/1.1\r\nHost: fraud\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"):
            with socket.create_connection((host, int(port)), PATIENCE) as plain:
                plain.sendall(sent)
                with contextlib.suppress(ConnectionError):
                    assert b"HTTP" not in plain.recv(1000)
    old = client_context(identity(ROUTERS.issue("router")), "http/1.1")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
    refused(pod, old)


def test_a_client_does_not_ask_a_pod_that_nobody_vouches_for(pod: Pod) -> None:
    refused(pod, client_context(identity(ROUTERS.issue("router"), OTHERS), "http/1.1"))


def test_health_and_metrics_need_no_certificate_and_nothing_else_is_there(pod: Pod) -> None:
    assert pod.health("/v2/health/live") == 200
    assert pod.health("/v2/health/ready") == 200
    for path in ("/v2", INFER, "/v2/models/fraud", "/metrics"):
        assert pod.health(path) == 404
    assert httpx.post(f"http://127.0.0.1:{pod.health_port}{INFER}", json=ROW).status_code == 404


@pytest.mark.parametrize("rows", [3, 1000, 200_000, 1_500_000])
def test_bodies_of_all_sizes_come_whole(pod: Pod, rows: int) -> None:
    values = np.random.default_rng(rows).random((rows, 2), np.float32)
    tensor = {"name": "X", "datatype": "FP32", "shape": [rows, 2], "parameters": {"binary_data_size": values.nbytes}}
    wanted = {"inputs": [tensor], "outputs": [{"name": "score", "parameters": {"binary_data": True}}]}
    head = json.dumps(wanted).encode()
    with client(ROUTERS.issue("router")) as asking:
        for _ in range(2):
            headers = {"inference-header-content-length": str(len(head))}
            answer = asking.post(pod.url, content=head + values.tobytes(), headers=headers)
            assert answer.status_code == 200, answer.text[:500]
            found = np.frombuffer(answer.content[int(answer.headers["inference-header-content-length"]) :], np.float32)
            assert len(found) == rows
            np.testing.assert_allclose(found, values.sum(axis=1), rtol=1e-5)


def test_new_secrets_are_followed_and_cost_no_request(pod: Pod) -> None:
    router, successor = ROUTERS.issue("router"), OTHERS.issue("router")
    pods = authority("pods that come")
    statuses, over = list[int](), threading.Event()

    def anew() -> None:
        while not over.is_set():
            with client(router, PODS, pods) as asking:
                statuses.append(asking.post(pod.url, json=ROW).status_code)

    def on_one_connection(asking: httpx.Client) -> None:
        while not over.is_set():
            statuses.append(asking.post(pod.url, json=ROW).status_code)
            time.sleep(0.01)

    with client(router, PODS) as kept:
        work = [threading.Thread(target=anew), threading.Thread(target=on_one_connection, args=(kept,))]
        for thread in work:
            thread.start()
        for issuer in (pods, PODS, pods):
            own = issuer.issue(NAME)
            pod.renew(own, ROUTERS, OTHERS)
            until(lambda own=own: pod.shown() == own.certificate.serial_number)  # type: ignore[misc]
            so_far = len(statuses)
            until(lambda so_far=so_far: len(statuses) > so_far + 10)  # type: ignore[misc]
        over.set()
        for thread in work:
            thread.join()
        assert set(statuses) == {200}
        # Who is no longer vouched for is let in no more; a connection that is there goes on.
        own = PODS.issue(NAME)
        pod.renew(own, OTHERS)
        until(lambda: pod.shown() == own.certificate.serial_number)
        refused(pod, client_context(identity(router), "http/1.1"))
        with client(successor) as asking:
            assert asking.post(pod.url, json=ROW).status_code == 200
        assert kept.post(pod.url, json=ROW).status_code == 200
    pod.renew(PODS.issue(NAME), ROUTERS)
    until(lambda: _is_let_in(pod, router))


def _is_let_in(pod: Pod, router: Pair) -> bool:
    with contextlib.suppress(httpx.TransportError), client(router) as asking:
        return asking.post(pod.url, json=ROW).status_code == 200
    return False


def test_what_can_not_be_used_leaves_what_is_in_use(pod: Pod) -> None:
    shown = pod.shown()
    other = PODS.issue(NAME)
    pod.mount.fill(tls_crt=other.pem, tls_key=PODS.issue(NAME).key, ca_crt=ROUTERS.pem)
    pod.wait_for("the last one that could be used stays")
    assert pod.shown() == shown
    assert [value for name, value in pod.metrics().items() if name.startswith("headgate_secret_usable")] == [0]
    assert not [line for line in pod.lines if "PRIVATE" in line]
    pod.renew(other, ROUTERS)
    until(lambda: pod.shown() == other.certificate.serial_number)
    assert [value for name, value in pod.metrics().items() if name.startswith("headgate_secret_usable")] == [1]


def test_a_secret_that_can_not_be_used_from_the_start_is_said(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "tls")
    mount.fill(tls_crt="hello", tls_key="hello", ca_crt=ROUTERS.pem)
    model = models.score(tmp_path / "model.onnx")
    served = Served(model, "--tls", str(mount.root), log=tmp_path / "log")
    assert served.stop() == UnusableSecret.exit_status
    assert served.last_words["reason"] == "UnusableSecret"
    assert "tls.crt and tls.key can't be used" in served.last_words["message"]


def test_the_end_of_a_pod_costs_no_answer(tmp_path: Path) -> None:
    pod = Pod(tmp_path)
    values = np.ones((1_000_000, 2), np.float32)
    tensor = {
        "name": "X",
        "datatype": "FP32",
        "shape": [len(values), 2],
        "parameters": {"binary_data_size": values.nbytes},
    }
    head = json.dumps(
        {"inputs": [tensor], "outputs": [{"name": "score", "parameters": {"binary_data": True}}]}
    ).encode()
    headers = {"inference-header-content-length": str(len(head))}
    with (
        client(ROUTERS.issue("router")) as asking,
        asking.stream("POST", pod.url, content=head + values.tobytes(), headers=headers) as answer,
    ):
        pod.process.send_signal(signal.SIGTERM)
        pod.wait_for("draining")
        time.sleep(0.5)  # the client is slow to read: most of the answer is in the pod still
        size = sum(len(piece) for piece in answer.iter_raw())
        assert size == int(answer.headers["content-length"])
    assert pod.stop() == 0
