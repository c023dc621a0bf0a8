"""`make bench-follow`: how soon all routers follow a new `status.traffic`, on the embedded cluster.

The time counts from before the API server is told to the first answer of a router that is another version's. Each
router pod is asked all the time, so the asking takes a part of the cores, and a time is up to five milliseconds too
long.
"""

import argparse
import asyncio
import sys
import time
from dataclasses import dataclass, field

import aiohttp
import numpy as np

from bench.serving.process import end_cleanly
from stories.installation import Headgate
from stories.split import INFER, ROW, Split, split_by_hand
from stories.world import World, delete_namespace, new_namespace
from tools.cluster import Cluster

EVERY = 0.005
"""Seconds between two looks at a router."""
PATIENCE = 1.2
"""Seconds that a change is given."""


def main() -> int:
    """Print the percentiles; 1 if a router did not follow at all."""
    parser = argparse.ArgumentParser("bench.router.follow", description=__doc__)
    parser.add_argument("--routers", type=int, default=4, help="pods (default %(default)s)")
    parser.add_argument("--changes", type=int, default=50, help="of the weight (default %(default)s)")
    args = parser.parse_args()
    end_cleanly()
    cluster = Cluster.ensure()
    cluster.enter()
    world = World.on(cluster)
    headgate = Headgate.install(world)
    namespace = new_namespace(cluster, "follow")
    try:
        with split_by_hand(headgate, namespace, routers=args.routers) as split:
            seconds = asyncio.run(seconds_to_follow(split, args.changes))
    finally:
        delete_namespace(cluster, namespace)
        delete_namespace(cluster, world.place)
    for percentile in (50, 90, 99, 100):
        print(f"{percentile:3} % within {1000 * np.percentile(seconds, percentile):.0f} ms")
    late = sum(each > PATIENCE for each in seconds)
    print(f"{args.routers} routers, {args.changes} changes; {late} times a router did not follow")
    return 1 if late else 0


async def seconds_to_follow(split: Split, changes: int) -> list[float]:
    """For each change and router, from before the write to the first answer that follows it."""
    found = []
    async with aiohttp.ClientSession() as session:
        watched = [Watched(session, router) for router in split.routers()]
        watching = [asyncio.create_task(router.watch()) for router in watched]
        for number in range(changes):
            weight, expected = (100, split.candidate) if number % 2 else (0, split.stable)
            await asyncio.sleep(0.3)
            asked = await asyncio.to_thread(split.set, weight)
            await asyncio.sleep(PATIENCE)
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
        """Seconds from `asked` until `expected` answered; infinite if it does not yet, 0 if it did before."""
        at, revision = self.changes[-1]
        return max(0.0, at - asked) if revision == expected else float("inf")


if __name__ == "__main__":
    sys.exit(main())
