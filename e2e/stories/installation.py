"""Headgate as the stories install it: with its chart, its own Prometheus, and two replicas of the operator."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.cluster import Cluster
from tools.cluster.cgroups import lists_of_processes
from tools.setup import cache

from .models import Model
from .waiting import until
from .world import World, restricted

SYSTEM = "headgate-system"
RELEASE = "headgate"
PROMETHEUS = f"{RELEASE}-prometheus"
CHART = cache.REPOSITORY / "charts" / "headgate"

Json = dict[str, Any]


@dataclass(frozen=True)
class Headgate:
    """The installation, and what a story may do to it."""

    world: World

    @staticmethod
    def install(world: World) -> Headgate:
        """`helm upgrade --install`; samples come every second, so that a story is over sooner."""
        images = world.images
        values = {
            "images": {name: images[name] for name in ("operator", "serving", "envoy")},
            "operator": {"env": [{"name": "HEADGATE_DRIFT_SECONDS", "value": "10"}]},
            "metrics": {"authentication": True},
            "prometheus": {
                "embedded": {"enabled": True, "image": images["prometheus"], "scrapeInterval": "1s"},
            },
        }
        world.cluster.apply(restricted(SYSTEM))
        # A story that was interrupted may have left a Deployment scaled to nothing.
        options = [f"--namespace={SYSTEM}", "--values=-", "--force-conflicts", "--wait", "--timeout=3m"]
        world.cluster.run(["helm", "upgrade", "--install", RELEASE, CHART, *options], input=json.dumps(values))
        return Headgate(world)

    @property
    def cluster(self) -> Cluster:
        return self.world.cluster

    def model(self, namespace: str, name: str = "census", **spec: Json) -> Model:
        """A ModelDeployment that is not asked for yet."""
        return Model(self.world, namespace, name, spec)

    def lease(self) -> Json:
        """What the Lease says: holderIdentity, renewTime, leaseTransitions."""
        found = self.world.api.get(f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/{RELEASE}") or {}
        spec: Json = found.get("spec", {})
        return spec

    def leader(self) -> str:
        """The operator's pod that decides."""
        return str(self.lease().get("holderIdentity") or "")

    def pods(self, component: str) -> list[Json]:
        """Pods of "operator" or "prometheus", those that are ending included."""
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
        return self.world.api.items(f"/api/v1/namespaces/{SYSTEM}/pods", {"labelSelector": selector})

    def kill(self, name: str) -> None:
        """End a pod's process as a crash does: no signal that it could answer. It does not come back."""
        (uid,) = (pod["metadata"]["uid"] for pod in self.pods("operator") if pod["metadata"]["name"] == name)
        self.kill_processes(uid)
        self.remove(name)

    def kill_processes(self, uid: str, name: str = "") -> int:
        """SIGKILL for the processes of a pod, or for those among them whose command has `name` in it; how many."""
        return _end_processes(self.cluster.layout.cgroup, uid, name) if self.cluster.layout else 0

    def remove(self, name: str) -> None:
        """`kubectl delete --force`: the pod is gone at once for everybody, its process a moment later."""
        self.cluster.kubectl("delete", "pod", name, f"--namespace={SYSTEM}", "--grace-period=0", "--force")

    @contextlib.contextmanager
    def without(self, component: str) -> Iterator[None]:
        """Scaled to 0, and back to what it was."""
        name = RELEASE if component == "operator" else PROMETHEUS
        replicas = self.cluster.get("deployment", name, f"--namespace={SYSTEM}")["spec"]["replicas"]
        self._scale(name, 0)
        try:
            until(lambda: self.pods(component), lambda pods: not pods, 60, f"no pod of {name} is left")
            yield
        finally:
            self._scale(name, replicas)

    def ready(self, component: str) -> None:
        """Wait until all its pods are ready again."""
        name = RELEASE if component == "operator" else PROMETHEUS
        self.cluster.kubectl("rollout", "status", f"deployment/{name}", f"--namespace={SYSTEM}", "--timeout=120s")

    def _scale(self, name: str, replicas: int) -> None:
        self.cluster.kubectl("scale", f"deployment/{name}", f"--replicas={replicas}", f"--namespace={SYSTEM}")

    def query(self, expression: str, at: float | None = None, by: str = "headgate_revision") -> dict[str, int]:
        """What Prometheus answers, by the value of a label."""
        query = {"query": expression, **({"time": f"{at:.3f}"} if at else {})}
        answer = self.world.api.of_service(SYSTEM, f"{PROMETHEUS}:9090", "/api/v1/query", query)
        found = (answer or {}).get("data", {}).get("result", [])
        return {each["metric"].get(by, ""): round(float(each["value"][1])) for each in found}

    def attempts(self, model: Model, at: float | None = None) -> Counter[str]:
        """Attempts that each revision's pods have had, as the routers counted them up to a time.

        Revisions that have gone are there too.
        """
        outcomes = ("success", "error")
        return sum((self.counted(model, f"envoy_cluster_endpoint_rq_{each}", at) for each in outcomes), Counter[str]())

    def counted(self, model: Model, metric: str, at: float | None = None) -> Counter[str]:
        """The sum of a counter for each revision, up to a time; revisions that have gone are there too."""
        return Counter(self.query(f"sum by (headgate_revision) (max_over_time({metric}{_of(model)}[15m]))", at))


def _of(model: Model) -> str:
    return f'{{headgate_namespace="{model.namespace}",headgate_model="{model.name}"}}'


def _end_processes(cgroup: str, uid: str, program: str) -> int:
    """SIGKILL for the processes in a pod's cgroup."""
    ended = 0
    # The kubelet writes the UID with underscores where systemd keeps the cgroups.
    names = {uid, uid.replace("-", "_")}
    for file in lists_of_processes(cgroup):
        if any(name in part for part in file.parts for name in names):
            pids = list[str]()
            with contextlib.suppress(OSError):
                pids = file.read_text().split()
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                    if program in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                        os.kill(int(pid), signal.SIGKILL)
                        ended += 1
    return ended
