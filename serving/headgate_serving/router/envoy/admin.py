"""Asks Envoy, through its admin socket, what it has taken over; and tells it to let its clients go.

`files` asks before routes name new clusters; the agent's `drain` calls `drain`. Envoy may not run yet:
then there is nobody to wait for.
"""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

POLL_SECONDS = 0.01

_CLUSTERS, _VERSION, _WARMING = "cluster_manager", "cds.version_text", "warming_clusters"
_ROUTES = "http.inference.rds.headgate"


class Admin:
    """Envoy's admin interface on a Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def version(self, of: str) -> str | None:
        """The version of `cds` or `rds.headgate` that Envoy follows, or None when it isn't there to ask."""
        stats = await self._stats(rf"\.{of}\.version_text$")
        return None if stats is None else next((str(value) for value in stats.values()), "")

    async def versions(self) -> tuple[str, str] | None:
        """Of `cds` and `rds.headgate`, both at a time; None when there is no Envoy."""
        stats = await self._stats(rf"^({_CLUSTERS}\.cds|{_ROUTES})\.version_text$")
        if stats is None:
            return None
        return str(stats.get(f"{_CLUSTERS}.{_VERSION}", "")), str(stats.get(f"{_ROUTES}.version_text", ""))

    async def has_refused(self) -> bool:
        """Whether this Envoy has ever refused clusters or routes."""
        stats = await self._stats(rf"^({_CLUSTERS}\.cds|{_ROUTES})\.update_rejected$")
        return stats is not None and any(stats.values())

    async def wait_for_clusters(self, version: str, seconds: float) -> bool:
        """Whether Envoy follows `version` of CDS within `seconds`, and knows the pods of all clusters.

        At once when there is no Envoy.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while (stats := await self._stats(rf"^{_CLUSTERS}\.({_VERSION}|{_WARMING})$")) is not None:
            if stats.get(f"{_CLUSTERS}.{_VERSION}") == version and not stats.get(f"{_CLUSTERS}.{_WARMING}"):
                return True
            if loop.time() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def started(self) -> bool:
        """Whether Envoy takes connections."""
        stats = await self._stats(r"^listener_manager\.workers_started$")
        return stats is not None and 1 in stats.values()

    async def follows(self, version: str) -> bool:
        """Whether Envoy follows `version` of its routes; one that doesn't run will ask for the newest."""
        return await self.version("rds.headgate") in {version, None}

    async def drain(self, *, on: bool) -> bool:
        """Whether Envoy now closes each connection with its next answer; new ones are still served."""
        return await self._ask("POST", "/healthcheck/fail" if on else "/healthcheck/ok") is not None

    async def _stats(self, name: str) -> dict[str, Any] | None:
        """Values of the stats whose name the expression finds; None when there is no Envoy."""
        text = await self._ask("GET", f"/stats?filter={quote(name)}&format=json")
        if text is None:
            return None
        found: list[dict[str, Any]] = json.loads(text)["stats"]
        return {str(stat["name"]): stat["value"] for stat in found if "name" in stat}

    async def _ask(self, method: str, path: str) -> str | None:
        if not self._socket.exists():
            return None
        limit = aiohttp.ClientTimeout(total=2)
        connector = aiohttp.UnixConnector(path=str(self._socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=limit) as session,
                session.request(method, f"http://envoy{path}") as response,
            ):
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
