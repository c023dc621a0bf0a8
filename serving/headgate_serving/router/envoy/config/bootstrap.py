"""The bootstrap: listeners, metrics, limits. Read once in the life of an Envoy; what changes is asked of the agent.

The agent calls `bootstrap_document`.
"""

from typing import Any

from headgate_serving.router.envoy.config import headers, names
from headgate_serving.router.envoy.config.access_log import IS_GRPC, access_log, outcome_counters, status_between
from headgate_serving.router.envoy.config.authentication import authentication_filter
from headgate_serving.router.envoy.config.budget import latency_edges
from headgate_serving.router.envoy.config.clusters import fallback_cluster
from headgate_serving.router.envoy.config.copying import COPIES, copies_cluster, copying_filter
from headgate_serving.router.envoy.config.layout import AGENT, BODY_LIMIT, Layout, duration, from_agent, pipe_cluster
from headgate_serving.router.envoy.config.overload import overload_manager
from headgate_serving.router.envoy.config.routes import RATE_LIMIT_FILTER, ROUTES, TRY_TIMEOUT_FILTER
from headgate_serving.router.envoy.config.tls import transport_socket
from headgate_serving.router.policy.protection import Protection
from headgate_serving.router.policy.traffic import Intent

ADMIN = "admin"
"""The cluster that is Envoy's own admin interface."""

_RUNTIME = {
    # A route that Envoy refuses would hold up all others: cookies with the longest names and values fit in.
    "re2.max_program_size.error_level": 2000,
    "re2.max_program_size.warn_level": 2000,
}

HEADERS_WITHIN_MS = 10_000
REQUEST_WITHIN_MS = 300_000
"""How long a request may take to come in, however small its pieces. An endless call has to be answered by then."""
MAX_HEADERS_KB, MAX_HEADERS = 64, 100
MAX_STREAMS = 1000
"""Of one connection at a time."""

_TYPE = "type.googleapis.com/envoy."
_ROUTER = {
    "name": "envoy.filters.http.router",
    # Its headers tell the agent how much time is left; the routes take them out of answers.
    "typed_config": {"@type": _TYPE + "extensions.filters.http.router.v3.Router"},
}
_RATE_LIMIT = {
    "name": RATE_LIMIT_FILTER,
    "typed_config": {
        "@type": _TYPE + "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "inference",
    },
}
_TRY_TIMEOUT = {
    "name": TRY_TIMEOUT_FILTER,
    "typed_config": {"@type": _TYPE + "extensions.filters.http.header_mutation.v3.HeaderMutation"},
}


def bootstrap_document(
    namespace: str, model: str, layout: Layout, intent: Intent, protection: Protection
) -> dict[str, Any]:
    """What `envoy -c` reads. Of the intent only where the histogram has its edges."""
    return {
        "node": {"id": f"{model}.{namespace}", "cluster": "headgate-router"},
        "admin": {"address": {"pipe": {"path": str(layout.admin_socket), "mode": 0o600}}},
        "dynamic_resources": {"cds_config": from_agent()},
        "static_resources": {
            "listeners": [_inference_listener(namespace, model, layout, protection), _metrics_listener(layout)],
            "clusters": [
                pipe_cluster(ADMIN, layout.admin_socket),
                pipe_cluster(AGENT, layout.agent_socket),
                pipe_cluster(COPIES, layout.copies_socket) | copies_cluster(),
                *(fallback_cluster(protocol, layout) for protocol in names.FALLBACK),
            ],
        },
        "layered_runtime": {"layers": [{"name": "limits", "static_layer": _RUNTIME}]},
        # Histograms, other than counters, are as old as the last flush.
        "stats_flush_interval": "1s",
        "stats_config": {
            "stats_tags": names.stats_tags(namespace, model),
            "stats_matcher": names.stats_matcher(),
            "histogram_bucket_settings": [
                {"match": {"suffix": "upstream_rq_time"}, "buckets": latency_edges(intent)},
            ],
        },
        "overload_manager": overload_manager(protection.memory_mib),
    }


