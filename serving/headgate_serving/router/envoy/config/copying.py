"""How Envoy copies a part of the requests, with their answers, to the agent. Used by `bootstrap` and `routes`.

The filter is off in the listener, so that where nothing is copied it is not even made. A route that takes a part of the
requests switches it on; it passes everything on at once and waits for nothing. Where nobody takes the copies, or not
quickly enough, requests go on without being copied: at most `MAX_COPIES` are under way at a time.
"""

from typing import Any

from headgate.api import contract
from headgate_serving.codec.http_message import MAX_BODY
from headgate_serving.router.envoy.config.layout import duration

COPIES = "copies"
"""The cluster that is the agent's tap."""

FILTER = "envoy.filters.http.ext_proc"

MAX_COPIES = 64
"""How many requests are copied at a time: with their sizes the bound for what Envoy keeps for an agent that hangs."""

COPIED_HEADERS = (
    ":path",
    ":status",
    "content-encoding",
    "content-type",
    "grpc-encoding",
    "grpc-status",
    "inference-header-content-length",
    contract.REVISION_HEADER,
)
"""What it takes to ask again and to understand the answer. Who asked is nobody's business."""

LINGER_MS = 2000
"""How long a copy may take to be taken, after the user has got the answer."""

_TYPE = "type.googleapis.com/envoy."
_WHOLE = 10_000


def copying_filter() -> dict[str, Any]:
    """The filter of the listener, switched off."""
    return {
        "name": FILTER,
        "disabled": True,
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": COPIES}},
            "observability_mode": True,
            "failure_mode_allow": True,
            "deferred_close_timeout": duration(LINGER_MS),
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": "STREAMED",
                "request_trailer_mode": "SKIP",
                "response_header_mode": "SEND",
                "response_body_mode": "STREAMED",
                "response_trailer_mode": "SEND",
            },
            "forward_rules": {"allowed_headers": {"patterns": [{"exact": name} for name in COPIED_HEADERS]}},
        },
    }


def copies_cluster() -> dict[str, Any]:
    """What makes the agent's socket a place for copies, beside its address."""
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _TYPE + "extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "circuit_breakers": {"thresholds": [{"max_requests": MAX_COPIES, "max_pending_requests": MAX_COPIES}]},
    }


def sampled(match: dict[str, Any], tenths: int) -> dict[str, Any]:
    """A route's match narrowed to a part of its requests, in tenths of a percent, none of which is too large."""
    fraction = {"default_value": {"numerator": tenths * _WHOLE // 1000, "denominator": "TEN_THOUSAND"}}
    too_large = {
        "name": "content-length",
        "range_match": {"start": MAX_BODY + 1, "end": 1 << 62},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    return match | {"runtime_fraction": fraction, "headers": [too_large]}


def copied() -> dict[str, Any]:
    """What switches the filter on for a route."""
    on = {"@type": _TYPE + "extensions.filters.http.ext_proc.v3.ExtProcPerRoute", "overrides": {}}
    return {"typed_per_filter_config": {FILTER: on}}
