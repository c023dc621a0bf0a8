"""Keeps the documents that Envoy follows: changed only when they differ, whole, and in an order that is safe.

The agent calls `apply` with what `config.render` made; `discovery` hands the documents to Envoy. Endpoints come
first, then clusters, then routes, so that no route ever names what is not there; what is no longer needed goes in
the opposite order, which `linger` sees to. Everything Envoy follows is in these files, so an agent that starts anew
finds its own past in them, and has answers for Envoy before the API server has any for it.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import orjson

from headgate_serving.router.envoy.config import Documents, Layout
from headgate_serving.router.envoy.config.documents import discovery_response, routed_clusters
from headgate_serving.router.errors import EnvoyBehind

ENVOY_TIMEOUT_SECONDS = 2.0
"""How long routes wait for Envoy to know their clusters. Envoy needs milliseconds."""


class ClusterWatcher(Protocol):
    """Tells which clusters and routes Envoy follows."""

    async def wait_for_clusters(self, version: str, seconds: float) -> bool:
        """Whether Envoy follows `version` within `seconds`."""

    async def follows(self, version: str) -> bool:
        """Whether Envoy follows `version` of its routes now."""

    async def versions(self) -> tuple[str, str] | None:
        """What Envoy follows of its clusters and of its routes; None when there is no Envoy."""

    async def has_refused(self) -> bool:
        """Whether this Envoy has ever refused clusters or routes."""


@dataclass
class XdsFolder:
    """The shared folder."""

    layout: Layout
    changed: Callable[[PurePosixPath], None] = lambda _: None
    writes: int = 0
    _texts: dict[PurePosixPath, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Make the folders, and read what an earlier agent left."""
        folders = [Path(self.layout.root), Path(self.layout.endpoints("any")).parent]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            for path in folder.iterdir():
                if path.name.startswith("."):
                    path.unlink()
                elif path.suffix in {".json", ".yaml"}:
                    self._texts[PurePosixPath(path)] = path.read_text()

    def start_with(self, bootstrap: Mapping[str, Any]) -> None:
        """Write what Envoy reads once, when it starts."""
        self.put(self.layout.bootstrap, orjson.dumps(bootstrap, option=orjson.OPT_SORT_KEYS).decode())

    @property
    def complete(self) -> bool:
        """Whether Envoy finds all that it needs to start."""
        needed = (self.layout.bootstrap, self.layout.clusters, self.layout.routes)
        return all(path in self._texts for path in needed)

    def text(self, path: PurePosixPath) -> str | None:
        """A document as it is now."""
        return self._texts.get(path)

    def version(self, path: PurePosixPath) -> str:
        """Of a document; empty where there is none."""
        text = self.text(path)
        return str(orjson.loads(text)["version_info"]) if text else ""

    @property
    def versions(self) -> tuple[str, str]:
        """Of clusters and routes."""
        return self.version(self.layout.clusters), self.version(self.layout.routes)

    @property
    def serves(self) -> bool:
        """Whether the routes lead somewhere: to a version, or to the fallback."""
        tables = self._resources(self.layout.routes)
        hosts = [host for table in tables for host in table.get("virtual_hosts", ())]
        return any("route" in route for host in hosts for route in host.get("routes", ()))

    def clusters(self) -> dict[str, dict[str, Any]]:
        """The clusters as they are written now, by name."""
        return {cluster["name"]: cluster for cluster in self._resources(self.layout.clusters)}

    async def apply(self, documents: Documents, envoy: ClusterWatcher) -> None:
        """Write what changed. EnvoyBehind if Envoy doesn't take new clusters: it then keeps its routes."""
        known = self.clusters().keys() & self._routed()
        for service, document in documents.endpoints.items():
            self.put(self.layout.endpoints(service), discovery_response(document)[0])
        text, version = discovery_response(*documents.clusters.values())
        self.put(self.layout.clusters, text)
        if documents.routed - known and not await envoy.wait_for_clusters(version, ENVOY_TIMEOUT_SECONDS):
            raise EnvoyBehind(f"Envoy doesn't follow version {version} of its clusters; the routes stay")
        self.put(self.layout.routes, discovery_response(documents.routes)[0])
        self._remove_endpoints_but(documents.endpoints.keys())

    def put(self, path: PurePosixPath, text: str) -> None:
        """Write beside and rename over, unless it is there already."""
        if self._texts.get(path) == text:
            return
        beside = Path(path.parent, f".{path.name}")
        beside.write_text(text)
        os.replace(beside, path)  # noqa: PTH105 (PurePosixPath)
        self._texts[path] = text
        self.writes += 1
        self.changed(path)

    def put_in_memory(self, path: PurePosixPath, text: str) -> None:
        """Keep a document in memory, without a file: for credentials."""
        if self._texts.get(path) != text:
            self._texts[path] = text
            self.changed(path)

    def _remove_endpoints_but(self, services: Iterable[str]) -> None:
        kept = {self.layout.endpoints(service) for service in services}
        folder = self.layout.endpoints("any").parent
        for path in [path for path in self._texts if path.parent == folder and path not in kept]:
            Path(path).unlink(missing_ok=True)
            del self._texts[path]

    def _routed(self) -> frozenset[str]:
        return frozenset().union(*(routed_clusters(routes) for routes in self._resources(self.layout.routes)))

    def _resources(self, path: PurePosixPath) -> list[Any]:
        """What is in a file now; nothing if it isn't there, or if an agent of another version left it torn."""
        try:
            resources: list[Any] = orjson.loads(self._texts.get(path, "{}")).get("resources", [])
        except ValueError:
            return []
        return resources
