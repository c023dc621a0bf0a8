"""Copied requests and their answers: what they are, and a monitor that counts them beside another's engine.

```
message.py   one half of an exchange      tensors.py   its tensors
batch.py     how the router's agent sends exchanges to the monitor
settings.py → sidecar.py → watching.py    `headgate-monitor`, in a pod whose engine has no monitor of its own
```
"""

__all__ = ["main"]


def main() -> int:
    """Entry point of `headgate-monitor`."""
    from .sidecar import main as run

    return run()
