"""How many pods there are, and how many may be taken away at a time, for runtimes and routers.

Both objects are about the Deployment of the same name.
"""

from collections.abc import Mapping
from typing import Any

from headgate.api.spec import Autoscaling
from headgate.core.manifests.metadata import Manifest


def autoscaler(metadata: Manifest, scaling: Autoscaling, container: str) -> Manifest:
    """By the CPU use of the container that answers requests: what runs beside it says nothing about the load."""
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]},
            "minReplicas": scaling.minReplicas,
            "maxReplicas": scaling.maxReplicas,
            "metrics": [
                {
                    "type": "ContainerResource",
                    "containerResource": {
                        "name": "cpu",
                        "container": container,
                        "target": {"type": "Utilization", "averageUtilization": scaling.targetCPUUtilization},
                    },
                }
            ],
        },
    }


def with_defaults(resources: Mapping[str, Any], defaults: Mapping[str, Mapping[str, Any]]) -> Manifest:
    """A container's resources: those that are asked for, and the default of each of which nothing is said.

    Whoever names a resource in requests or limits gets for it what they say: a default beside it might contradict.
    """
    kinds = {which: resources.get(which) or {} for which in ("requests", "limits")}
    named = {name for amounts in kinds.values() for name in amounts}
    merged = {
        which: {**{name: each for name, each in defaults.get(which, {}).items() if name not in named}, **amounts}
        for which, amounts in kinds.items()
    }
    return {which: amounts for which, amounts in merged.items() if amounts}


def disruption_budget(metadata: Manifest, pods: Manifest) -> Manifest:
    """Whoever drains a node takes one pod, and the next one when that is ready elsewhere."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": pods}},
    }
