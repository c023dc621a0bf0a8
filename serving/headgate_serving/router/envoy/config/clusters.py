"""CDS and EDS: the clusters of the revisions in traffic, and where their pods are.

`config.render` calls `cluster_documents` and `endpoint_document`. A revision's own cluster is the same
whatever its role is: Envoy replaces a cluster whose definition changes, and with it its pods' counters and
connections. So a promotion changes only aggregates and routes.
"""

from collections.abc import Iterable, Sequence, Set
from itertools import product
from typing import Any

from headgate.api import contract
from headgate.api.policy import Fallback
from headgate_serving.router.envoy.config import names
from headgate_serving.router.envoy.config.layout import Layout, duration, from_agent, pipe_cluster
from headgate_serving.router.envoy.config.pod_sockets import CONNECT_TIMEOUT_MS, connecting, mark
from headgate_serving.router.envoy.config.response_buffering import response_buffering
from headgate_serving.router.policy.endpoints import Endpoint, State
from headgate_serving.router.policy.pod_tls import NO_SECRETS, PodTls
from headgate_serving.router.policy.traffic import Intent, Target

IDLE_TIMEOUT_MS = 20_000
"""Shorter than the 30 s after which the runtime closes an idle connection: a request never meets the closing."""

SLOW_START_MS = 10_000

EJECTED_MS, LONGEST_EJECTED_MS = 5000, 30_000
"""How long a pod that fails all the time is passed over: the first time, and at most."""

MANY = 16_384
"""As a circuit breaker: never in the way. The runtime itself refuses what it can't queue."""

FALLBACK_REQUESTS = 128
"""How many requests the agent holds at a time, by each of its two ways."""

STABLE_RETRIES = 128
"""How many retries of stable's requests may run at a time, so that they can't drown a stable that is in trouble."""

TOO_MANY_REQUESTS = 429
"""The status of an overloaded pod: a failed try, as 503 is."""

OVERPROVISIONING_FACTOR = 100_000
"""Percent. By default Envoy's aggregate cluster sends a part of the requests to the next cluster when a third of the
pods is out. Here the next cluster is another version, or a degraded answer. So it gets requests only when no pod is
left, of up to a thousand pods."""

NO_FALLBACK = Fallback()

PROTOCOLS: tuple[names.Protocol, ...] = ("http", "grpc")

_TYPE = "type.googleapis.com/envoy."


def cluster_documents(intent: Intent, tls: PodTls = NO_SECRETS) -> list[dict[str, Any]]:
    """The clusters that the routes of `intent` need, those with pods before the aggregates over them."""
    stable, candidate = intent.stable, intent.candidate
    if stable is None:
        return []
    pods, aggregates = list[dict[str, Any]](), list[dict[str, Any]]()
    fallback = intent.policy.fallback
    for target, protocol in product(intent.targets, PROTOCOLS):
        pods += [_pods(target, kind, protocol, tls) for kind in ("attempts", "uncounted-attempts")]
        aggregates.append(_aggregate(target, "assigned=true", "attempts", protocol, intent, fallback=fallback))
        aggregates.append(_aggregate(target, "uncounted", "uncounted-attempts", protocol, intent))
        if fallback:
            aggregates.append(_aggregate(target, "testers", "uncounted-attempts", protocol, intent, fallback=fallback))
        if protocol == "grpc":
            aggregates.append(_aggregate(target, "streams", "attempts", protocol, intent))
        if target == stable and candidate is not None:
            pods.append(_pods(target, "rescue", protocol, tls))
    return pods + aggregates


