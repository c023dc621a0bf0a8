"""The router's agent: follows `status.traffic` and the pods of the revisions, and writes them down for Envoy.

`headgate-router-agent` starts here. Two caches wake the loop; each turn of it reads both, asks `step` what
Envoy should follow, and applies that. A split that can't be read changes nothing: Envoy goes on with the last good
one. Whatever else can't be read, or is refused by Envoy, is left as it was, and the split is followed all the same.
"""

import argparse
import asyncio
import json
import logging
import math
import random
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import load_incluster_config

from headgate.api import contract
from headgate_serving.listening import AUTO, bind_address
from headgate_serving.router.drain import Drain
from headgate_serving.router.envoy.acceptance import Acceptance
from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.envoy.config import Documents, Layout, bootstrap_document, names
from headgate_serving.router.envoy.config.pod_sockets import pod_secrets
from headgate_serving.router.envoy.discovery import Discovery
from headgate_serving.router.envoy.files import ClusterWatcher, XdsFolder
from headgate_serving.router.envoy.secret_watcher import SecretWatcher
from headgate_serving.router.envoy.standby import StandbyListener
from headgate_serving.router.envoy.step import Memory, step
from headgate_serving.router.errors import EnvoyBehind, RouterError
from headgate_serving.router.fallback.server import FallbackServer
from headgate_serving.router.kube import ObjectCache, Reflector, deployment_selection, slices_selection
from headgate_serving.router.metrics import Metrics
from headgate_serving.router.mirror.controller import MirrorController
from headgate_serving.router.policy.endpoints import Endpoints, endpoints_by_revision
from headgate_serving.router.policy.pod_tls import reachable
from headgate_serving.router.policy.protection import UNPROTECTED, Protection, add_arguments, protection_of
from headgate_serving.router.policy.traffic import Intent, parse_deployment
from headgate_serving.router.published import Published, read_published
from headgate_serving.router.web import Web

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
"""After how long to try again where Envoy was behind."""

ALONE_AFTER_SECONDS = 5.0
"""How long a router that has nothing to start with waits for the API server before it takes what was published."""


