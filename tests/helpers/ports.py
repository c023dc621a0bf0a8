"""Ports of loopback that are this process's until it ends, whatever else runs on the machine.

Tests take them for programs that have to be told their ports. They are not those that the kernel gives to clients, and
a lock on a file keeps each from other runs and other workers of this one.
"""

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path
from typing import TextIO

LOCKS = Path(tempfile.gettempdir(), f"headgate-test-ports-{os.getuid()}")
_held: list[TextIO] = []


def free_port() -> int:
    """A port that nobody is at."""
    lowest_of_clients = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    LOCKS.mkdir(exist_ok=True)
    while True:
        port = random.randrange(10_000, max(lowest_of_clients, 20_000))
        lock = (LOCKS / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
        else:
            _held.append(lock)  # which keeps the lock
            return port


def free_ports(count: int) -> list[int]:
    """Several of them."""
    return [free_port() for _ in range(count)]
