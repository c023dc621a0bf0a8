"""Taking a cluster down, whatever became of who started it. Plain standard library: see `left`."""

from __future__ import annotations

import os
import shutil

from tools.setup import cache

from . import cgroups, containerd, kernel, network
from .errors import NotAllowed
from .layout import Layout


def down(layout: Layout) -> None:
    """Take the cluster down, and whatever an earlier one of this name left."""
    need_root()
    with cache.lock(f"cluster-{layout.name}"):
        end(layout)


def need_root() -> None:
    """NotAllowed for everybody else."""
    if os.geteuid() != 0:
        raise NotAllowed(
            "The embedded cluster makes namespaces and cgroups and needs root. "
            "Run this as root, or use a cluster of your own: CLUSTER=existing KUBE_CONTEXT=<its context>."
        )


def end(layout: Layout) -> None:
    """The same for who holds the lock. Its processes are those in its cgroup: no other is touched."""
    if (cgroups.tracking_tree() / layout.cgroup).exists():
        cgroups.kill(layout.cgroup)
    kernel.restore(layout)
    containerd.remove_traces(layout)
    network.unmount_below(layout.state)
    network.remove(layout)
    cgroups.remove(layout.cgroup)
    if layout.state.exists():
        shutil.rmtree(layout.state)


def traces(layout: Layout) -> bool:
    """Whether there is anything to take down."""
    cgroup = cgroups.tracking_tree() / layout.cgroup
    return layout.state.exists() or layout.namespace_file.exists() or cgroup.exists()