def _inference_listener(namespace: str, model: str, layout: Layout, protection: Protection) -> dict[str, Any]:
    who = [authentication_filter()] if protection.authentication else []
    listener = _listener(
        "inference",
        layout.bind,
        layout.inference_port,
        BODY_LIMIT,
        {
            "rds": {"route_config_name": ROUTES, "config_source": from_agent()},
            "http_filters": [*who, _RATE_LIMIT, _TRY_TIMEOUT, copying_filter(), _ROUTER],
            "local_reply_config": _local_replies(),
            "access_log": [access_log(protection.access_log), *outcome_counters(namespace, model)],
            **headers.from_clients(),
            "normalize_path": True,
            "merge_slashes": True,
            "path_with_escaped_slashes_action": "REJECT_REQUEST",
            "request_headers_timeout": duration(HEADERS_WITHIN_MS),
            "request_timeout": duration(REQUEST_WITHIN_MS),
            "max_request_headers_kb": MAX_HEADERS_KB,
            "common_http_protocol_options": {"max_headers_count": MAX_HEADERS},
            "http2_protocol_options": {"max_concurrent_streams": MAX_STREAMS},
        },
    )
    if protection.tls:
        (chain,) = listener["filter_chains"]
        chain["transport_socket"] = transport_socket(verify_clients=protection.tls.verify_clients)
        chain["transport_socket_connect_timeout"] = duration(HEADERS_WITHIN_MS)
    return listener


def _metrics_listener(layout: Layout) -> dict[str, Any]:
    """Envoy's health, and of the admin interface only the counters, and only to read.

    Neither depends on what clients do: a router that has much to do is not to lose its probes and its metrics too.
    """
    lua = {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": _TYPE + "extensions.filters.http.lua.v3.Lua",
            "default_source_code": {"inline_string": names.ENDPOINT_LABELS_LUA},
        },
    }
    route = {
        "match": {
            "path": "/stats/prometheus",
            "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
        },
        # The label is added to plain text.
        "request_headers_to_remove": ["accept-encoding"],
        "route": {"cluster": ADMIN},
    }
    health = {"match": {"path": "/healthz"}, "direct_response": {"status": 200, "body": {"inline_string": "ok"}}}
    routes = {"name": "metrics", "virtual_hosts": [{"name": "metrics", "domains": ["*"], "routes": [health, route]}]}
    listener = _listener(
        "metrics",
        layout.bind,
        layout.metrics_port,
        64 * 1024 * 1024,
        {"route_config": routes, "http_filters": [lua, _ROUTER]},
    )
    return listener | {"bypass_overload_manager": True, "ignore_global_conn_limit": True}


def _listener(name: str, bind: str, port: int, limit: int, connection_manager: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "stat_prefix": name,
        "address": {"socket_address": {"address": bind, "port_value": port, "ipv4_compat": bind == "::"}},
        "per_connection_buffer_limit_bytes": limit,
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": {
                            "@type": _TYPE
                            + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                            "stat_prefix": name,
                            **connection_manager,
                        },
                    }
                ]
            }
        ],
    }


def _local_replies() -> dict[str, Any]:
    """Envoy's own answers in the form of the inference protocol: `{"error": "…"}`, or a call's message."""
    replies = [
        # First the router's own health, the one answer that is no error.
        {"filter": status_between(200, 200), **_text("%LOCAL_REPLY_BODY%")},
        *_reply(_flags("UH", "NC", "NR"), "no pod of the model is ready"),
        *_reply(_flags("UT"), "the model did not answer in time"),
        *_reply(_flags("UO"), "too many requests are waiting for the model"),
        *_reply(_flags("UF", "UC", "UR", "LR"), "the model's pod closed the connection"),
        # The overload manager ends requests of HTTP/1 as if Envoy had failed.
        *_reply(status_between(500, 500), "the router has no memory left for this request", status_code=503),
        *_reply(status_between(413, 413), "the request is too large"),
        *_reply(status_between(429, 429), "this client asks too often"),
        {"filter": IS_GRPC, **_text("%LOCAL_REPLY_BODY%")},
    ]
    return {"mappers": replies, "body_format": {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}}


def _reply(wanted: dict[str, Any], text: str, **more: Any) -> list[dict[str, Any]]:
    json = {"body_format_override": {"json_format": {"error": text}}}
    return [
        {"filter": {"and_filter": {"filters": [IS_GRPC, wanted]}}, **_text(text), **more},
        {"filter": wanted, **json, **more},
    ]


def _text(text: str) -> dict[str, Any]:
    return {"body_format_override": {"text_format_source": {"inline_string": text}}}


def _flags(*flags: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(flags)}}
