"""What became of rollouts at a real API server: each status that was ever written, and what is left at the end."""

import asyncio
import json
from collections import Counter, defaultdict
from contextlib import suppress
from itertools import groupby, pairwise
from typing import Any

from aiohttp import ClientSession, ClientTimeout, TCPConnector

from headgate.api.status import Status
from headgate.core import report
from models_there import GROUP
from real_apiserver import ADMIN, Cluster

TOLD = "/api/v1/namespaces/models/events"
PASSING = frozenset(
    {"ChildRefused", "RecordsUnknown", "MetricsUnavailable", "MetricsAvailable", "RoutersBehind", "WaitingForRouters",
     "ForeignPods"}
)  # fmt: skip
"""Reasons of events that tell of the trouble itself."""

_LOOKED_AT_LATELY = frozenset({"DriftDetected", "ForeignMetrics"})
"""Conditions that say what was found when somebody looked last, and that nobody has looked yet."""

Told = Counter[tuple[str, str, str, str]]
"""Kubernetes events by model, type, reason and message."""


class Record:
    """Follows all ModelDeployments from before the first one."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.statuses: dict[str, list[Status]] = defaultdict(list)
        """By model, in the order in which they were written."""

    async def __aenter__(self) -> "Record":
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _follow(self) -> None:
        url = f"{self._cluster.url}{GROUP}/modeldeployments?watch=true&timeoutSeconds=3600&resourceVersion=0"
        headers = {"Authorization": f"Bearer {self._cluster.tokens[ADMIN]}"}
        timeout = ClientTimeout(total=None)
        session = ClientSession(connector=TCPConnector(ssl=False), timeout=timeout, read_bufsize=1 << 24)
        async with session, session.get(url, headers=headers) as answer:
            async for line in answer.content:
                told = json.loads(line)
                assert told["type"] != "ERROR", told
                item = told["object"]
                found, known = Status.read(item.get("status") or {}), self.statuses[item["metadata"]["name"]]
                if not known or known[-1] != found:
                    known.append(found)
        raise AssertionError("the record has a gap")

    def has_ended(self, model: str, version: str) -> bool:
        """Whether the rollout of a version is decided."""
        if self._task.done():
            self._task.result()
        status = self.statuses[model][-1] if self.statuses[model] else Status()
        if status.rollout is None or status.rollout.version != version:
            return False
        return status.phase in ("Stable", "RolledBack")

    def has_settled(self, model: str) -> bool:
        """Whether nothing is left to be done."""
        return not self.statuses[model][-1].retiring

    def due(self) -> Told:
        """The Kubernetes events that tell of these statuses."""
        return Counter(
            (model, event.type, event.reason, event.message[:1024])
            for model, statuses in self.statuses.items()
            for before, after in pairwise(statuses)
            for event in report.events(before, after)
        )

    def told(self) -> Told:
        """Those that are stored."""
        return Counter(
            (each["involvedObject"]["name"], each["type"], each["reason"], each["message"])
            for each in self._cluster.request("GET", TOLD)["items"]
        )

    def weights(self, model: str) -> dict[str, list[float]]:
        """The candidate's weights over time, by version."""
        found: dict[str, list[float]] = defaultdict(list)
        for status in self.statuses[model]:
            if status.candidate and status.candidateWeight is not None:
                found[status.candidate.version].append(status.candidateWeight)
        return {version: [weight for weight, _ in groupby(weights)] for version, weights in found.items()}

    def end(self, model: str) -> dict[str, Any]:
        """What has to be the same whatever happened in between."""
        status = self.statuses[model][-1]
        revisions = [
            each
            for each in self._cluster.request("GET", f"{GROUP}/modelrevisions")["items"]
            if each["metadata"]["labels"]["headgate.dev/model"] == model
        ]
        told = Counter(
            (type_, reason, message.partition(":")[0])
            for (name, type_, reason, message), count in self.told().items()
            for _ in range(count)
            if name == model and reason not in PASSING
        )
        return {
            "phase": status.phase,
            "stable": status.stable and status.stable.version,
            "rollout": status.rollout and (status.rollout.version, status.rollout.phase, status.rollout.reason),
            "traffic": [(each.role, each.weight) for each in status.traffic],
            "history": [(each.version, each.decision, each.reason) for each in status.history],
            "conditions": {c.type: (c.status, c.reason) for c in status.conditions if c.type not in _LOOKED_AT_LATELY},
            "revisions": {
                each["spec"]["model"]["version"]: (
                    each["status"]["state"],
                    [(one["decision"], one["reason"]) for one in each["status"].get("decisions", [])],
                )
                for each in revisions
            },
            "events": told,
        }
