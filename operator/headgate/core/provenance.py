"""Whose series count: those that were scraped from pods which the API server has as the model's own. Pure.

An exporter writes any label about itself; `namespace` and `pod` are written by the scraper. `observe` and `background`
ask for one namespace, and leave out whatever came from a pod that is not this model's router, or this revision's pod.
What remains possible: who may create ReplicaSets and pods in a namespace can make one that passes for its model's own.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.api import contract
from headgate.core.children import made_by, revision_of
from headgate.core.dataplane import DataPlane
from headgate.core.model import Foreign
from headgate.core.signals import SIGNALS
from headgate.core.statistics.counters import TARGET_POD, Series

Object = Mapping[str, Any]

OF_RUNTIMES = frozenset({contract.RUNTIME_READY, *(name for signal in SIGNALS for name in signal.series)})
"""Series that the pods of a revision tell, whatever carries the requests."""

_LIVE_SECONDS = 60.0
"""A pod whose newest sample is older is not scraped any more: it has gone before this operator began to look."""


@dataclass(frozen=True)
class ModelPods:
    """Names of the pods of one model."""

    routers: frozenset[str] = frozenset()
    """Of its data plane."""
    serving: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By revision."""


def pods_of(name: str, deployments: Iterable[Object], pods: Iterable[Object], plane: DataPlane) -> ModelPods:
    """The pods that there are: those of the data plane, and those of each revision's own Deployment."""
    present = list(pods)
    revisions = [each["metadata"]["name"] for each in deployments if revision_of(each) == each["metadata"]["name"]]
    return ModelPods(
        plane.pods(name, present),
        {
            revision: made_by(revision, (pod for pod in present if revision_of(pod) == revision))
            for revision in revisions
        },
    )


def sift(series: Iterable[Series], pods: ModelPods, plane: DataPlane, now: float) -> tuple[tuple[Series, ...], Foreign]:
    """The series that count, and what was left out. `now` by Prometheus' clock, in seconds since the epoch."""
    kept, why, live = list[Series](), Counter[str](), set[str]()
    for each in series:
        if is_own(each.labels, pods, plane):
            kept.append(each)
            continue
        pod = each.labels.get(TARGET_POD, "")
        newest = each.samples[-1][0] if each.samples else -math.inf
        if now - newest > _LIVE_SECONDS:
            why["gone"] += 1
            continue
        why["unknown" if pod else "unlabelled"] += 1
        live.add(pod)
    return tuple(kept), Foreign(dict(why), tuple(sorted(live)[: Foreign.NAMED]))


def together(one: Foreign | None, other: Foreign | None) -> Foreign | None:
    """What two readings have left out; None is one that was not taken."""
    return one + other if one and other else one or other


def is_own(labels: Mapping[str, str], pods: ModelPods, plane: DataPlane) -> bool:
    """Whether a series is from a pod of this model, by the labels that the scraper has set."""
    name, pod = labels.get("__name__"), labels.get(TARGET_POD)
    serves = pod in pods.serving.get(labels.get(contract.REVISION, ""), ())
    if name in OF_RUNTIMES:
        return serves
    return (name == contract.STARTED and serves) or plane.is_own(labels, pods.routers)
