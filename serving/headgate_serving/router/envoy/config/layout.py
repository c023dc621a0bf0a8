"""Where the documents lie, and whom Envoy asks for them. Used by all other modules of `config`."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from headgate.api import contract
from headgate_serving.router.envoy.config.names import Protocol

AGENT = "agent"
"""The cluster of Envoy's that is the agent."""

BODY_LIMIT = 10 * 1024 * 1024
"""Bytes of a request or an answer that Envoy keeps. A larger request goes through, but stable can't rescue it."""

HOLD_SECONDS = 20
"""How long the agent keeps a question to which there is no news."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The shared folder, and the ports of the pod."""

    root: PurePosixPath
    bind: str = "0.0.0.0"
    inference_port: int = contract.ROUTER_HTTP_PORT
    metrics_port: int = contract.ROUTER_METRICS_PORT

    @property
    def bootstrap(self) -> PurePosixPath:
        """What Envoy is started with."""
        return self.root / "bootstrap.yaml"

    @property
    def clusters(self) -> PurePosixPath:
        """CDS."""
        return self.root / "cds.json"

    @property
    def routes(self) -> PurePosixPath:
        """RDS."""
        return self.root / "rds.json"

    @property
    def admin_socket(self) -> PurePosixPath:
        """Envoy's admin interface; no port, so that only the pod's own containers reach it."""
        return self.root / "admin.sock"

    @property
    def agent_socket(self) -> PurePosixPath:
        """Where Envoy asks the agent for all but its bootstrap."""
        return self.root / "agent.sock"

    @property
    def copies_socket(self) -> PurePosixPath:
        """Where Envoy sends copies of requests while somebody looks at them."""
        return self.root / "copies.sock"

    @property
    def drain_socket(self) -> PurePosixPath:
        """Where the agent is asked to close the clients' connections, before its pod ends."""
        return self.root / contract.DRAIN_SOCKET

    @property
    def fallback(self) -> PurePosixPath:
        """What answers where stable can't, as the policy says it; for an agent that starts without an API server."""
        return self.root / "fallback.json"

    @property
    def taken(self) -> PurePosixPath:
        """The policy with which Envoy took its documents last; for an agent that starts where it refuses the newest."""
        return self.root / "taken.json"

    @property
    def fallback_sockets(self) -> dict[Protocol, PurePosixPath]:
        """Where Envoy asks the agent in stable's place."""
        return {"http": self.root / "fallback.sock", "grpc": self.root / "fallback-grpc.sock"}

    def endpoints(self, service: str) -> PurePosixPath:
        """EDS: a file for each cluster that has pods."""
        return self.root / "eds" / f"{service}.json"

    def secret(self, name: str) -> PurePosixPath:
        """SDS: where a document would lie that is kept in memory alone."""
        return self.root / "secrets" / name

    def extension(self, name: str) -> PurePosixPath:
        """ECDS: likewise."""
        return self.root / "extensions" / name


def from_agent() -> dict[str, Any]:
    """A configuration source: the agent's discovery, which keeps a question until there is an answer to it."""
    return {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "REST",
            "transport_api_version": "V3",
            "cluster_names": [AGENT],
            # From one answer to the next question, and how often an agent is looked for that is not there.
            "refresh_delay": duration(25),
            "request_timeout": duration(2000 * HOLD_SECONDS),
        },
    }


def pipe_cluster(name: str, path: PurePosixPath) -> dict[str, Any]:
    """A cluster of the bootstrap: who listens at a Unix socket."""
    endpoint = {"address": {"pipe": {"path": str(path)}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
    }


def duration(milliseconds: int) -> str:
    """As protobuf's JSON writes it: 1500 -> `1.500s`."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}s"
