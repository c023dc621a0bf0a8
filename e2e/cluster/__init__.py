"""A real Kubernetes of one node, in a network namespace of its own, for the tests and the demo.

    cluster = Cluster.ensure()             # started, or kept if it is up
    cluster.kubectl("get", "nodes")        # kubectl, inside the namespace
    cluster.load_images([archive])         # into the node's containerd
    cluster.run(["helm", "list"])          # any program, inside the namespace
    cluster.down()                         # nothing is left

`python -m cluster` is the same from a shell. With CLUSTER=existing everything goes to the cluster of KUBECONFIG.
"""

from .access import Cluster
from .errors import ClusterError, CommandFailed, ComponentFailed, NotAllowed

__all__ = ["Cluster", "ClusterError", "CommandFailed", "ComponentFailed", "NotAllowed"]
