"""Where servers listen: at all addresses of both families, or at the one that was asked for.

Used by the runtime, the monitor, and the router's agent, which also tells Envoy. Pods of clusters without IPv4 have
addresses of IPv6 alone, and a kernel may have no IPv6.
"""

import socket

BOTH, ALL_OF_IPV4 = "::", "0.0.0.0"
AUTO = "auto"
"""The default of an option: `bind_address` finds out."""


def bind_address(asked: str = AUTO) -> str:
    """The address to bind: `asked`, or for `auto` the one of both families, that of IPv4 where there is no other."""
    if asked != AUTO:
        return asked
    try:
        listening_socket(BOTH, 0).close()
    except (OSError, ValueError):
        return ALL_OF_IPV4
    return BOTH


def listening_socket(host: str, port: int, backlog: int = 128, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens; at `::` for IPv4 too. OSError; ValueError where the platform has no such sockets."""
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if ":" in host else socket.AF_INET,
        backlog=backlog,
        reuse_port=reuse_port,
        dualstack_ipv6=host == BOTH,
    )
