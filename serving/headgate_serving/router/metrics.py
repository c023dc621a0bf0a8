"""What the agent tells about itself. A part of it is asked by the operator: `headgate_router_routes`.

`agent` makes it and writes into it; `web` shows it.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge

from headgate.api import contract
from headgate_serving.keeper import restarts
from headgate_serving.router.policy.traffic import Intent


@dataclass(frozen=True)
class Metrics:
    """What the agent tells about itself."""

    namespace: str
    model: str
    router: str
    """The name of this pod."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    since: float = field(default_factory=time.time)
    """When this process began to count."""
    weight: Gauge = field(init=False)
    started: Gauge = field(init=False)
    routes: Gauge = field(init=False)
    restarts: Counter = field(init=False)
    writes: Counter = field(init=False)
    errors: Counter = field(init=False)
    refusals: Counter = field(init=False)
    usable: Gauge = field(init=False)
    ignored: Gauge = field(init=False)
    watch_age: Gauge = field(init=False)

    def __post_init__(self) -> None:
        whose = (contract.NAMESPACE, contract.MODEL)

        def add(name: str, metric: Gauge | Counter) -> None:
            object.__setattr__(self, name, metric)

        what = "Percentage of the traffic that the router was told to send to a revision"
        labels = (*whose, contract.REVISION)
        add("weight", Gauge(contract.ROUTER_WEIGHT, what, labels, registry=self.registry))
        what = "When this process began to count"
        add("started", Gauge(contract.STARTED, what, labels, registry=self.registry))
        what = "1 for each revision that requests may still reach by this router; its pods have to stay"
        add("routes", Gauge(contract.ROUTER_ROUTES, what, (*labels, contract.ROUTER), registry=self.registry))
        what = "Times that the agent was started anew after a crash, since its container was started"
        add("restarts", Counter("headgate_router_agent_restarts", what, whose, registry=self.registry))
        self.restarts.labels(self.namespace, self.model).inc(restarts())
        what = "Files that were written for Envoy"
        add("writes", Counter("headgate_router_config_writes", what, whose, registry=self.registry))
        what = "Times that the desired state could not be read, so that the last one stayed"
        add("errors", Counter("headgate_router_config_errors", what, whose, registry=self.registry))
        what = "Documents that Envoy did not take, so that it went on with the last ones"
        add("refusals", Counter("headgate_router_config_refused", what, whose, registry=self.registry))
        labels = (*whose, contract.ROUTER)
        what = "Whether a mounted Secret can be used: 1, or 0"
        add("usable", Gauge("headgate_router_secret_usable", what, (*labels, "secret"), registry=self.registry))
        what = "Parts of the ModelDeployment and its EndpointSlices that the router does not follow as they are"
        add("ignored", Gauge("headgate_router_ignored", what, labels, registry=self.registry))
        what = "Seconds since the older of the two watches was last known to be current"
        add("watch_age", Gauge(contract.ROUTER_WATCH_AGE, what, labels, registry=self.registry))
        self.writes.labels(self.namespace, self.model)
        self.errors.labels(self.namespace, self.model)
        self.refusals.labels(self.namespace, self.model)

    def show_weights(self, intent: Intent) -> None:
        """Only the revisions in traffic have a weight."""
        self.weight.clear()
        self.started.clear()
        for target in intent.targets:
            self.weight.labels(self.namespace, self.model, target.revision).set(target.weight / 10)
            self.started.labels(self.namespace, self.model, target.revision).set(self.since)

    def show_usable(self, secret: str, usable: bool) -> None:
        """Of a mounted Secret."""
        self.usable.labels(self.namespace, self.model, self.router, secret).set(usable)

    def show_ignored(self, count: int) -> None:
        """How much is not followed as it is; the log says what."""
        self.ignored.labels(self.namespace, self.model, self.router).set(count)

    def show_routes(self, revisions: Iterable[str]) -> None:
        """The operator takes away pods only when no router has their revision here."""
        self.routes.clear()
        for revision in revisions:
            self.routes.labels(self.namespace, self.model, revision, self.router).set(1)
