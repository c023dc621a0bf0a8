"""The pods of all models, those that have gone in the last hour included: what they had counted still counts.

`observe` and `background` tell it what there is at each look. It is bounded, and forgets by itself.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from headgate.core.provenance import ModelPods
from headgate.queue import Key

REMEMBERED_SECONDS = 3600.0
"""So long after it was last there a pod still counts as the model's."""

MOST_PODS = 2000
"""Pods of a model that are remembered; beyond, those that have been gone for longest are forgotten."""

_ROUTER = ""


@dataclass
class KnownPods:
    """By model."""

    clock: Callable[[], float] = time.monotonic
    _models: "OrderedDict[Key, OrderedDict[tuple[str, str], float]]" = field(default_factory=OrderedDict)
    """When each pod was last there, by revision and name; both in the order of when they were last seen."""

    def seen(self, key: Key, present: ModelPods) -> ModelPods:
        """The model's pods now and in the last hour."""
        now = self.clock()
        known = self._models.pop(key, OrderedDict())
        self._forget(now)
        self._models[key] = known
        there = [(_ROUTER, pod) for pod in present.routers]
        there += [(revision, pod) for revision, pods in present.serving.items() for pod in pods]
        for pod in there:
            known[pod] = now
            known.move_to_end(pod)
        while known and (len(known) > MOST_PODS or _is_over(next(iter(known.values())), now)):
            known.popitem(last=False)
        return _by_revision(known)

    def _forget(self, now: float) -> None:
        """Models that nobody has looked at for as long."""
        while self._models:
            oldest = next(iter(self._models))
            if not all(_is_over(at, now) for at in self._models[oldest].values()):
                return
            del self._models[oldest]


def _is_over(at: float, now: float) -> bool:
    return now - at > REMEMBERED_SECONDS


def _by_revision(known: "OrderedDict[tuple[str, str], float]") -> ModelPods:
    serving: dict[str, set[str]] = {}
    for revision, pod in known:
        serving.setdefault(revision, set()).add(pod)
    routers = serving.pop(_ROUTER, set())
    return ModelPods(frozenset(routers), {revision: frozenset(pods) for revision, pods in serving.items()})
