"""Asks Envoy, through its admin socket, what it has taken over; and tells it to let its clients go.

`files` asks before routes name new clusters; the drain handler of `web` calls `drain`. Envoy may not run yet:
then there is nobody to wait for.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp

POLL_SECONDS = 0.01


class Admin:
    """Envoy's admin interface on a Unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def version(self, of: str) -> str | None:
        """The version of `cds` or `rds.headgate` that Envoy follows, or None when it isn't there to ask."""
        text = await self._ask("GET", f"/stats?filter={of}.version_text&type=TextReadouts&format=json")
        if text is None:
            return None
        stats: list[dict[str, Any]] = json.loads(text)["stats"]
        return next((str(stat["value"]) for stat in stats if stat["name"].endswith(".version_text")), "")

    async def wait_for_clusters(self, version: str, patience: float) -> bool:
        """Whether Envoy follows `version` of CDS within `patience` seconds; at once when there is no Envoy."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while (current := await self.version("cds")) is not None:
            if current == version:
                return True
            if loop.time() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def active_requests(self) -> int:
        """How many requests are under way; 0 when there is no Envoy."""
        text = await self._ask("GET", "/stats?filter=inference.downstream_rq_active&format=json")
        stats: list[dict[str, Any]] = json.loads(text)["stats"] if text else []
        return sum(int(stat.get("value", 0)) for stat in stats)

    async def drain(self, *, on: bool) -> bool:
        """Whether Envoy now closes each connection with its next answer; new ones are still served."""
        return await self._ask("POST", "/healthcheck/fail" if on else "/healthcheck/ok") is not None

    async def _ask(self, method: str, path: str) -> str | None:
        if not self._socket.exists():
            return None
        timeout = aiohttp.ClientTimeout(total=2)
        connector = aiohttp.UnixConnector(path=str(self._socket))
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(method, f"http://envoy{path}") as response,
            ):
                return await response.text() if response.ok else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None
