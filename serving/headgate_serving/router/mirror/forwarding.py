"""Sends samples to the monitors beside the engines: to any pod of the version that answered, several at a time.

Bins of a version are added up over its pods, so it does not matter which of them counts. What comes faster than the
monitors take it waits in a queue that is bounded in number and bytes; what is more is dropped and counted.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from itertools import count
from types import TracebackType
from typing import Self

import aiohttp

from headgate_serving.router.mirror.bounds import BoundedQueue, ByteBudget
from headgate_serving.router.mirror.exchange import Exchange
from headgate_serving.router.mirror.series import SampleSeries
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.sidecar.batch import PATH, Sample, in_batches, packed

log = logging.getLogger(__name__)

MOST_WAITING = 256
TOGETHER_SECONDS = 0.5
"""How long the first of a batch waits for others: a batch costs both sides little more than one of them."""
_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Forwarding:
    """Takes copies from its begin to its end, as a context."""

    def __init__(self, budget: ByteBudget, series: SampleSeries) -> None:
        self._series = series
        self._pods: Mapping[str, Sequence[Endpoint]] = {}
        self._queue = BoundedQueue(MOST_WAITING, budget)
        self._turn = count()
        self._complaint = ""

    async def __aenter__(self) -> Self:
        """Ready for copies."""
        self._session = aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar())
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """No copies; what waits is let go."""
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        self._queue.done(*self._queue.drain())
        await self._session.close()

    def follow(self, pods: Mapping[str, Sequence[Endpoint]]) -> None:
        """Where the monitors of each sampled revision are now."""
        self._pods = {name: [pod for pod in found if pod.samples_port] for name, found in pods.items()}

    def take(self, exchange: Exchange) -> None:
        """Queue a copy, or count why not."""
        if reason := self._queue.put(exchange):
            self._series.count(reason)

    async def _work(self) -> None:
        while True:
            together = [await self._queue.get()]
            try:
                await asyncio.sleep(TOGETHER_SECONDS)
                together += self._queue.drain()
                await self._send_all(together)
            except Exception:  # one strange batch must not end the worker
                log.exception("unhandled error: samples could not be sent")
            finally:
                self._queue.done(*together)

    async def _send_all(self, exchanges: Sequence[Exchange]) -> None:
        for revision in {exchange.revision for exchange in exchanges}:
            samples = [
                Sample(exchange.request, exchange.answer, exchange.is_grpc)
                for exchange in exchanges
                if exchange.revision == revision
            ]
            for batch in in_batches(samples):
                await self._send(revision, batch)

    async def _send(self, revision: str, batch: Sequence[Sample]) -> None:
        pods = self._pods.get(revision)
        if not pods:
            self._series.count("no-pod", len(batch))
            return
        pod = pods[next(self._turn) % len(pods)]
        url = f"http://{pod.authority(pod.samples_port)}{PATH}"
        try:
            async with self._session.post(url, data=packed(batch)) as answer:
                answer.raise_for_status()
                counted = int((await answer.json())["counted"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            self._series.count("failed", len(batch))
            if self._complaint != (complaint := f"the monitor of {revision} takes no samples: {error!r}"):
                log.warning("%s", complaint)
                self._complaint = complaint
            return
        self._complaint = ""
        self._series.count("counted", counted)
        self._series.count("unreadable", len(batch) - counted)
