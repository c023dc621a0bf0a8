"""Pods that speak TLS: what the operator makes of `spec.runtime.tls`, and when such a version gets traffic."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.api.pod_tls import identity_of, port_name, read_port_name
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.dataplane.envoy.pod_secrets import mounted
from headgate.core.dataplane.envoy.published import published_state
from headgate.core.dataplane.envoy.router import router_manifests
from headgate.core.model import Address, Workload
from headgate_serving.router.agent import parse_arguments
from headgate_serving.router.policy.endpoints import endpoints_by_revision
from headgate_serving.router.policy.pod_tls import PodTls
from headgate_serving.router.policy.protection import protection_of
from headgate_serving.router.published import read_published
from headgate_serving.runtime.settings import read_settings
from manifests_of import children, container, pod, runtime
from pod_security import violations
from world import World, stable_of

TLS = {"tls": {"secret": "pods", "routerSecret": "routers"}}
IDENTITY = identity_of("routers")
ROUTERS = Workload(2, 2, True, available=2)
READY_ROUTERS = replace(ROUTERS, pod_secrets=frozenset({"routers"}))


def secured() -> World:
    return World(router=READY_ROUTERS).ask("v1", runtime=TLS).settled("Stable")


def routers_of(world: World, **changes: Any) -> Any:
    o = replace(world.observe(), **changes)
    return next(m for m in router_manifests(o) if m["kind"] == "Deployment")


def told(deployment: Any) -> PodTls:
    words = [word.replace("$(ENVOY_MEMORY_MIB)", "512") for word in container(deployment, "agent")["args"]]
    return protection_of(parse_arguments(words)).pods


def test_a_port_says_by_its_name_how_it_is_asked() -> None:
    for plain in ("http", "grpc"):
        assert read_port_name(port_name(plain, IDENTITY)) == (plain, IDENTITY)
        assert port_name(plain, "") == plain
    for other in ("http", "grpc", "samples", "metrics", "agent-metrics", "https", "https-", ""):
        assert read_port_name(other) == (other, "")


def test_the_pods_show_their_certificate_and_tell_their_health_in_plain_text() -> None:
    found = runtime(secured())
    server = container(found, "runtime")
    settings = read_settings(server["args"], {})
    assert settings.tls == Path("/tls")
    (volume,) = (each["secret"] for each in pod(found)["volumes"] if "secret" in each)
    assert volume["secretName"] == "pods"
    assert [item["key"] for item in volume["items"]] == ["tls.crt", "tls.key", "ca.crt"]
    assert not volume.get("optional"), "the pod waits for it"
    assert [mount for mount in server["volumeMounts"] if mount["mountPath"] == "/tls"] == [
        {"name": "tls", "mountPath": "/tls", "readOnly": True}
    ]
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert settings.health_port == ports["health"]
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[kind]["httpGet"]["port"] == "health"
    assert not violations(pod(found))


def test_its_service_says_so_and_plain_ones_stay_as_they_were() -> None:
    for world, names in ((secured(), (f"https-{IDENTITY}", f"grpcs-{IDENTITY}")), (plain(), ("http", "grpc"))):
        found = children(world)
        service = found["Service", stable_of(world.status).revision]
        assert [(p["name"], p["targetPort"]) for p in service["spec"]["ports"]] == list(
            zip(names, ("http", "grpc"), strict=True)
        )


def plain() -> World:
    return World().ask("v1").settled("Stable")


def test_tls_makes_another_revision_and_none_leaves_it_as_it_was() -> None:
    assert stable_of(plain().status).revision != stable_of(secured().status).revision
    world = World().ask("v1", runtime={"tls": None}).settled("Stable")
    assert stable_of(plain().status).revision == stable_of(world.status).revision


def test_routers_mount_what_the_revisions_in_use_want_to_see_and_wait_for_it() -> None:
    found = routers_of(secured())
    assert told(found) == PodTls("fraud.models.svc", {IDENTITY: Path(f"/secrets/pods-{IDENTITY}")})
    assert mounted(found) == {"routers"}
    (volume,) = (each["secret"] for each in pod(found)["volumes"] if "secret" in each)
    assert not volume.get("optional"), "a router that can't ask must not replace one that can"
    (mount,) = (m for m in container(found, "agent")["volumeMounts"] if m["mountPath"].startswith("/secrets"))
    assert mount["mountPath"] == f"/secrets/pods-{IDENTITY}"
    assert not violations(pod(found))
    assert told(routers_of(plain())) == PodTls()


def test_the_secret_of_clients_is_none_for_pods() -> None:
    world = World(router=READY_ROUTERS).ask("v1", runtime=TLS, traffic={"tls": {"secret": "web"}}).settled("Stable")
    assert mounted(routers_of(world)) == {"routers"}


def test_what_a_revision_without_a_record_may_want_stays_mounted() -> None:
    world = secured()
    known = routers_of(world)
    assert mounted(routers_of(world, revisions={}, router=READY_ROUTERS)) == {"routers"}
    workload = EnvoyDataPlane().workload("fraud", [known], [])
    assert workload.pod_secrets == {"routers"}
    assert EnvoyDataPlane().workload("fraud", [], []).pod_secrets == frozenset()


def test_routers_without_an_api_server_read_how_the_pods_are_asked(tmp_path: Path) -> None:
    world = secured()
    o, stable = world.observe(), stable_of(world.status)
    o = replace(o, workloads={stable.revision: Workload(addresses=(Address("pod", "10.0.0.1"),))})
    (text,) = published_state(o, stable)["data"].values()
    (tmp_path / "state.json").write_text(text)
    published = read_published(tmp_path / "state.json")
    assert published
    (found,) = endpoints_by_revision(published.slices)[stable.revision]
    assert (found.port, found.grpc_port, found.identity) == (8000, 8001, IDENTITY)
    # Without a record nobody knows how the pods are asked: what was published stays.
    names = [m["kind"] for m in EnvoyDataPlane().manifests(replace(o, revisions={}))]
    assert "ConfigMap" not in names


@pytest.mark.parametrize("preflight", [False, True])
@pytest.mark.parametrize(
    "routers",
    [
        ROUTERS,
        replace(READY_ROUTERS, rolled_out=False),
        replace(READY_ROUTERS, outdated=1),
        replace(ROUTERS, pod_secrets=frozenset({"others"})),
    ],
)
def test_no_traffic_before_all_routers_can_ask_its_pods(routers: Workload, preflight: bool) -> None:
    world = World(preflight=preflight).ask("v1").settled("Stable")
    world.router = routers
    world.ask("v2", runtime=TLS)
    world.looks(100)
    assert world.status.phase == ("Preflight" if preflight else "Pending")
    assert world.routed() == {"v1": 100}
    stalled = world.conditions["Stalled"]
    assert (stalled.status, stalled.reason) == ("True", "RoutersLackSecret")
    assert "the Secret routers" in stalled.message
    began = world.status.rollout.since if world.status.rollout else ""
    world.looks(3)
    assert world.status.rollout
    assert world.status.rollout.since == began, "it is entered once"
    world.router = READY_ROUTERS
    world.until("Canary")
    world.until("Stable")
    assert world.routed() == {"v2": 100}


def test_the_first_version_is_live_when_routers_can_ask_it() -> None:
    world = World(router=replace(ROUTERS, rolled_out=False)).ask("v1", runtime=TLS)
    world.looks(30)
    # Routers get ready by the first version that they route to.
    assert (world.status.phase, world.routed()) == ("Pending", {"v1": 100})
    assert world.status.stable is None
    world.router = READY_ROUTERS
    world.until("Stable")


def test_back_to_plain_text_waits_for_nobody() -> None:
    world = secured()
    world.router = replace(READY_ROUTERS, rolled_out=False)
    world.ask("v2").until("Canary")
    assert mounted(routers_of(world)) == {"routers"}, "stable still wants to see it"
    world.settled("Stable")
    assert mounted(routers_of(world)) == frozenset()
