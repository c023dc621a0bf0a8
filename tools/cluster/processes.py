"""The cluster's own processes: started into its cgroup and network, recorded by pid and start time."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups
from .layout import Layout

if TYPE_CHECKING:
    from .components import Component


@dataclass(frozen=True)
class Process:
    """A running process. Its start time tells it from a later one that got the same pid."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started


def start_time(pid: int) -> int | None:
    """Clock ticks from boot to the process's start; None if it is gone or only its exit status is left."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name, in parentheses, may hold blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


# The outer shell puts the component into the background and tells its pid, so that it is nobody's child and
# outlives us. The inner one enters the cgroup before anything else, so no child can ever be outside of it.
_BACKGROUND = """
setsid sh -c 'echo $$ > "$1" && shift && exec "$@"' sh "$@" > "$LOG" 2>&1 < /dev/null &
echo $!
"""


def start(layout: Layout, component: Component) -> Process:
    """Start a component in the background. Its output goes to a log named after it."""
    layout.logs.mkdir(parents=True, exist_ok=True)
    argv = ["sh", "-c", _BACKGROUND, "sh", str(cgroups.entry(layout.cgroup)), *layout.enter(*component.argv)]
    env = {**_environment(), "LOG": str(log_of(layout, component.name))}
    done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True, cwd=layout.state, env=env)
    pid = int(done.stdout)
    return Process(component.name, pid, start_time(pid) or 0)


def _environment() -> dict[str, str]:
    # Proxies of the user's shell lead out of the cluster's network.
    proxies = {"http_proxy", "https_proxy", "no_proxy", "all_proxy"}
    kept = {name: value for name, value in os.environ.items() if name.lower() not in proxies}
    return {**kept, "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{kept.get('PATH', '')}"}


def log_of(layout: Layout, name: str) -> Path:
    return layout.logs / f"{name}.log"
