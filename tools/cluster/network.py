"""The cluster's network namespace: lo, and a bridge whose address is the node's.

The default route leads to that bridge and so to nowhere: nothing that a test sends can leave the machine, and the
machine's own interfaces, routes and packet filter are never touched.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from .errors import ClusterError
from .layout import NODE_IP, NODE_PREFIX, Layout

CLONE_NEWNET = 0x40000000


def create(layout: Layout) -> None:
    """Make the namespace. It must not exist."""
    _ip("netns", "add", layout.namespace)
    inside = ("-n", layout.namespace)
    _ip(*inside, "link", "set", "lo", "up")
    # A bridge without ports stands in for a network card: not every kernel has the dummy device.
    _ip(*inside, "link", "add", "node0", "type", "bridge")
    _ip(*inside, "address", "add", f"{NODE_IP}/{NODE_PREFIX}", "dev", "node0")
    _ip(*inside, "link", "set", "node0", "up")
    _ip(*inside, "route", "add", "default", "dev", "node0")
    # /proc/sys/net shows the settings of the reader's own network.
    _run(layout.enter("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))


def remove(layout: Layout) -> None:
    """Take the namespace away, and with it every interface in it."""
    if layout.namespace_file.exists():
        _ip("netns", "delete", layout.namespace)


def enter(layout: Layout) -> None:
    """Move the calling thread, and the threads and processes that it starts from now on, into the network."""
    with layout.namespace_file.open() as file:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise ClusterError(f"Can't enter {layout.namespace_file}: {os.strerror(ctypes.get_errno())}")


def mounts_below(folder: Path) -> list[Path]:
    """Mount points at or below a folder, innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    # The kernel writes a blank as \040.
    points = [Path(line.split(" ")[4].replace("\\040", " ")) for line in lines]
    return sorted((point for point in points if point.is_relative_to(folder)), reverse=True)


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below a folder: containers' file systems, volumes, pods' namespaces."""
    for _ in range(10):
        points = mounts_below(folder)
        if not points:
            return
        for point in points:
            # Lazily: a mount that a dying process still holds goes when the process has gone.
            subprocess.run(["umount", "--lazy", point], check=False, capture_output=True)
    raise ClusterError(f"Can't unmount {', '.join(map(str, mounts_below(folder)))}.")


def _ip(*arguments: str) -> None:
    _run(["ip", *arguments])


def _run(argv: list[str]) -> None:
    done = subprocess.run(argv, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise ClusterError(f"{' '.join(argv)}: {done.stderr.strip()}")
