"""A real Kubernetes of one node, in a network namespace of its own, for the tests and the demo.

    cluster = Cluster.ensure()             # started, or kept if it is up
    cluster.kubectl("get", "nodes")        # kubectl, inside the namespace
    cluster.load_images([archive])         # into the node's containerd
    cluster.run(["helm", "list"])          # any program, inside the namespace
    cluster.down()                         # nothing is left

`python -m tools.cluster` is the same from a shell. With CLUSTER=existing everything goes to the cluster of KUBECONFIG.
"""

from typing import TYPE_CHECKING

from .errors import ClusterError, CommandFailed, ComponentFailed, NotAllowed

__all__ = ["Cluster", "ClusterError", "CommandFailed", "ComponentFailed", "NotAllowed"]

if TYPE_CHECKING:
    from .access import Cluster


def __getattr__(name: str) -> object:
    """`Cluster` when it is asked for: it needs what a checkout installs, and `make clean` has to work without."""
    if name == "Cluster":
        from .access import Cluster

        return Cluster
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
