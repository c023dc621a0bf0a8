"""What the agent reads of a cluster: endpoint slices, and a cache that holds what a test puts there."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

REVISION = "fraud-1a2b3c4d"


def endpoint(pod: object = "pod-a", address: object = "10.0.0.1", **conditions: bool | None) -> dict[str, Any]:
    return {"addresses": [address], "conditions": conditions, "targetRef": {"kind": "Pod", "name": pod}}


def slice_of(
    *endpoints: object, revision: str | None = REVISION, port: str = "http", family: str = "IPv4"
) -> dict[str, Any]:
    return {
        "metadata": {"name": "slice", "labels": {"headgate.dev/revision": revision}},
        "addressType": family,
        "ports": [{"name": "metrics", "port": 8002}, {"name": port, "port": 8000}],
        "endpoints": list(endpoints),
    }


@dataclass
class FakeCache:
    objects: dict[Any, Any] = field(default_factory=dict)
    synced: bool = True

    async def run(self, changed: Callable[[], None]) -> None:
        changed()
        await asyncio.Event().wait()

    def age(self) -> float:
        return 0.0
