"""`headgate-preflight`: looks at a new version before it gets traffic.

`command.py` → `checks.py`, the list of checks; one module for each. What they share: `endpoint.py` (a version, asked
over REST), `signature.py` (its metadata), `requests.py` (tensors of requests), `golden.py` (samples), `findings.py`.
"""

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-preflight`."""
    from .command import main as run

    return run()
