"""By themselves all servers of a pod listen at all addresses, of IPv4 and IPv6: a cluster may have either alone."""

import errno
import socket
import urllib.request
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

import serving_models as models
from headgate_serving.listening import bind_address, listening_socket
from headgate_serving.router.agent import parse_arguments
from headgate_serving.router.envoy.config import Layout, bootstrap_document
from headgate_serving.router.envoy.standby import StandbyListener
from headgate_serving.router.policy.protection import UNPROTECTED
from headgate_serving.router.policy.traffic import Intent
from headgate_serving.router.web import Web
from headgate_serving.runtime.settings import read_settings
from headgate_serving.sidecar.process import Sidecar
from headgate_serving.sidecar.settings import read_settings as monitor_settings
from ports import free_port
from serving_process import Served

BOTH = ("127.0.0.1", "[::1]")


@pytest.fixture(autouse=True)
def both() -> None:
    try:
        listening_socket("::1", 0).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


async def answers(port: int, path: str) -> list[int]:
    async with aiohttp.ClientSession() as session:
        return [(await session.get(f"http://{host}:{port}{path}")).status for host in BOTH]


def port_of(runner: Any) -> int:
    return int(runner.addresses[0][1])


async def no() -> bool:
    return False


async def test_the_agent_answers_at_both() -> None:
    runner = await Web(lambda: True, no, CollectorRegistry()).serve(bind_address(), 0)
    assert await answers(port_of(runner), "/startupz") == [200, 200]
    await runner.cleanup()


async def test_the_monitor_answers_at_both(tmp_path: Path) -> None:
    options = [
        "--artifact",
        str(tmp_path),
        "--baseline",
        str(tmp_path),
        "--model",
        "m",
        "--engine",
        "http://127.0.0.1:1",
    ]
    settings = monitor_settings([*options, "--port", "0"], {})
    runner = await Sidecar(settings).listen()
    assert await answers(port_of(runner), "/metrics") == [200, 200]
    await runner.cleanup()


def test_the_runtime_answers_at_both(tmp_path: Path) -> None:
    models.score(tmp_path / "model.onnx")
    served = Served(tmp_path, "--host", "auto", log=tmp_path / "log")
    try:
        metrics = served.metrics_url.replace("127.0.0.1", "[::1]")
        for url in (
            f"http://{served.address}/v2",
            f"http://{served.address}/v2".replace("127.0.0.1", "[::1]"),
            metrics,
        ):
            with urllib.request.urlopen(url) as answer:
                assert answer.status == 200
        with socket.create_connection(("::1", int(served.grpc_address.rpartition(":")[2]))):
            pass
    finally:
        assert served.stop() == 0


def test_who_waits_for_envoy_may_come_by_both(tmp_path: Path) -> None:
    port = free_port()
    with StandbyListener(tmp_path / "admin.sock", bind_address(), port, lambda: False)._listening():
        for host in BOTH:
            socket.create_connection((host.strip("[]"), port)).close()


def test_the_defaults_are_all_addresses() -> None:
    agent = parse_arguments(["--namespace", "ns", "--model", "fraud", "--xds-dir", "/xds"])
    assert bind_address(agent.bind) == "::"
    assert read_settings(["--model", "m.onnx"], {}).host == "::"


@pytest.mark.parametrize("asked", ["0.0.0.0", "127.0.0.1", "::1"])
def test_who_asks_for_an_address_gets_it(asked: str) -> None:
    assert bind_address(asked) == asked
    assert read_settings(["--model", "m.onnx", "--host", asked], {}).host == asked


@pytest.mark.parametrize(
    "error", [OSError(errno.EAFNOSUPPORT, "no IPv6"), OSError(errno.EADDRNOTAVAIL, "none"), ValueError("no dual stack")]
)
def test_without_ipv6_there_is_ipv4(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    create = socket.create_server

    def create_server(*arguments: Any, **options: Any) -> socket.socket:
        if options["family"] == socket.AF_INET6:
            raise error
        return create(*arguments, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    assert bind_address() == "0.0.0.0"
    listening_socket(bind_address(), 0).close()


def test_envoy_is_told_the_same() -> None:
    for bind, compatible in (("::", True), ("0.0.0.0", False)):
        layout = Layout(PurePosixPath("/xds"), bind)
        listeners = bootstrap_document("ns", "fraud", layout, Intent(), UNPROTECTED)["static_resources"]["listeners"]
        addresses = [listener["address"]["socket_address"] for listener in listeners]
        assert [(each["address"], each["ipv4_compat"]) for each in addresses] == [(bind, compatible)] * 2
