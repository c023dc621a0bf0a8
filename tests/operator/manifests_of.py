"""Children of a simulated world, and parts of them."""

from world import World

from headgate.core.dataplane.envoy.router import router_manifests
from headgate.core.decide import decide
from headgate.core.manifests.resource import revision_manifest
from headgate.core.manifests.runtime import runtime_manifests


def serving(**spec):
    world = World().ask("v1", **spec)
    world.settled("Stable")
    return world


def children(world):
    """All children of the world's last plan, by kind and name."""
    o = world.observe()
    replicas = decide(o, world.now).replicas
    serving = [m for v in world.revisions.values() for m in runtime_manifests(o, v, replicas.get(v.name))]
    records = [revision_manifest(o, v) for v in world.revisions.values()]
    return {(m["kind"], m["metadata"]["name"]): m for m in [*router_manifests(o), *serving, *records]}


def runtime(world, version="v1"):
    name = next(n for n in world.revisions if world.version_of(n) == version)
    return children(world)["Deployment", name]


def pod(deployment):
    return deployment["spec"]["template"]["spec"]


def container(deployment, name):
    spec = pod(deployment)
    return next(c for c in [*spec["initContainers"], *spec["containers"]] if c["name"] == name)


def arguments(found):
    """`--flag value` pairs."""
    flags = found["args"]
    return dict(zip(flags[::2], flags[1::2], strict=True))