def endpoint_document(service: str, endpoints: Iterable[Endpoint], asked: Set[Endpoint]) -> dict[str, Any]:
    """EDS: each pod with its name, for the counters, its revision, for the answer's header, and the mark, for times.

    Those that are not `asked` are there for their counters: Envoy would forget with them what the last requests came
    to, before anybody has read it, and of a pod that crashes those are the ones that failed.
    """
    revision, kind, protocol = names.Cluster.of_service(service)
    metadata: dict[str, Any] = {names.METADATA: {"revision": revision}}
    if kind == "attempts":
        metadata["envoy.lb"] = {"canary": True}
        metadata[names.METADATA]["counted"] = revision
    places = [(pod, pod.port if protocol == "http" else pod.grpc_port) for pod in endpoints]
    # What a pod failed before it was ready is forgotten: with another place it is a new one to Envoy.
    last_resort = any(pod.state is State.UNREADY for pod in asked)
    return {
        "@type": _TYPE + "config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": service,
        "policy": {"overprovisioning_factor": OVERPROVISIONING_FACTOR},
        "endpoints": [
            {
                **({"locality": {"zone": "unready"}} if last_resort else {}),
                "lb_endpoints": [
                    {
                        "endpoint": {
                            "hostname": pod.pod,
                            "address": {"socket_address": {"address": pod.address, "port_value": port}},
                        },
                        "metadata": {"filter_metadata": metadata | mark(pod)},
                        **({} if pod in asked else {"health_status": "UNHEALTHY"}),
                    }
                    for pod, port in places
                    if port
                ],
            }
        ],
    }


def fallback_cluster(protocol: names.Protocol, layout: Layout) -> dict[str, Any]:
    """The agent in stable's place.

    It is one thread: what is more than it is asked at a time waits in Envoy, as long as the user does. While nobody is
    there to connect to, it is passed over for a second, so that an agent that starts anew takes nothing from a stable
    that can still answer.
    """
    connections = FALLBACK_REQUESTS if protocol == "http" else 1
    return {
        **pipe_cluster(names.FALLBACK[protocol], layout.fallback_sockets[protocol]),
        "circuit_breakers": _circuit_breakers(MANY, connections),
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 5,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
            "interval": duration(500),
            "base_ejection_time": duration(1000),
            "max_ejection_time": duration(1000),
            "max_ejection_percent": 100,
        },
        "typed_extension_protocol_options": _http_options(
            protocol, {"common_http_protocol_options": {"idle_timeout": duration(IDLE_TIMEOUT_MS)}}, FALLBACK_REQUESTS
        ),
    }


def _pods(target: Target, kind: names.Kind, protocol: names.Protocol, tls: PodTls) -> dict[str, Any]:
    cluster = names.Cluster(target.revision, kind, protocol)
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": str(cluster),
        "type": "EDS",
        "eds_cluster_config": {"service_name": cluster.service, "eds_config": from_agent()},
        **connecting(tls),
        "lb_policy": "LEAST_REQUEST",
        "least_request_lb_config": {"slow_start_config": _slow_start()},
        "track_cluster_stats": {"per_endpoint_stats": kind == "attempts"},
        "circuit_breakers": _circuit_breakers(MANY),
        "outlier_detection": _outlier_detection(),
        "typed_extension_protocol_options": _http_options(
            protocol, {"common_http_protocol_options": {"idle_timeout": duration(IDLE_TIMEOUT_MS)}}
        ),
    }


def _aggregate(
    target: Target,
    kind: names.Kind,
    pods: names.Kind,
    protocol: names.Protocol,
    intent: Intent,
    *,
    fallback: Fallback = NO_FALLBACK,
) -> dict[str, Any]:
    """What routes name: a revision's pods, and where requests go that they fail: stable, then the fallback.

    Weighted clusters share their route, so the retry policy belongs here.
    """
    behind = [str(names.Cluster(target.revision, pods, protocol))]
    # Stable and the fallback are there even without retries: a request that finds no pod has not been tried yet.
    rescued = intent.stable is not None and target == intent.candidate
    if intent.stable is not None and rescued:
        behind.append(str(names.Cluster(intent.stable.revision, "rescue", protocol)))
    if fallback:
        behind.append(names.FALLBACK[protocol])
    retries, options = MANY, dict[str, Any]()
    if len(behind) == 1:
        retries, options = STABLE_RETRIES, {"retry_policy": _retry_elsewhere()}
    elif intent.policy.retry_on_stable or not rescued:
        marks = [contract.LOW_CONFIDENCE_HEADER] if fallback.on_low_confidence else []
        marks += [contract.REJECTED_HEADER] if rescued and kind != "streams" else []
        options = {"retry_policy": _retry_on_next(len(behind) - 1, marks)}
        if kind != "streams":
            candidate = target.revision if rescued else None
            options["http_filters"] = response_buffering(candidate, counted=kind == "assigned=true")
    return {
        "@type": _TYPE + "config.cluster.v3.Cluster",
        "name": str(names.Cluster(target.revision, kind, protocol)),
        "connect_timeout": duration(CONNECT_TIMEOUT_MS),
        "metadata": {"filter_metadata": {names.METADATA: {"role": target.role}}},
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _circuit_breakers(retries),
        "typed_extension_protocol_options": _http_options(protocol, options),
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": _TYPE + "extensions.clusters.aggregate.v3.ClusterConfig",
                "clusters": behind,
            },
        },
    }


