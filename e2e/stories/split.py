"""A model of which the weights are set by hand, while the operator is away. Used by a story and by a benchmark."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .installation import Headgate
from .models import GROUP, Model, ladder, merged, ready

INFER = "/v2/models/census/infer"
ROW = json.dumps({"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [1] * 16}]}).encode()


@dataclass(frozen=True)
class Split:
    """A model whose weights are set by hand."""

    census: Model
    stable: str
    candidate: str

    def set(self, weight: float) -> float:
        """The candidate's part in percent; when the API server was told."""
        traffic = [
            {"revision": self.stable, "role": "stable", "weight": 100 - weight},
            {"revision": self.candidate, "role": "candidate", "weight": weight},
        ]
        asked = time.monotonic()
        path = f"{GROUP}/namespaces/{self.census.namespace}/modeldeployments/{self.census.name}/status"
        self.census.world.api.merge(path, {"status": {"traffic": traffic}})
        return asked

    def routers(self) -> list[str]:
        """The addresses of the routers that are ready."""
        names = ready(self.census.pods("router"))
        return [
            f"http://{pod['status']['podIP']}:8080"
            for pod in self.census.pods("router")
            if pod["metadata"]["name"] in names
        ]


@contextmanager
def split_by_hand(headgate: Headgate, namespace: str, **traffic: Any) -> Iterator[Split]:
    """v1 is stable and v2 a candidate, until the end of the block."""
    census = headgate.model(namespace, **merged(ladder((1, "1h")), {"traffic": traffic}))
    census.ask_for(headgate.world.artifact("v1"))
    v1 = census.until_stable("v1").revision_of("v1")
    census.ask_for(headgate.world.artifact("v2"))
    v2 = census.until_canary("v2").revision_of("v2")
    with headgate.without("operator"):
        yield Split(census, v1, v2)
    headgate.ready("operator")