@dataclass
class Agent:
    """The loop between the caches and the folder."""

    model: str
    deployments: ObjectCache
    slices: ObjectCache
    folder: XdsFolder
    envoy: ClusterWatcher
    metrics: Metrics
    clock: Callable[[], float]
    protection: Protection = UNPROTECTED
    published: Callable[[], Published | None] = lambda: None
    notify: Callable[[Intent, Endpoints], None] = lambda *_: None
    """Called with each new intent before Envoy gets it. It must not raise, nor block."""
    fallback_server: FallbackServer | None = None
    acceptance: Acceptance = field(init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _served: bool = False
    """Whether requests have had somewhere to go here."""
    _alone: bool = False
    """Whether Envoy follows what was published."""
    _alone_from: float = field(init=False)
    _memory: Memory | None = None
    _routed: frozenset[str] = frozenset()
    """The revisions that requests may still reach."""
    _due_at: float | None = None
    """When there is something to do even if nothing changes."""
    _complaint: str = ""

    def __post_init__(self) -> None:
        self._alone_from = self.clock() + ALONE_AFTER_SECONDS
        self.acceptance = Acceptance(self.folder, self.envoy)

    async def run(self) -> None:
        """Run until cancelled, or until an unhandled error of a cache."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.deployments.run(self.wake))
            tasks.create_task(self.slices.run(self.wake))
            tasks.create_task(self._follow())

    def wake(self) -> None:
        """Called when something has changed: take the next turn now."""
        self._changed.set()

    async def ready(self) -> bool:
        """Whether Envoy follows routes that lead to a version, or to a fallback; from then on always.

        A router that has no certificate yet to show to pods takes no other one's place. Traffic that is empty or can't
        be read later takes no router out: it answers as well as any other.
        """
        if not self._served:
            served = self.folder.serves and self._can_show_who_it_is()
            self._served = served and await self.envoy.versions() == self.folder.versions
        return self._served

    def _can_show_who_it_is(self) -> bool:
        """Whether every Secret for pods was usable once."""
        documents = (
            name for secret in pod_secrets(self.protection.pods) for name in (secret.certificate, secret.authority)
        )
        return all(self.folder.version(self.folder.layout.secret(name)) for name in documents)

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            await self.turn()
            try:
                async with asyncio.timeout(None if self._due_at is None else self._due_at - self.clock()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def turn(self) -> bool:
        """Bring Envoy's files up to what is known; whether anything was written."""
        self._due_at = None
        before = self.folder.writes
        try:
            known = self._known()
            if known is None:
                return False
            intent = await self._bring_up(*known)
        except RouterError as error:
            self.metrics.errors.labels(self.metrics.namespace, self.metrics.model).inc()
            self._complain(str(error))
            if isinstance(error, EnvoyBehind):
                self._due_at = self.clock() + RETRY_SECONDS
            return False
        finally:
            written = self.folder.writes - before
            self.metrics.writes.labels(self.metrics.namespace, self.metrics.model).inc(written)
        if intent.ignored:
            self._complain("this agent can't follow " + "; ".join(intent.ignored))
        elif self._alone:
            self._complain("the API server can't be reached; the router follows what was published for this case")
        else:
            self._complaint = ""
        self.metrics.show_weights(intent)
        self.metrics.show_ignored(len(intent.ignored))
        if not self.acceptance.settled:
            self._due_at = min(self._due_at or math.inf, self.clock() + RETRY_SECONDS)
        if written:
            log.info("wrote %d files for %s", written, describe(intent))
        return written > 0

    def _known(self) -> tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]] | None:
        """The ModelDeployment and the EndpointSlices; None to go on as it is."""
        if self.deployments.synced and self.slices.synced:
            self._alone = False
            deployment = self.deployments.objects.get(self.model)
            if deployment is None and self.folder.complete:
                self._complain(f"ModelDeployment {self.model} is gone; the router goes on as it is")
                return None
            return deployment or {}, self.slices.objects.values()
        if self.folder.complete and not self._alone:
            return None
        self._due_at = max(self._alone_from, self.clock() + RETRY_SECONDS)
        if self.clock() < self._alone_from or (published := self.published()) is None:
            return None
        self._alone = True
        return published.deployment, published.slices

    async def _bring_up(self, deployment: Mapping[str, Any], slices: Iterable[Mapping[str, Any]]) -> Intent:
        due, wrong = self._due_at, list[str]()
        if self._memory is not None:
            self._memory = await self.acceptance.settle(self._memory)
        intent = self.acceptance.amended(parse_deployment(deployment, self.acceptance.last_good))
        self.folder.start_with(
            bootstrap_document(self.metrics.namespace, self.metrics.model, self.folder.layout, intent, self.protection)
        )
        routed = [target.revision for target in intent.targets]
        endpoints = reachable(endpoints_by_revision(slices, wrong.append), self.protection.pods, routed, wrong.append)
        memory = self._memory or Memory(self.folder.clusters(), {})
        self.notify(intent, endpoints)
        documents, self._memory = step(memory, intent, endpoints, self.clock(), self.protection.pods)
        known = frozenset(map(names.revision_of, documents.clusters))
        # Before Envoy can know of them, not after.
        self._show_routes(self._routed | known)
        # Nobody is sent to a fallback before it is there, or after it has gone.
        if self.fallback_server and intent.policy.fallback:
            await self.fallback_server.follow(intent.policy.fallback)
        await self._write(documents, intent, self._memory)
        if self.fallback_server and not intent.policy.fallback:
            await self.fallback_server.follow(intent.policy.fallback)
        self._due_at = min((at for at in (due, self._memory.next_due) if at is not None), default=None)
        if self._routed - known and not await self.envoy.follows(self.folder.version(self.folder.layout.routes)):
            self._due_at = self.clock() + RETRY_SECONDS
        else:
            self._show_routes(known)
        return replace(intent, ignored=(*intent.ignored, *wrong))

    async def _write(self, documents: Documents, intent: Intent, memory: Memory) -> None:
        self.acceptance.record(intent, memory)
        await self.folder.apply(documents, self.envoy)
        self.acceptance.record(intent, memory, self.folder.versions)
        self._memory = await self.acceptance.settle(memory)

    def _show_routes(self, revisions: frozenset[str]) -> None:
        self._routed = revisions
        self.metrics.show_routes(revisions)

    def _complain(self, text: str) -> None:
        """Say it once, not with every event."""
        if text != self._complaint:
            log.error("%s", text)
            self._complaint = text


