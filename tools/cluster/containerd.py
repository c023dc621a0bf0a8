"""The node's image store: what is in it, and bringing images into it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import CommandFailed
from .layout import Layout

if TYPE_CHECKING:
    from tools.images import Built

# Where containerd 1.x puts its shims' sockets, whatever its configuration says.
SHIM_SOCKETS = Path("/run/containerd/s")
# Where kubelet links containers' logs, whatever its configuration says.
LOG_LINKS = Path("/var/log/containers")
# Where containerd's CNI library notes what it set up, whatever its configuration says.
CNI_RESULTS = Path("/var/lib/cni/results")


def references(layout: Layout) -> set[str]:
    """Names of the images on the node."""
    return set(_ctr(layout, "images", "list", "--quiet").split())


def load(layout: Layout, image: Built) -> None:
    """Bring an image onto the node, sending only the layers that it lacks."""
    there = set(_ctr(layout, "content", "list", "--quiet").split())
    with tempfile.TemporaryDirectory(dir=layout.state) as folder:
        archive = Path(folder) / "image.tar"
        image.write(archive, without=there)
        _ctr(layout, "images", "import", str(archive))


def _ctr(layout: Layout, *arguments: str) -> str:
    argv = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", *arguments]
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise CommandFailed(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def remove_traces(layout: Layout) -> None:
    """Remove the few files that containerd and kubelet write outside of the state folder."""
    tasks = layout.state / "run" / "io.containerd.runtime.v2.task" / "k8s.io"
    # Where the bundle's own record is missing the name can still be computed, as containerd does it.
    for bundle in tasks.glob("*"):
        address = f"{layout.containerd_socket}.ttrpc/k8s.io/{bundle.name}"
        for path in (f"{layout.containerd_socket}/k8s.io/{bundle.name}", address):
            (SHIM_SOCKETS / hashlib.sha256(path.encode()).hexdigest()).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            recorded = Path((bundle / "address").read_text().removeprefix("unix://"))
            if recorded.parent == SHIM_SOCKETS:
                recorded.unlink()
    for link in LOG_LINKS.glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(layout.pod_logs):
            link.unlink()
    for result in CNI_RESULTS.glob("*"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            interfaces = json.loads(result.read_text())["result"]["interfaces"]
            namespaces = [interface.get("sandbox", "") for interface in interfaces]
            if any(Path(each).is_relative_to(layout.state) for each in namespaces):
                result.unlink()
