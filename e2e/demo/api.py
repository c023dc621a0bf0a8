"""The API server: objects, and through its proxy the load generator and Prometheus.

`watch.py` and `scene.py` read with it; stories also change a status with it. Going through the API server works the
same with a cluster of the user's own, whose Services can't be reached from here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubernetes import client, config

TIMEOUT = 5
TOO_MANY_REQUESTS = 429


class Unreadable(Exception):
    """The API server, or what is behind it, did not give an answer, or one of this status."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Api:
    """One connection, kept."""

    def __init__(self, kubeconfig: Path) -> None:
        configuration = client.Configuration()
        configuration.retries = 1
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
        self._client = client.ApiClient(configuration)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """JSON at a path; None if there is nothing."""
        return self._ask("GET", path, query)

    def merge(self, path: str, change: Mapping[str, Any]) -> Any:
        """Lay a change over the object at a path; the object as it is then."""
        return self._ask("PATCH", path, None, change)

    def evict(self, namespace: str, pod: str) -> bool:
        """As a node's drain does it. False where a disruption budget says that it has to wait."""
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": namespace}}
        try:
            self._ask("POST", f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction", None, eviction)
        except Unreadable as error:
            if error.status != TOO_MANY_REQUESTS:
                raise
            return False
        return True

    def _ask(
        self, method: str, path: str, query: Mapping[str, str] | None, change: Mapping[str, Any] | None = None
    ) -> Any:
        kinds = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
        sent = {"Content-Type": kinds[method]} if change else {}
        _, url, headers, content, _ = self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", **sent},
            body=change,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._client.call_api(method, url, headers, content, _request_timeout=TIMEOUT)
            body: bytes = response.read()  # type: ignore[no-untyped-call]
        except Exception as error:  # the client lets through whatever its layers raise
            raise Unreadable(f"{path}: {error}") from error
        if response.status == 404:
            return None
        if response.status >= 300:
            raise Unreadable(f"{path}: status {response.status}: {body[:200]!r}", response.status)
        try:
            return json.loads(body)
        except ValueError as error:
            raise Unreadable(f"{path}: no JSON") from error

    def items(self, path: str, query: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Objects of a collection."""
        found = self.get(path, query)
        return list(found["items"]) if found else []

    def of_service(self, namespace: str, service: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """JSON that a Service answers; `service` is NAME:PORT."""
        return self.get(f"/api/v1/namespaces/{namespace}/services/{service}/proxy{path}", query)
