"""Names and places of one cluster: everything that it owns can be found from its name.

Two checkouts have two names, and nothing here is shared by two names. Addresses are the same in every cluster,
since each has a network of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tools.setup import cache

from .errors import NotAllowed

# Unix sockets live below; their paths may have 107 characters, so this one is short.
STATES = Path("/var/lib/headgate-clusters")

NODE = "node"
NODE_IP = "192.168.250.1"
NODE_PREFIX = 24
POD_RANGE = "10.250.0.0/16"
SERVICE_RANGE = "10.251.0.0/16"
API_SERVICE_IP = "10.251.0.1"
DNS_IP = "10.251.0.10"
API_PORT = 6443
ETCD_URL = "http://127.0.0.1:2379"


def default_name() -> str:
    """CLUSTER_NAME, or a name that belongs to this checkout."""
    return os.environ.get("CLUSTER_NAME") or "hg-" + hashlib.sha256(str(cache.REPOSITORY).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Layout:
    """Where one cluster keeps its things."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?", self.name):
            raise NotAllowed(
                f"A cluster can't be called {self.name!r}: use at most 24 small letters, digits and dashes."
            )

    @property
    def state(self) -> Path:
        return STATES / self.name

    @property
    def record(self) -> Path:
        return self.state / "cluster.json"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def certificates(self) -> Path:
        return self.state / "pki"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def audit_log(self) -> Path:
        """What service accounts asked the API server for; `audit.py` reads it."""
        return self.logs / "audit.log"

    @property
    def containerd_socket(self) -> Path:
        return self.state / "containerd.sock"

    @property
    def pod_logs(self) -> Path:
        return self.state / "pod-logs"

    @property
    def namespace(self) -> str:
        """Name of the network namespace."""
        return f"headgate-{self.name}"

    @property
    def namespace_file(self) -> Path:
        return Path("/run/netns") / self.namespace

    @property
    def cgroup(self) -> str:
        """Path of the cluster's cgroup in every hierarchy: all its processes are below it, containers too."""
        return f"headgate-{self.name}"

    def enter(self, *argv: str | Path) -> list[str]:
        """The command that runs `argv` in the cluster's network.

        Not `ip netns exec`, which remounts /sys, and then kubelet does not find its cgroups.
        """
        return ["nsenter", f"--net={self.namespace_file}", *map(str, argv)]
