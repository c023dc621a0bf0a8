"""Where servers listen: at all addresses of both families, or at the one that was asked for.

Used by the runtime, the monitor, and the router's agent, which also tells Envoy. Pods of clusters without IPv4 have
addresses of IPv6 alone, and a kernel may have no IPv6.
"""

import ctypes
import socket
import struct
from contextlib import suppress

BOTH, ALL_OF_IPV4 = "::", "0.0.0.0"
AUTO = "auto"
"""The default of an option: `bind_address` finds out."""

_SO_ATTACH_FILTER = 26
_NO_SYN = b"".join(  # a program for the kernel's packet filter (linux/filter.h): operation, two jumps, operand
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the byte with the flags of the TCP header
        (0x45, 0, 1, 0x02),  # is SYN among them?
        (0x06, 0, 0, 0),  # then drop the packet
        (0x06, 0, 0, 0xFFFF),  # else take it
    )
)


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


def take_no_more(sock: socket.socket) -> None:
    """Let nobody begin to connect to a listening socket; whoever has begun can still be accepted.

    To be called a moment before it is closed: closing it resets the connections that nobody has accepted yet, on which
    a request may be waiting. Who begins now asks again after a second, and is refused then. Where the kernel has no
    such filter, nothing happens.
    """
    program = ctypes.create_string_buffer(_NO_SYN, len(_NO_SYN))
    with suppress(OSError):
        sock.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(_NO_SYN) // 8, ctypes.addressof(program))
        )
