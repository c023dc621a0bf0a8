"""Serve this version: the command of every spec. It starts a rollout, supersedes one, or takes a promotion back."""

from dataclasses import dataclass

from headgate.api.spec import Spec
from headgate.api.status import RevisionRef, Status
from headgate.core.model import Command, Observation
from headgate.core.phases import phase_of, transitions
from headgate.core.revisions import revision_name


@dataclass(frozen=True)
class Serve(Command):
    """`target` is to become stable, at the cost of at most `risk_budget` bad answers."""

    target: RevisionRef
    risk_budget: float

    @classmethod
    def from_spec(cls, deployment: str, spec: Spec) -> "Serve":
        """What `spec.model` and `spec.runtime` ask for."""
        model = spec.model
        target = RevisionRef(
            revision=revision_name(deployment, spec), version=model.version, uri=model.uri, digest=model.digest
        )
        return cls(target, float(spec.rollout.riskBudget))

    def obey(self, o: Observation, status: Status, now: float) -> Status | None:
        rollout, stable = status.rollout, status.stable
        is_stable = stable is not None and stable.revision == self.target.revision
        if rollout is None:
            return None if is_stable else self._start(status, now)
        if rollout.revision == self.target.revision:
            return None
        phase = phase_of(rollout)
        if phase.outcome == "failed" and phase.running:
            return status  # the candidate's pods finish first
        if phase.outcome == "undecided" or (phase.outcome == "promoted" and is_stable):
            # Stable's pods are warm: to take a promotion back is as fast as a rollback.
            status = transitions.supersede(status, self.target.version, now)
        elif phase.outcome == "promoted":
            status = transitions.settle(status, now)
        return transitions.back_to_stable(status) if is_stable else self._start(status, now)

    def _start(self, status: Status, now: float) -> Status:
        return transitions.start(status, self.target, self.risk_budget, now)
