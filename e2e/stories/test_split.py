"""Ten thousand users keep their version while its weight grows. The operator is away: the weights are the story's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import aiohttp

from stories.installation import Headgate
from stories.split import INFER, ROW, Split, split_by_hand

USERS = 10_000
WEIGHTS = (1, 5, 25, 50)


def test_users_keep_their_version_while_its_weight_grows(headgate: Headgate, namespace: str) -> None:
    with split_by_hand(headgate, namespace, affinity={"header": "x-user-id"}) as split:
        seen = asyncio.run(versions_by_weight(split))
    for weight, now in zip(WEIGHTS, seen, strict=True):
        print(f"{weight} %: {100 * sum(now) / USERS:.2f} % of the users")
        assert abs(100 * sum(now) / USERS - weight) < 1
    for before, now in pairwise(seen):
        assert not went_back(before, now)


def went_back(before: Sequence[bool], now: Sequence[bool]) -> int:
    """How many users had the candidate, and have it no more."""
    return sum(had and not has for had, has in zip(before, now, strict=True))


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
