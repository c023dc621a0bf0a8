"""The operator's process: settings, health, the lease, then kopf, the queue's workers and the resync.

Ends when any of them ends: the lease is lost, kopf stops, or a signal comes. Kubernetes starts it again.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from contextlib import suppress
from typing import Any, cast

import kopf

from headgate.api import API_VERSION
from headgate.core.model import Defaults
from headgate.edges.kube import ApiServer, Kube
from headgate.edges.lease import Elector, LeaseSettings
from headgate.edges.prometheus import Prometheus
from headgate.edges.telemetry import Health, HealthServer, Telemetry
from headgate.errors import HeadgateError
from headgate.handlers import Informer, kopf_settings, register
from headgate.observe import Observer
from headgate.queue import Key, Queue
from headgate.reconcile import Reconciler
from headgate.settings import Settings, read_settings

log = logging.getLogger("headgate")

RESYNC_EVERY = 300.0
"""Seconds between two full lists; what a silently broken watch missed is found by then."""


class Operator:
    """All parts of the process, wired together."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self.settings = settings
        self.kube = kube
        self.telemetry = Telemetry()
        self.metrics = Prometheus(settings.prometheus_url)
        self.elector = Elector(
            kube,
            LeaseSettings(settings.pod_namespace, settings.lease_name, settings.identity, settings.lease_seconds),
            time.monotonic,
        )
        self.queue = Queue(time.monotonic, lambda reason: self.telemetry.failures.labels(reason).inc())
        self.informer = Informer()
        defaults = Defaults(settings.serving_image, settings.envoy_image, settings.image_pull_policy)
        self.reconciler = Reconciler(
            kube,
            Observer(self.informer, self.metrics, defaults, settings.metrics_stale_seconds),
            self.telemetry,
            lambda: self.elector.leading,
        )
        self.resynced_at = time.monotonic()

    def healthy(self) -> Health:
        """Alive: while leading, the resync must not hang."""
        age = time.monotonic() - self.resynced_at
        if self.elector.leading and age > 3 * RESYNC_EVERY:
            return Health(False, f"the last full list is {age:.0f} s old")
        return Health(True)

    async def run(self) -> int:
        """Run until something ends; the process' exit status."""
        server = HealthServer(self.telemetry, self.healthy, lambda: Health(True))
        await server.start(self.settings.port)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        stop = asyncio.create_task(stopped.wait(), name="signal")
        try:
            log.info("%s waits for the lease %s", self.settings.identity, self.settings.lease_name)
            acquired = asyncio.create_task(self.elector.acquire(), name="acquire")
            await asyncio.wait({acquired, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not acquired.done():
                acquired.cancel()
                return 0
            acquired.result()
            log.info("%s leads", self.settings.identity)
            return await self._lead(stop)
        finally:
            await self.elector.release()
            await server.stop()
            await self.metrics.close()

    async def _lead(self, stop: "asyncio.Task[object]") -> int:
        self.telemetry.leading.set(1)
        registry = kopf.OperatorRegistry()
        register(registry, self.queue, self.informer, self.reconciler.child_changed)
        tasks = {
            stop,
            asyncio.create_task(self.elector.keep(), name="lease"),
            asyncio.create_task(
                kopf.operator(
                    registry=registry,
                    settings=kopf_settings(),
                    standalone=True,
                    identity=cast(Any, self.settings.identity),  # kopf would ask the system for a user's name
                    clusterwide=not self.settings.namespaces,
                    namespaces=self.settings.namespaces,
                ),
                name="kopf",
            ),
            asyncio.create_task(self._resync(), name="resync"),
            *(
                asyncio.create_task(self.queue.work(self.reconciler.reconcile), name=f"worker-{i}")
                for i in range(self.settings.workers)
            ),
        }
        done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        names = ", ".join(t.get_name() for t in done)
        log.info("ending: %s ended", names)
        for task in running:
            task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(8):
                await asyncio.gather(*running, return_exceptions=True)
        for task in done:
            task.result()
        return 0 if stop in done or any(t.get_name() == "kopf" for t in done) else 1

    async def _resync(self) -> None:
        while True:
            everywhere: list[str | None] = [None]
            for namespace in self.settings.namespaces or everywhere:
                try:
                    for item in await self.kube.list(API_VERSION, "ModelDeployment", namespace, {}):
                        self.queue.add(Key(item["metadata"]["namespace"], item["metadata"]["name"]), after=5.0)
                except HeadgateError as error:
                    log.warning("resync: %s", error)
                else:
                    self.resynced_at = time.monotonic()
            for _ in range(int(RESYNC_EVERY / 5)):
                self.telemetry.queue_depth.set(len(self.queue))
                self.telemetry.resync_age.set(time.monotonic() - self.resynced_at)
                await asyncio.sleep(5)


async def _main() -> int:
    settings = read_settings(os.environ)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    kube = await ApiServer.connect()
    try:
        return await Operator(settings, kube).run()
    finally:
        await kube.close()


def main() -> int:
    """Entry point."""
    try:
        return asyncio.run(_main())
    except HeadgateError as error:
        print(f"headgate: {error.reason}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
