"""`headgate-router-drain`, the preStop hook of the agent's container: asks the agent for a drain, waits for its end.

Only the standard library: it starts beside an agent, within that one's memory.
"""

import argparse
import http.client
import socket
import sys
from collections.abc import Sequence

from headgate.api import contract

PATIENCE_SECONDS = 10.0
"""Beyond the drain's own time."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("agent", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the drain is over; 1, with the reason on stderr, if there was none. The kubelet makes an event of that."""
    parser = argparse.ArgumentParser(
        "headgate-router-drain", description="Closes the clients' connections of a router."
    )
    parser.add_argument(contract.DrainArgument.SOCKET, required=True, help="where the router's agent listens")
    parser.add_argument(contract.DrainArgument.SECONDS, required=True, type=float, help="how long the drain lasts")
    options = parser.parse_args(arguments)
    connection = _UnixConnection(options.socket, options.seconds + PATIENCE_SECONDS)
    try:
        connection.request("POST", f"/drain?seconds={options.seconds:g}")
        answer = connection.getresponse()
        text = answer.read().decode().strip()
    except (OSError, http.client.HTTPException) as error:
        print(f"no drain: the agent at {options.socket} does not answer: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()
    if answer.status != http.client.OK:
        print(f"no drain: {text}", file=sys.stderr)
        return 1
    return 0
