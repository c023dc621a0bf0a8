"""What Envoy does when its memory or its connections run out: it serves fewer, and is not killed. `bootstrap` adds it.

Memory is what a container has too little of long before it has too few connections: 10 MiB of a body are kept for a
second try, and a client that reads slowly has its answer kept. So the ones that hold most are let go first, and those
that hold little go on.
"""

from typing import Any

MAX_CONNECTIONS = 20_000
CONNECTION_BYTES = 32 << 10
"""What a connection takes that has asked once by HTTP/1.1 over TLS, measured, and a little more."""
CONNECTIONS_SHARE = 0.5
"""Of the heap: connections that do nothing leave the other half to those that do something."""

HEAP_SHARE = 0.8
"""Of the container's memory; the rest is for code, stacks and what the kernel keeps for sockets."""

_TYPE = "type.googleapis.com/envoy."
_HEAP = "envoy.resource_monitors.fixed_heap"
_CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"


def overload_manager(memory_mib: int) -> dict[str, Any]:
    """For a container that may use so much."""
    heap = int(memory_mib * HEAP_SHARE) << 20
    return {
        "refresh_interval": "0.050s",
        "resource_monitors": [
            {
                "name": _CONNECTIONS,
                "typed_config": {
                    "@type": _TYPE
                    + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": min(
                        MAX_CONNECTIONS, int(heap * CONNECTIONS_SHARE) // CONNECTION_BYTES
                    ),
                },
            },
            {
                "name": _HEAP,
                "typed_config": {
                    "@type": _TYPE + "extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": heap,
                },
            },
        ],
        # Eight sizes of streams are told apart, from 128 KiB to 16 MiB; the higher the pressure, the smaller ones go.
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": 17},
        "actions": [
            _action("reduce_timeouts", _between(0.5, 0.8), _PAUSES),
            _action("reset_high_memory_stream", _between(0.6, 0.9)),
            _action("shrink_heap", _from(0.6)),
            _action("disable_http_keepalive", _from(0.85)),
            _action("stop_accepting_requests", _from(0.9)),
            _action("stop_accepting_connections", _from(0.95)),
        ],
        "loadshed_points": [
            # Diced for with each read: a body that comes in hundreds of pieces goes before a request that is one.
            {
                "name": "envoy.load_shed_points.http1_server_abort_dispatch",
                "triggers": [{"name": _HEAP, **_between(0.6, 1.0)}],
            },
        ],
    }


_PAUSES = {
    "typed_config": {
        "@type": _TYPE + "config.overload.v3.ScaleTimersOverloadActionConfig",
        "timer_scale_factors": [
            {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "1s"},
            {"timer": "HTTP_DOWNSTREAM_STREAM_IDLE", "min_timeout": "0.250s"},
            {"timer": "HTTP_DOWNSTREAM_STREAM_FLUSH", "min_timeout": "0.250s"},
        ],
    }
}


def _action(name: str, trigger: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": _HEAP, **trigger}], **(more or {})}


def _from(share: float) -> dict[str, Any]:
    return {"threshold": {"value": share}}


def _between(begin: float, full: float) -> dict[str, Any]:
    return {"scaled": {"scaling_threshold": begin, "saturation_threshold": full}}
