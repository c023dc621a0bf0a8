"""Programs that come from the distribution: the container runtime, network tools, image builders.

Called by `python3 -m tools.setup`. Looks for the programs and not for packages, so any way of installing them will do.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import cache, progress
from .errors import Missing

# Program -> Debian package.
PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "containerd-shim-runc-v2": "containerd",
    "runc": "runc",
    "nft": "nftables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "wrk": "wrk",
}
FOR_BENCHMARKS = {"nginx": "nginx-light", "haproxy": "haproxy"}

CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
CNI_PLUGINS = ("ptp", "host-local", "loopback")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def which(program: str) -> Path | None:
    """Find a program, also in sbin folders that an ordinary user's PATH leaves out."""
    found = shutil.which(program, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
    return Path(found) if found else None


def cni_folder() -> Path | None:
    """The folder with the CNI plugins, if they are all there."""
    for folder in CNI_FOLDERS:
        if all((folder / plugin).exists() for plugin in CNI_PLUGINS):
            return folder
    return None


def missing(programs: Mapping[str, str] = PROGRAMS) -> dict[str, str]:
    """What is not there: program -> Debian package that has it."""
    found = {program: package for program, package in programs.items() if which(program) is None}
    if programs is PROGRAMS and cni_folder() is None:
        found["CNI plugins"] = "containernetworking-plugins"
    return found


def ensure(programs: Mapping[str, str] = PROGRAMS) -> None:
    """Install what is missing, by default for the cluster and the images, or say what to install."""
    absent = missing(programs)
    if not absent:
        return
    names = sorted(set(absent.values()))
    apt = which("apt-get")
    if apt is None or os.geteuid() != 0:
        how = f"sudo apt-get install {' '.join(names)}" if apt else "install them with your package manager"
        raise Missing(f"Missing: {', '.join(sorted(absent))}. To go on: {how}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    log = cache.root() / "logs" / "apt.log"
    with cache.lock("apt"), _no_services():
        progress.run("package lists", [apt, "update"], env=env, log=log)
        install = [str(apt), "install", "--yes", "--no-install-recommends", *names]
        progress.run(f"installing {' '.join(names)}", install, env=env, log=log)


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    """Keep Debian's packages from starting daemons; the cluster starts its own containerd."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()
