"""Whose requests are copied for a monitor. Headgate's own server counts in its process; beside a custom engine a
monitor counts what the routers copy to it. Called by `decide` when the traffic is settled.
"""

from collections.abc import Mapping
from dataclasses import replace

from headgate.api.quantities import routed_percent
from headgate.api.status import Status, TrafficTarget
from headgate.core.model import RevisionView


def with_samples(status: Status, revisions: Mapping[str, RevisionView], share: str) -> Status:
    """The status whose traffic says of each custom engine how much of it is copied."""
    percent = routed_percent(share)
    sampled = {name for name, view in revisions.items() if view.spec.runtime.is_custom}

    def share_of(target: TrafficTarget) -> float | None:
        if target.revision not in revisions:  # its record is not known at this look
            return target.sample
        return percent if target.revision in sampled else None

    return replace(status, traffic=[replace(t, sample=share_of(t)) for t in status.traffic])
