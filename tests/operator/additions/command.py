"""Pause: nothing goes on while the spec says so."""

from dataclasses import dataclass

from headgate.api.spec import Spec
from headgate.api.status import Status
from headgate.core.model import Command, Observation


@dataclass(frozen=True)
class Pause(Command):
    paused: bool

    @classmethod
    def from_spec(cls, spec: Spec) -> "Pause":
        return cls(spec.rollout.paused)

    def obey(self, o: Observation, status: Status, now: float) -> Status | None:
        return status if self.paused else None
