"""Whose requests are copied for a monitor: those of engines that don't count by themselves.

Called by `decide` when the traffic is settled.
"""

from collections.abc import Mapping
from dataclasses import replace

from headgate.api.quantities import routed_percent
from headgate.api.status import Status, TrafficTarget
from headgate.core.engines import engine_of
from headgate.core.model import RevisionView


def with_samples(status: Status, revisions: Mapping[str, RevisionView], share: str) -> Status:
    """The status whose traffic says of each custom engine how much of it is copied."""
    percent = routed_percent(share)
    sampled = {name for name, view in revisions.items() if not engine_of(view.spec.runtime.engine).counts_itself}

    def share_of(target: TrafficTarget) -> float | None:
        if target.revision not in revisions:  # its record could not be read this time
            return target.sample
        return percent if target.revision in sampled else None

    return replace(status, traffic=[replace(t, sample=share_of(t)) for t in status.traffic])
