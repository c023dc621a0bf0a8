"""Who reaches a model's routers and its pods, by the NetworkPolicies that its ModelDeployment owns."""

from dataclasses import replace
from typing import Any

import pytest

from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.core.model import NetworkAccess, Observation
from headgate.core.revision_pods import runtime_manifests
from headgate.edges.kube import PLURALS
from manifests_of import serving
from network_policies import Pod, pod_of, reaches

SCRAPER = Pod("monitoring", {"app": "prometheus"})
STRANGER = Pod("tenant")
NEIGHBOUR = Pod("models", {"app": "shop"})
OTHERS_ROUTER = Pod("models", {"headgate.dev/model": "churn", "headgate.dev/component": "router"})
FORGED_ROUTER = Pod("tenant", {"headgate.dev/model": "fraud", "headgate.dev/component": "router"})
NAMED = NetworkAccess(
    (
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
            "podSelector": {"matchLabels": {"app": "prometheus"}},
        },
    )
)
CUSTOM = {"engine": "custom", "image": "registry.example/own:1"}


def observed(access: NetworkAccess | None, **spec: Any) -> tuple[Observation, list[dict[str, Any]], Pod, Pod]:
    """The model, its children, a router, and a serving pod."""
    world = serving(**spec)
    o = world.observe()
    o = replace(o, defaults=replace(o.defaults, network=access))
    (view,) = world.revisions.values()
    objects = [*EnvoyDataPlane().manifests(o), *runtime_manifests(o, view)]
    router, runtime = (pod_of(each) for each in objects if each["kind"] == "Deployment")
    return o, objects, router, runtime


@pytest.mark.parametrize("engine", [{}, CUSTOM], ids=["onnxruntime", "custom"])
def test_everybody_reaches_the_routers_and_the_routers_alone_reach_the_pods(engine: dict[str, Any]) -> None:
    _, objects, router, runtime = observed(NAMED, runtime=engine)
    for source in (STRANGER, NEIGHBOUR, SCRAPER, OTHERS_ROUTER):
        assert reaches(objects, source, router, 8080)
        assert not reaches(objects, source, runtime, 8000)
        assert not reaches(objects, source, runtime, 8001)
    assert not reaches(objects, FORGED_ROUTER, runtime, 8000)
    assert all(reaches(objects, router, runtime, port) for port in (8000, 8001))


def test_with_named_clients_nobody_else_reaches_the_routers() -> None:
    shop = {"podSelector": {"matchLabels": {"app": "shop"}}}
    gateway = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}
    _, objects, router, runtime = observed(NAMED, traffic={"clients": [shop, gateway]})
    for source in (NEIGHBOUR, Pod("gateway"), OTHERS_ROUTER):  # the last for models that fall back to this one
        assert reaches(objects, source, router, 8080)
        assert not reaches(objects, source, router, 8003)
        assert not reaches(objects, source, runtime, 8000)
    for source in (STRANGER, SCRAPER, Pod("tenant", NEIGHBOUR.labels)):
        assert not reaches(objects, source, router, 8080)


def test_samples_for_a_monitor_come_from_the_models_own_routers() -> None:
    _, objects, router, runtime = observed(NAMED, runtime=CUSTOM)
    assert reaches(objects, router, runtime, 8002)
    for source in (STRANGER, NEIGHBOUR, OTHERS_ROUTER, FORGED_ROUTER):
        assert not reaches(objects, source, runtime, 8002)


def test_the_scraper_alone_reads_metrics() -> None:
    _, objects, router, runtime = observed(NAMED)
    for target, port in ((router, 8003), (router, 8081), (runtime, 8002)):
        assert reaches(objects, SCRAPER, target, port)
        for source in (STRANGER, NEIGHBOUR, OTHERS_ROUTER, Pod("tenant", SCRAPER.labels)):
            assert not reaches(objects, source, target, port)


def test_where_no_scraper_is_named_metrics_are_open_and_nothing_else() -> None:
    _, objects, router, runtime = observed(NetworkAccess())
    for target, port in ((router, 8003), (router, 8081), (runtime, 8002)):
        assert reaches(objects, STRANGER, target, port)
    assert not reaches(objects, STRANGER, runtime, 8000)


def test_every_port_of_the_pods_is_somebodys_and_no_other_is_open() -> None:
    _, objects, router, runtime = observed(NAMED, runtime=CUSTOM)
    sources = (STRANGER, SCRAPER, router)
    for target in (router, runtime):
        open_ports = {p for p in range(1, 65536) if any(reaches(objects, source, target, p) for source in sources)}
        assert open_ports == set(target.ports.values())


def test_switched_off_they_are_unwanted_and_on_they_are_not() -> None:
    wanted, objects, _, _ = observed(NAMED)
    o, without, router, runtime = observed(None)
    made = {(each["kind"], each["metadata"]["name"]) for each in objects if each["kind"] == "NetworkPolicy"}
    assert made == {("NetworkPolicy", "fraud"), ("NetworkPolicy", "fraud-router")}
    assert made <= {(kind, name) for _, kind, name in EnvoyDataPlane().unwanted(o)}
    assert not made & {(kind, name) for _, kind, name in EnvoyDataPlane().unwanted(wanted)}
    assert not made & {(each["kind"], each["metadata"]["name"]) for each in without}
    assert reaches(without, STRANGER, runtime, 8000)
    assert reaches(without, STRANGER, router, 8081)


def test_the_model_owns_them_and_they_come_before_the_pods() -> None:
    o, objects, _, _ = observed(NAMED)
    kinds = [each["kind"] for each in objects]
    assert kinds[:2] == ["NetworkPolicy", "NetworkPolicy"]
    for policy in objects[:2]:
        assert policy["metadata"]["ownerReferences"][0]["uid"] == o.uid
        assert (policy["apiVersion"], policy["kind"]) in PLURALS
