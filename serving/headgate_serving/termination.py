"""The last words of a container: one JSON object that the operator copies into conditions.

Kubernetes shows the first 4096 bytes of this file as the container's termination message.
"""

import json
import os
from pathlib import Path

_LIMIT = 4096
_PATH = "HEADGATE_TERMINATION_LOG"


def write_termination_log(reason: str, message: str = "", **more: str) -> None:
    """Say why the process ends. A place that can't be written (outside of a pod) is ignored."""
    said = {"reason": reason, **({"message": message} if message else {}), **more}
    raw = json.dumps(said)
    if len(raw) > _LIMIT:
        said["message"] = message.encode("ascii", "replace").decode()[: len(message) - (len(raw) - _LIMIT) - 8] + " …"
        raw = json.dumps(said)[:_LIMIT]
    try:
        Path(os.environ.get(_PATH, "/dev/termination-log")).write_text(raw, encoding="utf-8")
    except OSError:
        return
