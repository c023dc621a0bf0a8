"""`spec.runtime` of servers that are not Headgate's own, or are with a fault."""

from __future__ import annotations

from typing import Any

from demo.faults import VARIABLE

Json = dict[str, Any]

OWN_METRICS = 8003
"""Port at which the custom engine counts all requests itself, where nobody scrapes it."""


def custom(image: str) -> Json:
    """A user's own server of the protocol, in an image that has headgate-serve."""
    return {
        "engine": "custom",
        "image": image,
        "command": ["headgate-serve"],
        "args": [
            *("--model", "/artifact", "--baseline", "/baseline", "--name", "$(HEADGATE_MODEL)"),
            *("--version", "$(HEADGATE_VERSION)", "--metrics-port", str(OWN_METRICS)),
        ],
    }


def faulty(image: str, fault: str) -> Json:
    """The real server with one of `demo.faults`, in the demo's image."""
    return {"image": image, "podTemplate": {"env": [{"name": VARIABLE, "value": fault}]}}
