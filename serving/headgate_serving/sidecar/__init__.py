"""`headgate-monitor`: counts copied requests and answers, in a pod whose engine has no monitor of its own.

`batch.py` is how the router's agent sends them; `settings.py` → `process.py` → `watching.py`.
"""

import sys

from headgate_serving.keeper import kept

__all__ = ["main"]


def main() -> int:
    """Run `headgate-monitor`, and start it anew when it has crashed."""
    return kept("headgate_serving.sidecar.process", sys.argv[1:])
