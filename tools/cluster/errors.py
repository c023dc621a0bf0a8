"""What can go wrong with a cluster.

ClusterError
├── NotAllowed       the machine or the user does not permit it; the message says what would
├── ComponentFailed  a part of the control plane or the node ended or never got ready; with its log's end
└── CommandFailed    a command run against the cluster ended with an error; with what it printed
"""


class ClusterError(Exception):
    """Shown to the user as it is, without a traceback."""


class NotAllowed(ClusterError):
    """Not root, or a cluster that the user did not name."""


class ComponentFailed(ClusterError):
    """A component that ended or never became ready."""


class CommandFailed(ClusterError):
    """A command that ended with an error."""
