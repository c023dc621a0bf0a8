"""Children of a simulated world, and parts of them."""

from typing import Any

from headgate.core.dataplane.envoy.router import router_manifests
from headgate.core.decide import decide
from headgate.core.manifests.resource import revision_manifest
from headgate.core.revision_pods import runtime_manifests
from world import World


def serving(**spec: Any) -> World:
    world = World().ask("v1", **spec)
    world.settled("Stable")
    return world


def children(world: World) -> dict[Any, Any]:
    """All children of the world's last plan, by kind and name."""
    o = world.observe()
    replicas = decide(o, world.now).replicas
    serving = [m for v in world.revisions.values() for m in runtime_manifests(o, v, replicas.get(v.name))]
    records = [revision_manifest(o, v) for v in world.revisions.values()]
    return {(m["kind"], m["metadata"]["name"]): m for m in [*router_manifests(o), *serving, *records]}


def runtime(world: World, version: str = "v1") -> Any:
    name = next(n for n in world.revisions if world.version_of(n) == version)
    return children(world)["Deployment", name]


def pod(deployment: dict[str, Any]) -> Any:
    return deployment["spec"]["template"]["spec"]


def container(deployment: dict[str, Any], name: str) -> dict[str, Any]:
    spec = pod(deployment)
    return next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == name)


def arguments(found: dict[str, Any]) -> dict[str, Any]:
    """`--flag value` pairs."""
    flags = found["args"]
    return dict(zip(flags[::2], flags[1::2], strict=True))
