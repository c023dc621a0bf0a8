"""Routers follow `status.traffic` within a moment, and users keep their version while its weight grows.

The operator is away, so that the weights are the story's.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import aiohttp
import numpy as np

from stories.installation import Headgate
from stories.models import GROUP, Model, ladder, merged, ready

ROUTERS = 4
CHANGES = 25
USERS = 10_000
WEIGHTS = (1, 5, 25, 50)
SPEC = merged(ladder((1, "1h")), {"traffic": {"routers": ROUTERS, "affinity": {"header": "x-user-id"}}})

INFER = "/v2/models/census/infer"
ROW = json.dumps({"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [1] * 16}]}).encode()
EVERY = 0.005
"""Seconds between two looks at a router."""


@dataclass(frozen=True)
class Split:
    """A model whose weights are set by hand."""

    census: Model
    stable: str
    candidate: str

    def set(self, weight: float) -> float:
        """The candidate's part in percent; when the API server was told."""
        traffic = [
            {"revision": self.stable, "role": "stable", "weight": 100 - weight},
            {"revision": self.candidate, "role": "candidate", "weight": weight},
        ]
        asked = time.monotonic()
        path = f"{GROUP}/namespaces/{self.census.namespace}/modeldeployments/{self.census.name}/status"
        self.census.world.api.merge(path, {"status": {"traffic": traffic}})
        return asked

    def routers(self) -> list[str]:
        """The addresses of the routers that are ready."""
        names = ready(self.census.pods("router"))
        return [
            f"http://{pod['status']['podIP']}:8080"
            for pod in self.census.pods("router")
            if pod["metadata"]["name"] in names
        ]


def test_routers_follow_at_once_and_users_keep_their_version(headgate: Headgate, namespace: str) -> None:
    census = headgate.model(namespace, **SPEC)
    census.ask_for(headgate.world.artifact("v1"))
    v1 = census.until_stable("v1").revision_of("v1")
    census.ask_for(headgate.world.artifact("v2"))
    split = Split(census, v1, census.until_canary("v2").revision_of("v2"))
    with headgate.without("operator"):
        follow_at_once(asyncio.run(seconds_to_follow(split)))
        stay(asyncio.run(versions_by_weight(split)))
    headgate.ready("operator")


def follow_at_once(seconds: Sequence[float]) -> None:
    """Of all routers and changes, counted from before the write."""
    percentiles = {p: f"{np.percentile(seconds, p) * 1000:.0f} ms" for p in (50, 90, 99, 100)}
    print(f"{len(seconds)} times a router followed: {percentiles}")
    assert len(seconds) == ROUTERS * CHANGES
    assert np.percentile(seconds, 99) < 0.1
    assert max(seconds) < 1.0


def stay(seen: Sequence[Sequence[bool]]) -> None:
    """`seen` says for each weight, user by user, who got the candidate."""
    for weight, now in zip(WEIGHTS, seen, strict=True):
        print(f"{weight} %: {100 * sum(now) / USERS:.2f} % of the users")
        assert abs(100 * sum(now) / USERS - weight) < 1
    for before, now in pairwise(seen):
        assert not any(had and not has for had, has in zip(before, now, strict=True)), "a user went back"


async def seconds_to_follow(split: Split) -> list[float]:
    """For each change and router, from before the write to the first answer that follows it."""
    found = []
    async with aiohttp.ClientSession() as session:
        watched = [Watched(session, router) for router in split.routers()]
        watching = [asyncio.create_task(router.watch()) for router in watched]
        for number in range(CHANGES):
            weight, expected = (100, split.candidate) if number % 2 else (0, split.stable)
            await asyncio.sleep(0.3)
            asked = await asyncio.to_thread(split.set, weight)
            await asyncio.sleep(1.2)
            found += [router.since(asked, expected) for router in watched]
        for task in watching:
            task.cancel()
    return found


@dataclass
class Watched:
    """Who answers at one router, and since when."""

    session: aiohttp.ClientSession
    address: str
    changes: list[tuple[float, str]] = field(default_factory=list)

    async def watch(self) -> None:
        while True:
            async with self.session.post(self.address + INFER, data=ROW) as response:
                assert response.status == 200
                revision = response.headers["x-headgate-revision"]
            if not self.changes or self.changes[-1][1] != revision:
                self.changes.append((time.monotonic(), revision))
            await asyncio.sleep(EVERY)

    def since(self, asked: float, expected: str) -> float:
        """Seconds from `asked` until the last change, which has to be one to `expected`; 0 if it was there before."""
        at, revision = self.changes[-1]
        assert revision == expected, f"{self.address} answers with {revision} and not with {expected}"
        return max(0.0, at - asked)


async def versions_by_weight(split: Split) -> list[list[bool]]:
    """For each weight, user by user over all routers in turn, whether the candidate answered."""
    seen: list[list[bool]] = []
    routers = split.routers()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=32)) as session:

        async def has_candidate(user: int) -> bool:
            where = routers[(user + len(seen)) % len(routers)]
            async with session.post(where + INFER, data=ROW, headers={"x-user-id": f"user-{user}"}) as response:
                assert response.status == 200
                return response.headers["x-headgate-revision"] == split.candidate

        for weight in WEIGHTS:
            split.set(weight)
            await asyncio.sleep(1)
            seen.append(list(await asyncio.gather(*map(has_candidate, range(USERS)))))
    return seen
