"""The last words of a container: one JSON object that the operator copies into conditions."""

import json
import os
from pathlib import Path
from typing import Any

LIMIT = 4096  # bytes that Kubernetes keeps of a termination message
_DEFAULT = Path("/dev/termination-log")


def write_termination_log(reason: str, message: str = "", **more: Any) -> None:
    """Say why the process ends, to HEADGATE_TERMINATION_LOG or the file that Kubernetes mounts.

    Outside of a pod, or where the file can't be written, nothing happens: last words must not hide the real
    end.
    """
    given = os.environ.get("HEADGATE_TERMINATION_LOG")
    path = Path(given) if given else _DEFAULT
    if not given and not path.exists():
        return
    try:
        path.write_text(_fitting(reason, message, more), encoding="ascii")
    except OSError:
        return


def _fitting(reason: str, message: str, more: dict[str, Any]) -> str:
    while True:
        raw = json.dumps({"reason": reason, **({"message": message} if message else {}), **more})
        if len(raw) <= LIMIT or not message:
            return raw
        message = message[: len(message) * 3 // 4]
