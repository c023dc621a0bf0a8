"""The operator's settings, read from the environment once, at its start."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError

from headgate.api.rules import DNS_NAME
from headgate.core.model import Defaults, NetworkAccess
from headgate.edges.prometheus_access import Access
from headgate.errors import SettingsError

LABEL_NAME = "^[a-zA-Z_][a-zA-Z0-9_]*$"
HEADER_NAME = "^[A-Za-z0-9-]+$"
HeaderValue = Annotated[str, Field(pattern="^[ -~]*$")]

PREFIX = "HEADGATE_"


class NetworkPolicies(BaseModel):
    """What the chart says of the network."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scrapers: list[dict[str, Any]] = []
    """The scrapers of metrics, as a list of NetworkPolicyPeer; without any everybody may read metrics."""


class Settings(BaseModel):
    """Each field comes from `HEADGATE_` + its name in capitals."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, extra="forbid")

    serving_image: str = Field(min_length=1)
    """Image of the runtime, the fetcher and the router's agent."""
    envoy_image: str = Field(min_length=1)
    """Image of Envoy."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """Pull policy of those images."""
    image_pull_secrets: str = Field(default="", pattern=rf"^({DNS_NAME}(,{DNS_NAME})*)?$")
    """Secrets to pull those images with, by name in the namespaces of the ModelDeployments; separated by commas."""
    prometheus_url: str = Field(
        default="http://headgate-prometheus:9090", pattern=r"^https?://[^\s,@]+(,https?://[^\s,@]+)*$"
    )
    """The Prometheus that scrapes routers and runtimes; of several, separated by commas, the first that answers."""
    prometheus_auth: Path | None = None
    """A folder with `token`, or `username` and `password`, and perhaps `tls.crt` and `tls.key`, to show to it."""
    prometheus_ca: Path | None = None
    """A file with the certificates to trust of it."""
    prometheus_headers: Json[dict[Annotated[str, Field(pattern=HEADER_NAME)], HeaderValue]] = Field(default={})
    """Further headers for it, such as the tenant, as a JSON object."""
    network_policies: Json[NetworkPolicies] | None = None
    """Who may read metrics, as a JSON object, where models get NetworkPolicies; without it they get none."""
    metrics_stale_seconds: float = Field(default=30.0, gt=0)
    """Samples older than this are no data. At least three scrape intervals."""
    prometheus_matchers: Json[dict[Annotated[str, Field(pattern=LABEL_NAME)], str]] = Field(default={})
    """Labels that every series must have, as a JSON object, where one Prometheus shows more than this cluster."""
    user_signals: bool = False
    """Whether the queries of `spec.rollout.signals` are asked, with the operator's credentials."""
    drift_seconds: float = Field(default=300.0, ge=5)
    """Between two looks at the drift of one model's inputs, give or take a fifth."""
    watch_namespaces: str = ""
    """Namespaces to work in, separated by commas; empty for all."""
    workers: int = Field(default=16, ge=1)
    """ModelDeployments that are reconciled at the same time; idle ones are half of them at most."""
    port: int = Field(default=8080, ge=0, le=65535)
    """Port of health and metrics."""
    metrics_authentication: bool = False
    """Whether who reads `/metrics` has to show a token that the API server knows, of a user who may."""
    metrics_audience: str = ""
    """Whom such a token has to be for; empty for the API server itself."""
    lease_name: str = "headgate"
    """Name of the Lease, in the operator's namespace."""
    lease_seconds: float = Field(default=15.0, ge=3)
    """After how long without a renewal of the lease another replica takes over; the leader stops at two thirds."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    """Least severe messages to log."""
    pod_name: str = ""
    """Who we are in the Lease."""
    pod_namespace: str = "headgate-system"
    """The operator's own namespace."""

    @property
    def defaults(self) -> Defaults:
        """What every resource gets."""
        secrets = tuple(filter(None, self.image_pull_secrets.split(",")))
        network = NetworkAccess(tuple(self.network_policies.scrapers)) if self.network_policies else None
        return Defaults(self.serving_image, self.envoy_image, self.image_pull_policy, secrets, network)

    @property
    def prometheus(self) -> Access:
        """How Prometheus is reached."""
        return Access(
            tuple(self.prometheus_url.split(",")),
            self.prometheus_matchers,
            self.prometheus_headers,
            self.prometheus_auth,
            self.prometheus_ca,
        )

    @property
    def namespaces(self) -> list[str]:
        """`watch_namespaces` as a list."""
        return [n.strip() for n in self.watch_namespaces.split(",") if n.strip()]

    @property
    def everywhere(self) -> list[str | None]:
        """The namespaces to list; [None] for all at once."""
        return [*self.namespaces] or [None]

    @property
    def identity(self) -> str:
        """Who we are in the Lease."""
        return self.pod_name or f"{socket.gethostname()}-{os.getpid()}"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Settings from the environment. Raises SettingsError that names each wrong variable."""
    values = {
        name: environment[PREFIX + name.upper()]
        for name in Settings.model_fields
        if PREFIX + name.upper() in environment
    }
    values |= {name: environment[name.upper()] for name in ("pod_name", "pod_namespace") if name.upper() in environment}
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        wrong = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors())
        raise SettingsError(wrong) from error
