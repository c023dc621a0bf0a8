"""A ModelDeployment of a story: asked for with kubectl as a user would, looked at through the API."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .seen import Seen
from .waiting import until
from .world import Artifact, World

GROUP = "/apis/headgate.dev/v1alpha1"
LIVE_WITHIN = 90.0

Json = dict[str, Any]

# Small, for several stories share a node, and decided soon: wide margins take little evidence. Patient: a busy machine
# is not what stories are about. And without what comes before the canary: test_defaults.py is about that.
# Each of them changes what it is about.
SPEC: Json = {
    "runtime": {"replicas": 1, "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}}},
    "traffic": {"timeout": "3s", "routers": 2, "routerResources": {"requests": {"cpu": "20m", "memory": "64Mi"}}},
    "rollout": {
        "margins": {"errors": "2%", "predictions": "15%"},
        "soak": "5s",
        "deadline": "10m",
        **{name: {"enabled": False} for name in ("preflight", "shadow", "latency")},
    },
}


def ladder(*steps: tuple[float, str]) -> Json:
    """spec.rollout with explicit steps: a rollout whose time is known."""
    return {"rollout": {"steps": [{"weight": weight, "hold": hold} for weight, hold in steps]}}


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> Json:
    """`base` with `change` laid over it, mapping by mapping."""
    result = dict(base)
    for name, value in change.items():
        below = result.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return result


@dataclass(frozen=True)
class Model:
    """A ModelDeployment in a namespace; `spec` is what it has besides the model."""

    world: World
    namespace: str
    name: str = "census"
    spec: Json = field(default_factory=dict)
    base: Json = field(default_factory=lambda: SPEC)
    """What is under `spec`; {}: the defaults of the product."""

    def manifest(self, artifact: Artifact) -> Json:
        asked = {"version": artifact.version, "uri": artifact.uri, "digest": artifact.digest}
        return {
            "apiVersion": "headgate.dev/v1alpha1",
            "kind": "ModelDeployment",
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": merged(merged(self.base, self.spec), {"model": asked}),
        }

    def ask_for(self, artifact: Artifact, *options: str) -> None:
        """`kubectl apply` of the manifest with this model."""
        text = json.dumps(self.manifest(artifact))
        self.world.cluster.kubectl("apply", *options, "--filename=-", input=text)

    def look(self) -> Seen:
        return Seen(self.world.api.get(f"{GROUP}/namespaces/{self.namespace}/modeldeployments/{self.name}") or {})

    def until(self, done: Callable[[Seen], object], seconds: float, what: str) -> Seen:
        return until(self.look, done, seconds, f"{self.namespace}/{self.name}: {what}")

    def until_stable(self, version: str, seconds: float = LIVE_WITHIN) -> Seen:
        return self.until(lambda seen: seen.is_stable(version), seconds, f"{version} serves")

    def until_rolled_back(self, version: str, seconds: float = 180) -> Seen:
        return self.until(lambda seen: seen.was_rolled_back(version), seconds, f"{version} is rolled back")

    def until_canary(self, version: str, seconds: float = LIVE_WITHIN) -> Seen:
        """The candidate has traffic, and is not decided on."""

        def exposed(seen: Seen) -> bool:
            return seen.phase == "Canary" and seen.view.rollout_version == version and seen.weight_of(version) > 0

        return self.until(exposed, seconds, f"{version} is a canary")

    def pods(self, component: str, revision: str = "") -> list[Json]:
        """The pods of "router" or "runtime" that are not on their way out."""
        selector = f"headgate.dev/model={self.name},headgate.dev/component={component}"
        if revision:
            selector += f",headgate.dev/revision={revision}"
        found = self.world.api.items(f"/api/v1/namespaces/{self.namespace}/pods", {"labelSelector": selector})
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def revisions_with(self, path: str) -> set[str]:
        """The revisions of which there are objects in a collection such as "apps/v1/deployments"."""
        group, _, plural = path.rpartition("/")
        root = f"/apis/{group}" if "/" in group else f"/api/{group}"
        selector = f"headgate.dev/model={self.name},headgate.dev/component=runtime"
        found = self.world.api.items(f"{root}/namespaces/{self.namespace}/{plural}", {"labelSelector": selector})
        return {each["metadata"]["labels"]["headgate.dev/revision"] for each in found}

    def record_of(self, version: str) -> Json:
        """The ModelRevision of a version."""
        found = self.world.api.items(f"{GROUP}/namespaces/{self.namespace}/modelrevisions")
        return next(each for each in found if each["spec"]["model"]["version"] == version)

    def events(self) -> list[tuple[str, str]]:
        """Type and reason of the events about it, oldest first."""
        query = {"fieldSelector": f"involvedObject.name={self.name},involvedObject.kind=ModelDeployment"}
        found = self.world.api.items(f"/api/v1/namespaces/{self.namespace}/events", query)
        return [(each["type"], each["reason"]) for each in sorted(found, key=lambda each: each["lastTimestamp"])]


def identities(pods: list[Json]) -> dict[str, int]:
    """Restarts of each pod's containers by the pod's UID: equal twice if nothing was restarted or replaced."""
    return {
        pod["metadata"]["uid"]: sum(
            int(each["restartCount"])
            for kind in ("initContainerStatuses", "containerStatuses")
            for each in pod["status"].get(kind, [])
        )
        for pod in pods
    }


def ready(pods: list[Json]) -> list[str]:
    """Names of the pods that are ready."""
    return [
        pod["metadata"]["name"]
        for pod in pods
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
    ]