def describe(intent: Intent) -> str:
    """For the log: `fraud-1a2b3c4d 90 %, fraud-9e8d7c6b 10 %`."""
    return ", ".join(f"{t.revision} {t.weight / 10:g} %" for t in intent.targets) or "no version"


class JsonLines(logging.Formatter):
    """A log line as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level and message; the traceback if there is one."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of the container."""
    parser = argparse.ArgumentParser(prog="headgate-router-agent", description="Follows a ModelDeployment.")
    parser.add_argument(contract.AgentArgument.NAMESPACE, required=True)
    parser.add_argument(contract.AgentArgument.MODEL, required=True, help="name of the ModelDeployment")
    parser.add_argument(contract.AgentArgument.POD, default=socket.gethostname(), help="name of this pod")
    parser.add_argument(
        contract.AgentArgument.XDS_FOLDER, required=True, type=PurePosixPath, help="folder shared with Envoy"
    )
    parser.add_argument(
        contract.AgentArgument.PUBLISHED, type=Path, help="file with what to start with where there is no API server"
    )
    parser.add_argument("--bind", default=AUTO, help="address to listen on, for Envoy too; auto: all, of IPv6 too")
    parser.add_argument("--port", default=contract.AGENT_PORT, type=int, help="the agent's own port")
    add_arguments(parser)
    return parser.parse_args(arguments)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    asyncio.run(_serve(parse_arguments(arguments)))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    layout, protection = Layout(options.xds_dir, bind_address(options.bind)), protection_of(options)
    folder = XdsFolder(layout)
    folder.prepare()
    admin = Admin(Path(layout.admin_socket))
    metrics = Metrics(options.namespace, options.model, options.pod)
    configuration = Configuration()
    load_incluster_config(configuration)  # type: ignore[no-untyped-call]
    async with ApiClient(configuration) as api:
        clock = time.monotonic
        deployments, slices = (
            Reflector(api, selection, clock, random.random)
            for selection in (
                deployment_selection(options.namespace, options.model),
                slices_selection(options.namespace, options.model),
            )
        )
        age = metrics.watch_age.labels(options.namespace, options.model, options.pod)
        age.set_function(lambda: max(deployments.age(), slices.age()))
        mirror = MirrorController(
            options.namespace, options.model, layout.copies_socket, metrics.registry, protection.pods
        )
        agent = Agent(
            options.model, deployments, slices, folder, admin, metrics, clock, protection, notify=mirror.follow
        )
        if options.published:
            agent.published = partial(read_published, options.published)
        agent.fallback_server = fallback_server = FallbackServer(
            options.namespace, options.model, folder, metrics.registry
        )
        discovery = Discovery(folder, partial(_refused, metrics, agent))
        agent.acceptance.refuses = discovery.refuses
        folder.changed = discovery.changed
        secrets = SecretWatcher(protection, folder, metrics.show_usable)
        secrets.check()
        envoys = await discovery.serve()
        await fallback_server.begin()
        served = await Web(lambda: folder.complete, agent.ready, metrics.registry).serve(layout.bind, options.port)
        drain = Drain(admin)
        drains = await drain.serve(layout.drain_socket)
        standby = StandbyListener(Path(layout.admin_socket), layout.bind, layout.inference_port, lambda: drain.on)
        try:
            await _until_terminated(_all(agent.run(), secrets.run(), standby.run()))
        finally:
            await mirror.close()
            await drain.close()
            await drains.cleanup()
            await served.cleanup()
            await fallback_server.cleanup()
            await envoys.cleanup()


def _refused(metrics: Metrics, agent: Agent) -> None:
    metrics.refusals.labels(metrics.namespace, metrics.model).inc()
    agent.wake()


async def _all(*parts: Coroutine[None, None, None]) -> None:
    async with asyncio.TaskGroup() as tasks:
        for part in parts:
            tasks.create_task(part)


async def _until_terminated(work: Coroutine[None, None, None]) -> None:
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        log.info("terminated; Envoy goes on with what is written")


if __name__ == "__main__":
    sys.exit(run())
