"""Settings of the machine's kernel that kubelet changes when it starts: noted before, put back after.

Kubelet wants the kernel to panic where a server should. The machine is not ours, and nothing in a test needs it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from .layout import Layout

SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
SYSCTL = Path("/proc/sys")


def save(layout: Layout) -> None:
    """Note the settings before kubelet starts."""
    values = {name: (SYSCTL / name).read_text() for name in SETTINGS if (SYSCTL / name).exists()}
    _note(layout).write_text(json.dumps(values))


def restore(layout: Layout) -> None:
    """Put back what was noted, once."""
    try:
        values = json.loads(_note(layout).read_text())
    except (FileNotFoundError, ValueError):
        return
    for name, value in values.items():
        # Some are not ours to change, and then kubelet could not either.
        with contextlib.suppress(OSError):
            (SYSCTL / name).write_text(value)
    _note(layout).unlink()


def _note(layout: Layout) -> Path:
    return layout.state / "kernel-settings.json"
