"""`headgate-monitor`: counts copied requests and answers, in a pod whose engine has no monitor of its own.

`batch.py` is how the router's agent sends them; `settings.py` → `process.py` → `watching.py`.
"""

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-monitor`."""
    from .process import main as run

    return run()
