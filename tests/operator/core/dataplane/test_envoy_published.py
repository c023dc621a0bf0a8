"""What is published for routers without an API server is what their agent reads."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from headgate.core.dataplane.envoy.published import published_state
from headgate.core.model import Address, Workload
from headgate_serving.router.policy.endpoints import Endpoint, endpoints_by_revision
from headgate_serving.router.policy.traffic import Target, parse_deployment
from headgate_serving.router.published import read_published
from world import World, stable_of


@pytest.fixture
def read(tmp_path: Any) -> Callable[..., Any]:
    """The agent's view of a world in which stable's pods have these addresses."""

    def read(world: Any, *ips: Any) -> Any:
        o = world.observe()
        stable = o.status.stable
        workload = Workload(addresses=tuple(Address(f"pod-{n}", ip) for n, ip in enumerate(ips)))
        manifest = published_state(replace(o, workloads={stable.revision: workload}), stable)
        (name,) = manifest["data"]
        (tmp_path / name).write_text(manifest["data"][name])
        return read_published(tmp_path / "state.json")

    return read


def test_stable_gets_everything_even_while_a_candidate_has_its_part(read: Callable[..., Any]) -> None:
    wishes = {"timeout": "250ms", "maxBody": "1Mi", "match": [{"header": "x-tester"}]}
    world = World().ask("v1", traffic=wishes).settled("Stable")
    world.ask("v2", traffic=wishes).until("Canary")
    intent = parse_deployment(read(world, "10.0.0.1").deployment)
    assert intent.targets == (Target(stable_of(world.status).revision, "stable", 1000),)
    assert (intent.policy.timeout_ms, intent.policy.max_body_bytes, len(intent.policy.matches)) == (250, 1 << 20, 1)
    assert not intent.ignored


def test_a_router_without_an_api_server_copies_nothing_to_a_monitor(read: Callable[..., Any]) -> None:
    world = World().ask("v1", runtime={"engine": "custom", "image": "registry.example/own:1"}).settled("Stable")
    assert world.status.traffic[0].sample == 10
    published = read(world, "10.0.0.1")
    assert all("sample" not in target for target in published.deployment["status"]["traffic"])
    assert {p["name"] for s in published.slices for p in s["ports"]} == {"http", "grpc"}


def test_the_pods_are_those_that_are_ready(read: Callable[..., Any]) -> None:
    world = World().ask("v1").settled("Stable")
    found = endpoints_by_revision(read(world, "10.0.0.1", "fd00::2").slices)
    assert found == {
        stable_of(world.status).revision: (
            Endpoint("10.0.0.1", 8000, "pod-0", grpc_port=8001),
            Endpoint("fd00::2", 8000, "pod-1", grpc_port=8001),
        )
    }


def test_without_a_pod_it_can_be_read_all_the_same(read: Callable[..., Any]) -> None:
    assert read(World().ask("v1").settled("Stable")).slices == ()
