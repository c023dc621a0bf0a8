"""Headgate's own data plane: for each model a Deployment of routers, Envoy with an agent beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from headgate.api import contract
from headgate.api.quantities import seconds
from headgate.api.rules import eighths_waited_for
from headgate.api.spec import Spec, Traffic
from headgate.api.status import Retiring
from headgate.core.children import made_by, workload_of
from headgate.core.dataplane import ChildName, DataPlane, Manifest, Read
from headgate.core.dataplane.envoy import pairs, release, samples
from headgate.core.dataplane.envoy.history import EnvoyHistory
from headgate.core.dataplane.envoy.network import network_policies, unwanted_policies
from headgate.core.dataplane.envoy.pod_secrets import mounted
from headgate.core.dataplane.envoy.published import published_state
from headgate.core.dataplane.envoy.router import router_manifests, router_name
from headgate.core.dataplane.envoy.series import ANSWERED, ANSWERED_WITHIN, ERRORS, REFUSED, REJECTED, SUCCESSES, UPTIME
from headgate.core.model import MetricsUnavailable, NoNewSamples, Observation, Workload
from headgate.core.signals.signal import Comparison
from headgate.core.statistics.counters import Series

_COUNTED = (
    *(SUCCESSES, ERRORS, ANSWERED, ANSWERED_WITHIN, REFUSED, REJECTED),
    *(contract.RUNTIME_READY, UPTIME, contract.STARTED),
)


class EnvoyDataPlane(DataPlane):
    """One Deployment of routers for each model."""

    comparison_series: ClassVar = _COUNTED
    history_series: ClassVar = _COUNTED
    pair_series: ClassVar = (contract.SHADOW_PAIRS, contract.ROUTER_WEIGHT, contract.STARTED)
    release_series: ClassVar = (contract.ROUTER_ROUTES, contract.ROUTER_WATCH_AGE)

    def read(
        self, series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
    ) -> Read | NoNewSamples | MetricsUnavailable:
        return samples.read(series, now, cursor, compared, stale_after)

    def read_pairs(
        self, series: Iterable[Series], now: float, cursor: float | None, compared: Comparison, stale_after: float
    ) -> Read | NoNewSamples | MetricsUnavailable:
        return pairs.read_pairs(series, now, cursor, compared, stale_after)

    def compared(self, spec: Spec, stable: str, candidate: str) -> Comparison:
        return Comparison(stable, candidate, give_up_after(spec.traffic), rescues=spec.traffic.retryOnStable)

    def history(self, series: Iterable[Series], cursor: float, compared: Comparison) -> EnvoyHistory:
        return EnvoyHistory(list(series), cursor, compared)

    def released(
        self, retiring: Iterable[Retiring], routers: Iterable[str], series: Iterable[Series], clock_ahead: float
    ) -> frozenset[str]:
        return release.released(retiring, routers, series, clock_ahead)

    def pods(self, name: str, pods: Sequence[Mapping[str, Any]]) -> frozenset[str]:
        return made_by(f"{name}-router", pods)

    def workload(
        self, name: str, deployments: Sequence[Mapping[str, Any]], pods: Sequence[Mapping[str, Any]]
    ) -> Workload:
        deployment = next((d for d in deployments if d["metadata"]["name"] == f"{name}-router"), None)
        return replace(workload_of(deployment, pods), pod_secrets=mounted(deployment))

    def unwanted(self, o: Observation) -> Sequence[ChildName]:
        scaling = ChildName("autoscaling/v2", "HorizontalPodAutoscaler", router_name(o))
        return [*([] if o.spec.traffic.routerAutoscaling else [scaling]), *unwanted_policies(o)]

    def protects(self, o: Observation, manifest: Manifest) -> bool:
        """Routers that only some may reach are not there before that is so."""
        named = manifest["kind"] == "NetworkPolicy" and manifest["metadata"]["name"] == router_name(o)
        return named and bool(o.spec.traffic.clients)

    def manifests(self, o: Observation) -> Sequence[Manifest]:
        stable = o.status.stable
        published = [published_state(o, stable)] if stable and stable.revision in o.revisions else []
        # The policies first: no pod is there before its own.
        return [*network_policies(o), *router_manifests(o), *published]


def give_up_after(traffic: Traffic) -> float | None:
    """Seconds after which the router has stable rescue a candidate's request; None where it doesn't."""
    return seconds(traffic.timeout) * eighths_waited_for(traffic) / 8 if traffic.retryOnStable else None
