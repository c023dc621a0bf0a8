"""Two checkouts test at the same time: neither sees the other's cluster, and one that goes leaves nothing."""

from __future__ import annotations

from pathlib import Path

from stories.manifests import HARDENED, pod
from tools.cluster import Cluster, cgroups, network
from tools.cluster.layout import Layout


def test_two_clusters_run_side_by_side_and_one_leaves_nothing_when_it_goes(cluster: Cluster) -> None:
    assert cluster.layout is not None
    layout = Layout(f"{cluster.layout.name}-2")
    other = Cluster.ensure(layout.name)
    other.apply(pod("alone", "default", other.load_images(["base"])["base"], ["sleep", "600"], HARDENED))
    other.kubectl("wait", "--for=condition=Ready", "pod/alone", "--timeout=60s")
    assert cluster.kubectl("get", "pods", "--field-selector=metadata.name=alone", "--all-namespaces") == ""
    assert traces(layout)

    other.down()

    assert traces(layout) == []
    assert cluster.get("nodes")["items"], "the first cluster is still there"


def traces(layout: Layout) -> list[str]:
    """What the machine has of a cluster: files, mounts, namespaces, cgroups and processes."""
    found = [path for path in (layout.state, layout.namespace_file) if path.exists()]
    found += network.mounts_below(layout.state)
    found += [tree / layout.cgroup for tree in cgroups.trees() if (tree / layout.cgroup).exists()]
    for arguments in Path("/proc").glob("[0-9]*/cmdline"):
        # A process can end while we look.
        try:
            if f"{layout.state}/" in arguments.read_text(errors="replace"):
                found.append(arguments)
        except OSError:
            continue
    return [str(path) for path in found]
