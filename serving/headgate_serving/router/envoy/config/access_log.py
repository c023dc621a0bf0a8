"""What Envoy's log says about requests: a line of JSON each. No payload, no query string, no address, no credentials.

`bootstrap` puts it at the inference listener.
"""

from typing import Any

from headgate.api import contract
from headgate_serving.router.envoy.config import names
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
