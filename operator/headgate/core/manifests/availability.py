"""How many pods there are, and how many may be taken away at a time, for runtimes and routers.

Both objects are about the Deployment of the same name.
"""

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


def disruption_budget(metadata: Manifest, pods: Manifest) -> Manifest:
    """Whoever drains a node takes one pod, and the next one when that is ready elsewhere."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": pods}},
    }
