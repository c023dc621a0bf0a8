"""A HorizontalPodAutoscaler for the Deployment of the same name. Used for runtimes and routers."""

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
