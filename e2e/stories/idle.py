"""A model that nobody touches. The session begins with it, and `test_idle.py` looks at it last."""

from __future__ import annotations

import time
from dataclasses import dataclass

import yaml

from .clients import Clients
from .installation import Headgate
from .models import Model
from .seen import Seen
from .world import new_namespace

MINUTES = 5.0


@dataclass(frozen=True)
class Idle:
    """A model as it was when it came to rest."""

    model: Model
    clients: Clients
    before: str
    since: float

    @staticmethod
    def left_alone(headgate: Headgate) -> Idle:
        """Live, asked ten times a second, and with all that there is to say about it said."""
        model = headgate.model(new_namespace(headgate.cluster, "idle"))
        model.ask_for(headgate.world.artifact("v1"), "--server-side")
        model.until_stable("v1")
        clients = Clients.of(model, rate=10)
        seen = model.until(lambda seen: seen.condition("DriftDetected").status == "False", 60, "its inputs are judged")
        return Idle(model, clients, whole(seen), time.monotonic())

    def minutes(self) -> float:
        return (time.monotonic() - self.since) / 60


def whole(seen: Seen) -> str:
    """Everything that the API server keeps, resourceVersion and managedFields with their times included."""
    return yaml.safe_dump(seen.raw)