def _retry_on_next(steps: int, marks: Sequence[str]) -> dict[str, Any]:
    """Whatever a version fails, the next in line answers, `steps` times: stable for a candidate, a fallback for stable.

    Inference is a pure function, so a second try is harmless. When a try has failed for being late is said in the
    routes: Envoy doesn't look for it here. The next is asked as well where an answer has one of the headers `marks`.
    """
    more = {"retriable_headers": [{"name": mark, "present_match": True} for mark in marks]} if marks else {}
    return {
        "retry_on": "5xx,reset,connect-failure,refused-stream,retriable-status-codes,"
        "unavailable,internal,resource-exhausted" + (",retriable-headers" if marks else ""),
        "retriable_status_codes": [TOO_MANY_REQUESTS],
        **more,
        "num_retries": steps,
        "retry_back_off": {"base_interval": duration(1), "max_interval": duration(2)},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": _TYPE + "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                "update_frequency": 1,
            },
        },
    }


def _retry_elsewhere() -> dict[str, Any]:
    """Stable's requests are tried again, on another pod, only if no pod has begun to work on them."""
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": 2,
        "retry_back_off": {"base_interval": duration(1), "max_interval": duration(20)},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": {"@type": _TYPE + "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
            }
        ],
        # A pod that refuses connections has the fewest requests, so it is the one that is picked again and again.
        "host_selection_retry_max_attempts": 20,
    }


def _http_options(protocol: names.Protocol, more: dict[str, Any], streams: int | None = None) -> dict[str, Any]:
    """`streams` is how many requests a connection takes at a time, where it takes several."""
    version = "http_protocol_options" if protocol == "http" else "http2_protocol_options"
    several = {"max_concurrent_streams": streams} if streams and protocol == "grpc" else {}
    return {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {version: several},
            **more,
        }
    }


def _circuit_breakers(retries: int, connections: int = MANY) -> dict[str, Any]:
    return {
        "thresholds": [
            {
                "max_connections": connections,
                "max_pending_requests": MANY,
                "max_requests": MANY,
                "max_retries": retries,
            }
        ]
    }


def _slow_start() -> dict[str, Any]:
    """A pod that has just come gets a tenth of its share at first: its caches, arenas and clocks are cold.

    Where all pods are new, as after a start of Envoy, all are equal.
    """
    return {"slow_start_window": duration(SLOW_START_MS), "min_weight_percent": {"value": 10}}


def _outlier_detection() -> dict[str, Any]:
    """Take a pod out for a few seconds after ten failures in a row: enough of them to be evidence at any
    weight.

    Nothing is thrown out for being worse than its peers: that would hide from the operator what it has to
    judge. When all pods of a revision are out, the candidate's users go to stable, and stable's to the
    fallback; without one stable goes on (panic mode).
    """
    return {
        "consecutive_5xx": 10,
        "enforcing_consecutive_5xx": 100,
        "enforcing_consecutive_gateway_failure": 0,
        "enforcing_success_rate": 0,
        "interval": duration(1000),
        "base_ejection_time": duration(EJECTED_MS),
        "max_ejection_time": duration(LONGEST_EJECTED_MS),
        "max_ejection_percent": 100,
    }
