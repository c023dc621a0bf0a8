"""The operator's process: settings, health, election, and the work of the leader.

The process goes on whatever happens to the API server: who loses the lease stops its work and stands for election
again, and when kopf ends or a watch turns out to be broken, the work begins anew with a list. Only a signal ends it.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

import kopf

from headgate.api import API_VERSION, contract
from headgate.background import BackgroundReadings
from headgate.core.dataplane.envoy import EnvoyDataPlane
from headgate.edges.breaker import GuardedClient
from headgate.edges.events import Events
from headgate.edges.health import Admit, Health, application, everybody, listening
from headgate.edges.kube import ApiServer, Kube
from headgate.edges.lease import Connect, Election, LeaseSettings
from headgate.edges.metrics_access import MetricsAccess
from headgate.edges.prometheus import Prometheus
from headgate.edges.telemetry import Telemetry
from headgate.errors import HeadgateError, NotFound, WatchesBroken, cause_of, described
from headgate.handlers import register, watch
from headgate.informer import Informer
from headgate.observe import Observer
from headgate.queue import Order, Queue
from headgate.reconcile import Reconciler
from headgate.settings import Settings, read_settings
from headgate.status_writes import StatusWrites
from headgate.threads import in_thread
from headgate.user_signals import UserSignals

log = logging.getLogger("headgate")

RESYNC_EVERY = 300.0
"""Seconds between two full lists; what a silently broken watch missed is found by then."""

STUCK_AFTER = 600.0
"""Seconds that a key may be due while no worker ends anything; after that the process is started again."""

AGAIN_AFTER = 5.0
"""Seconds before something is tried again that the API server refused or did not answer."""

IDLE_APART = 0.1
"""Seconds between idle ModelDeployments after a list: a new leader applies their children one after the other."""

APART = (0.2, 1.0)
"""Seconds between two reconciliations of a ModelDeployment whose users wait, and of an idle one, however many events
its pods have."""

ENDS_WITHIN = 9.0
"""Seconds that each part has to end after it was cancelled."""


class Leader:
    """The work of one time as the leader: watches, lists, queue and workers. Nothing of it outlives the lease."""

    def __init__(self, operator: "Operator") -> None:
        self._settings = operator.settings
        self._kube = operator.kube
        self.telemetry = operator.telemetry
        self.informer = Informer(lambda plural, missed: self.telemetry.missed.labels(plural).inc(missed))
        self.queue = Queue(
            time.monotonic,
            lambda reason: self.telemetry.failures.labels(reason).inc(),
            Order(self.informer.users_wait, self._settings.workers, APART),
        )
        plane = EnvoyDataPlane()
        self._background = BackgroundReadings(
            operator.metrics, plane, self.queue.add, drift_every=self._settings.drift_seconds
        )
        defaults = self._settings.defaults
        users = UserSignals(
            operator.metrics if self._settings.user_signals else None, self._settings.prometheus_matchers
        )
        self.reconciler = Reconciler(
            self._kube,
            self.informer,
            Observer(operator.metrics, plane, defaults, self._settings.metrics_stale_seconds, user_signals=users),
            self._background,
            self.telemetry,
            operator.events,
            operator.statuses,
            lambda: operator.election.leading,
        )
        self.listed_at = time.monotonic()

    async def work(self) -> None:
        """Until cancelled. Raises HeadgateError where everything has to begin anew."""
        loop = asyncio.get_running_loop()
        registry = kopf.OperatorRegistry()
        register(registry, self.queue, self.informer, self.reconciler.child_changed, loop.call_soon_threadsafe)
        kopf_runs = partial(watch, registry, self._settings.identity, self._settings.namespaces)
        watching = asyncio.create_task(in_thread("kopf", kopf_runs), name="kopf")
        listing = asyncio.create_task(self._list_until_it_works(), name="list")
        tasks = {watching, listing}
        try:
            # Workers begin when everything was listed once: what is not known yet must not be taken for absent.
            await _first_of(tasks)
            tasks |= {
                asyncio.create_task(self.queue.work(self.reconciler.reconcile), name=f"worker-{number}")
                for number in range(self._settings.workers)
            }
            tasks.add(asyncio.create_task(self._resync(), name="resync"))
            await _first_of(tasks - {listing})
        finally:
            await _end(tasks)
            await self._background.close()

    async def _list_until_it_works(self) -> None:
        while True:
            try:
                return await self._list(first=True)
            except NotFound:
                raise  # the CustomResourceDefinitions are gone: to be waited for
            except HeadgateError as error:
                log.warning("what there is can't be listed: %s; again in %g s", cause_of(error), AGAIN_AFTER)
                await asyncio.sleep(AGAIN_AFTER)

    async def _list(self, first: bool = False) -> None:
        """List everything; what differs from what was known, and what users wait for, comes first."""
        differs = await self.informer.resync(self._kube, self._settings.everywhere)
        models = sorted(self.informer.models)
        at_once = {key for key in models if self.informer.users_wait(key)} | (set() if first else differs)
        for key in at_once:
            self.queue.add(key)
        for number, key in enumerate(key for key in models if key not in at_once):
            self.queue.add(key, number * IDLE_APART)
        self.listed_at = time.monotonic()

    async def _resync(self) -> None:
        while True:
            for _ in range(int(RESYNC_EVERY / 5)):
                self.telemetry.queue_depth.set(len(self.queue))
                self.telemetry.resync_age.set(time.monotonic() - self.listed_at)
                await asyncio.sleep(5)
            try:
                await self._list()
            except HeadgateError as error:
                log.warning("resync: %s", cause_of(error))
            if broken := self.informer.broken:
                raise WatchesBroken(f"the watches of {', '.join(broken)} missed what two lists have found")

    def health(self) -> Health:
        """Alive, while the lists go on and workers come to an end of what is due."""
        now = time.monotonic()
        if (age := now - self.listed_at) > 3 * RESYNC_EVERY:
            return Health(False, f"the last full list is {age:.0f} s old")
        overdue, ended = self.queue.overdue(), now - self.queue.ended_at
        if overdue > STUCK_AFTER and ended > STUCK_AFTER:
            return Health(
                False, f"a ModelDeployment waits for {overdue:.0f} s and no worker has ended for {ended:.0f} s"
            )
        return Health(True)

    def ready(self) -> Health:
        """Whether everything was listed, so that something is done."""
        if unsynced := self.informer.unsynced:
            return Health(False, f"leads, and has not listed {', '.join(unsynced)} yet")
        return Health(True, "leads")


class Operator:
    """All parts of the process, wired together."""

    def __init__(self, settings: Settings, kube: Kube, connect: Connect) -> None:
        self.settings = settings
        self.kube = kube
        self.telemetry = Telemetry()
        self.events = Events(kube, time.time, self.telemetry.lost_events.inc)
        self.statuses = StatusWrites(kube)
        self._guarded: dict[str, GuardedClient] = {}
        self.metrics = Prometheus(settings.prometheus, self._connect_guarded)
        self._gained, self._lost = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        self.election = Election(
            connect,
            LeaseSettings(settings.pod_namespace, settings.lease_name, settings.identity, settings.lease_seconds),
            time.monotonic,
            lambda leading: loop.call_soon_threadsafe(self._elected, leading),
        )
        self._leader: Leader | None = None
        self._waits_for = "has not asked for its CustomResourceDefinitions yet"

    def _connect_guarded(self, url: str, **options: Any) -> GuardedClient:
        def changed(_: bool) -> None:
            self.telemetry.prometheus_answers.set(not self._is_silent)

        self._guarded[url] = GuardedClient(f"{url}/api/v1/query?query=time()", changed, **options)
        return self._guarded[url]

    @property
    def _is_silent(self) -> bool:
        """Whether no Prometheus answers, of all that were asked."""
        return bool(self._guarded) and all(client.is_open for client in self._guarded.values())

    def _elected(self, leading: bool) -> None:
        (self._gained if leading else self._lost).set()
        (self._lost if leading else self._gained).clear()

    def healthy(self) -> Health:
        """The liveness probe."""
        return self._leader.health() if self._leader else Health(True, "stands by")

    def ready(self) -> Health:
        """The readiness probe: leads and knows what there is, or could take over at once."""
        if self._leader:
            ready = self._leader.ready()
            silent = "; Prometheus does not answer: rollouts hold" if self._is_silent else ""
            return Health(ready.well, ready.detail + silent)
        return Health(not self._waits_for, self._waits_for or "stands by")

    async def run(self) -> int:
        """Run until a signal comes; the process' exit status."""
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        app = application(self.telemetry.registry, self.healthy, self.ready, self._who_reads_metrics())
        async with listening(app, self.settings.port):
            stop = asyncio.create_task(stopped.wait(), name="signal")
            work = asyncio.create_task(self._work(), name="work")
            try:
                await _first_of({stop, work})
            finally:
                await _end({work, stop}, 2 * ENDS_WITHIN)
                await self.events.close()
                await self.metrics.close()
        return 0

    def _who_reads_metrics(self) -> Admit:
        if self.settings.metrics_authentication:
            return MetricsAccess(self.kube.create, self.settings.metrics_audience).admit
        return everybody

    async def _work(self) -> None:
        """Stand for election, once there is something to do, and lead whenever the lease is ours, for ever."""
        await self._crds_are_installed()
        log.info("%s stands for election by the lease %s", self.settings.identity, self.settings.lease_name)
        election = asyncio.create_task(in_thread("lease", self.election.run), name="lease")
        leading = asyncio.create_task(self._lead_when_elected(), name="leading")
        try:
            await _first_of({election, leading})
        finally:
            await _end({leading})  # before the lease is released: the next leader must not find us at work
            await _end({election})

    async def _lead_when_elected(self) -> None:
        while True:
            await self._gained.wait()
            log.info("%s leads", self.settings.identity)
            try:
                await _until(self._lost, self._lead())
            except Exception as error:
                log.warning("%s; the work begins anew", described(error), exc_info=not isinstance(error, HeadgateError))
                await asyncio.sleep(AGAIN_AFTER)
                await self._crds_are_installed()

    async def _lead(self) -> None:
        self._leader = Leader(self)
        self.telemetry.leading.set(1)
        try:
            await self._leader.work()
        finally:
            self._leader = None
            for gauge in (self.telemetry.leading, self.telemetry.queue_depth, self.telemetry.resync_age):
                gauge.set(0)
            self.telemetry.forget_all()

    async def _crds_are_installed(self) -> None:
        """Wait for them: with GitOps the operator may well be there first."""
        while why := await self._missing():
            if why != self._waits_for:
                log.warning("%s; asking again every %g s", why, AGAIN_AFTER)
            self._waits_for = why
            self.telemetry.waits_for_crds.set(1)
            await asyncio.sleep(AGAIN_AFTER)
        self._waits_for = ""
        self.telemetry.waits_for_crds.set(0)

    async def _missing(self) -> str:
        """Why there is nothing to work on; empty if there is. kopf goes by discovery, which may be later than lists."""
        kinds = {contract.DEPLOYMENTS: "ModelDeployment", "modelrevisions": "ModelRevision"}
        try:
            resources = await self.kube.resources(API_VERSION)
            if missing := [kind for plural, kind in kinds.items() if plural not in resources]:
                return f"waits for the CustomResourceDefinitions of {' and '.join(missing)}: install the chart's crds"
            for kind in kinds.values():
                await self.kube.list(API_VERSION, kind, self.settings.everywhere[0], {})
        except NotFound:
            return f"waits until {API_VERSION} can be listed"
        except HeadgateError as error:
            return f"can't list {API_VERSION}: {cause_of(error)}"
        return ""


async def _until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Work until it ends or the event comes. Raises what the work raises."""
    task, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await _first_of({task, waiting})
    finally:
        await _end({task, waiting})


async def _first_of(tasks: "set[asyncio.Task[Any]]") -> None:
    """Wait until one of them ends. Raises what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _end(tasks: set["asyncio.Task[Any]"], within: float = ENDS_WITHIN) -> None:
    for task in tasks:
        task.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await asyncio.gather(*tasks, return_exceptions=True)


async def _main() -> int:
    settings = read_settings(os.environ)
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)  # that it takes no signals in a thread
    logging.getLogger("httpx").setLevel(logging.WARNING)
    kube = await ApiServer.connect()
    try:
        return await Operator(settings, kube, ApiServer.connect).run()
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
