"""What a serving process has from its supervisor, and how it says that it gave itself up."""

import socket
from dataclasses import dataclass
from typing import NamedTuple

BACKLOG = 4096
"""Connections that wait for a process to accept them."""

HUNG = 70
"""Exit status of a serving process that gave itself up."""


class Listeners(NamedTuple):
    """The sockets of both protocols, and of what tells health in plain HTTP; all but the first may be switched off."""

    http: socket.socket
    grpc: socket.socket | None
    health: socket.socket | None = None


@dataclass(frozen=True)
class Inherited:
    """What a serving process gets from its supervisor; `ready` is the file descriptor to tell it by."""

    listeners: Listeners
    ready: int
    restarts: int
