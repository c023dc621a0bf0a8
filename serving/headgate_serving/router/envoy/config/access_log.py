"""What Envoy says about requests when they end: a line of JSON each, and what is counted of them all.

No payload, no query string, no address, no credentials is in a line.

`bootstrap` puts both at the inference listener.
"""

from itertools import pairwise
from typing import Any

from headgate.api import contract
from headgate.api.contract import Rejection
from headgate_serving.router.envoy.config import names
from headgate_serving.router.envoy.config.response_buffering import NO_REFUSALS, REFUSALS
from headgate_serving.router.policy.protection import AccessLog

_TYPE = "type.googleapis.com/envoy."

FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%PATH(NQ)%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS(SNAKE_STRING)%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "milliseconds": "%DURATION%",
    "role": f"%CLUSTER_METADATA({names.METADATA}:role)%",
    "revision": f"%UPSTREAM_METADATA({names.METADATA}:revision)%",
    "pod": "%UPSTREAM_HOST_NAME%",
    "fallback": f"%RESP({contract.FALLBACK_HEADER})%",
    "client": f"%REQ({contract.CLIENT_HEADER})%",
    "certificate": "%DOWNSTREAM_PEER_SUBJECT%",
    "prediction": "%REQ(X-REQUEST-ID)%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
}
"""`role` is the one that the request was meant for, `revision` the one that answered in the end, or `fallback`."""

IS_GRPC = {"header_filter": {"header": {"name": "content-type", "string_match": {"prefix": "application/grpc"}}}}


def access_log(which: AccessLog) -> dict[str, Any]:
    """Of all requests, or of those that failed. What a request has not is left out of its line."""
    return {
        "name": "envoy.access_loggers.stdout",
        **({"filter": _failed()} if which == "Errors" else {}),
        "typed_config": {
            "@type": _TYPE + "extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {"json_format": FIELDS, "omit_empty_values": True},
        },
    }


def outcome_counters(namespace: str, model: str) -> list[dict[str, Any]]:
    """Who refused, and what stable said to what a candidate had refused or answered invalidly.

    The router counts attempts when an answer begins; whose fault it was is known when the request ends. Each value of
    a label is one that the router has made itself, so there are few.
    """
    whose = {contract.NAMESPACE: namespace, contract.MODEL: model}
    said = {name: f"%DYNAMIC_METADATA({names.METADATA}:{name})%" for name in _SAID}
    pod = {contract.REVISION: f"%UPSTREAM_METADATA({names.METADATA}:counted)%"}
    return [
        _counter(contract.REFUSED, _refused(), whose | pod),
        _counter(contract.REJECTED, _rejected_and_tried_again(), whose | said),
    ]


_SAID = (contract.REVISION, Rejection.REASON, Rejection.OUTCOME)


def _counter(series: str, wanted: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    prefix, name = series.split("_", maxsplit=1)
    tags = [{"name": label, "value_format": value} for label, value in labels.items()]
    return {
        "name": "envoy.access_loggers.stats",
        "filter": wanted,
        "typed_config": {
            "@type": _TYPE + "extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": prefix},
            "counters": [{"stat": {"name": name, "tags": tags}, "value_fixed": 1}],
        },
    }


def _rejected_and_tried_again() -> dict[str, Any]:
    """A filter for requests of which a cluster's script has said what they came to, and that were tried twice: Envoy
    does not keep all requests for that."""
    said = {"filter": names.METADATA, "path": [{"key": Rejection.OUTCOME}], "value": {"present_match": True}}
    tries = {
        "name": "envoy.access_loggers.extension_filters.cel",
        "typed_config": {
            "@type": _TYPE + "extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "upstream.request_attempt_count > 1u",
        },
    }
    # The cheap one first: it is asked of all requests.
    wanted = [{"metadata_filter": {"matcher": said, "match_if_key_not_found": False}}, {"extension_filter": tries}]
    return {"and_filter": {"filters": wanted}}


def _refused() -> dict[str, Any]:
    """A filter for requests whose user got a refusal: see `response_buffering`."""
    edges = [399, *NO_REFUSALS, 500]
    by_http = [status_between(low + 1, high - 1) for low, high in pairwise(edges)]
    by_call = {"and_filter": {"filters": [IS_GRPC, {"grpc_status_filter": {"statuses": list(REFUSALS)}}]}}
    return {"or_filter": {"filters": [*by_http, by_call]}}


def status_between(lowest: int, highest: int) -> dict[str, Any]:
    """A filter for answers whose status is one of these."""

    def bound(operator: str, value: int) -> dict[str, Any]:
        comparison = {"op": operator, "value": {"default_value": value, "runtime_key": "headgate.unused"}}
        return {"status_code_filter": {"comparison": comparison}}

    if lowest == highest:
        return bound("EQ", lowest)
    return {"and_filter": {"filters": [bound("GE", lowest), bound("LE", highest)]}}


def _failed() -> dict[str, Any]:
    """By HTTP, by gRPC, or without an answer, as when the client went away."""
    not_ok = {"grpc_status_filter": {"statuses": ["OK"], "exclude": True}}
    call = {"and_filter": {"filters": [IS_GRPC, not_ok]}}
    return {"or_filter": {"filters": [status_between(400, 599), call, {"response_flag_filter": {}}]}}
