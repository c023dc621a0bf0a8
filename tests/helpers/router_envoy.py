"""A real Envoy on loopback, configured through the same code as in a pod."""

import asyncio
import json
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import aiohttp
from prometheus_client import CollectorRegistry

from headgate.api.policy import Policy
from headgate_serving.router.envoy.admin import Admin
from headgate_serving.router.envoy.config import Layout, bootstrap_document
from headgate_serving.router.envoy.config.documents import discovery_response
from headgate_serving.router.envoy.files import XdsFolder
from headgate_serving.router.envoy.step import LINGER_SECONDS, Memory, step
from headgate_serving.router.errors import EnvoyBehind
from headgate_serving.router.fallback.server import FallbackServer
from headgate_serving.router.policy.endpoints import Endpoint
from headgate_serving.router.policy.protection import UNPROTECTED, Protection
from headgate_serving.router.policy.traffic import Intent
from loopback import discovering
from patience import PATIENCE, PATIENT_MS, eventually
from ports import free_port
from router_policies import with_policy
from tools.setup import envoy

NAMESPACE, MODEL = "ns", "fraud"
VERSION = "/version-of-the-routes"
_versions = count()
SLOW_MS = 35
"""No edge of the histogram by itself."""
BUDGET_MS = 6000
"""A latency budget for tests in which somebody hangs: each share is longer than a busy machine lets anybody wait."""


@dataclass
class Router:
    """Envoy and, in place of the agent's loop, `follow`."""

    layout: Layout
    folder: XdsFolder
    protection: Protection = UNPROTECTED
    memory: Memory = field(default_factory=lambda: Memory({}, {}))
    places: dict[str, str] = field(default_factory=dict)
    """Where other models are: `simple` over REST, `simple/grpc` over gRPC; nobody is where nothing is said."""
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    loop: asyncio.AbstractEventLoop | None = None
    """The agent's, while it answers."""
    _version: str = ""

    def __post_init__(self) -> None:
        self.fallback_server = FallbackServer(
            NAMESPACE,
            MODEL,
            self.folder,
            self.registry,
            lambda name: self.places.get(name, "http://127.0.0.1:1"),
            lambda name: self.places.get(f"{name}/grpc", "127.0.0.1:1"),
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.layout.inference_port}"

    @property
    def admin(self) -> Admin:
        return Admin(Path(self.layout.admin_socket))

    async def follow(self, intent: Intent, endpoints: Mapping[str, tuple[Endpoint, ...]]) -> None:
        if self.loop is not None:
            followed = asyncio.run_coroutine_threadsafe(self.fallback_server.follow(intent.policy.fallback), self.loop)
            await asyncio.wrap_future(followed)
        if intent.policy.timeout_ms == Policy().timeout_ms:  # a test that says nothing of time is not about it
            intent = with_policy(intent, timeout_ms=PATIENT_MS)
        now = time.monotonic()
        documents, memory = step(self.memory, intent, endpoints, now, self.protection.pods)
        soon = now + Policy().timeout_ms / 1000 + LINGER_SECONDS
        self.memory = Memory(memory.clusters, {name: min(until, soon) for name, until in memory.until.items()})
        self._version = str(next(_versions))
        _say(documents.routes, self._version)

        async def applied() -> bool:
            try:
                await self.folder.apply(documents, self.admin)
            except EnvoyBehind:
                return False
            return True

        await eventually(applied, "Envoy takes its clusters")

    async def follows_routes(self) -> bool:
        """Whether Envoy follows the routes that are written now: its main thread, and by all appearance the others."""
        return await self.admin.version("rds.headgate") == version_of(self.layout.routes) and await self._all_follow()

    async def _all_follow(self) -> bool:
        """Each connection is a toss of which thread takes it."""
        for _ in range(12):
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}{VERSION}") as answer:
                if await answer.text() != self._version:
                    return False
        return True

    def samples(self, name: str, **labels: str) -> dict[tuple[tuple[str, str], ...], float]:
        """All samples of a series that carry `labels`, as a Prometheus would read them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.layout.metrics_port}/stats/prometheus") as answer:
            text = answer.read().decode()
        found = {}
        for line in re.finditer(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE):
            pairs = dict(re.findall(r'(\w+)="([^"]*)"', line[1]))
            if labels.items() <= pairs.items():
                found[tuple(sorted(pairs.items()))] = float(line[2])
        return found

    def count(self, name: str, **labels: str) -> float:
        return sum(self.samples(name, **labels).values())


@contextmanager
def running_router(root: Path) -> Iterator[Router]:
    router = prepared(root)
    with answering(router), running_envoy(router):
        yield router


def prepared(root: Path, protection: Protection = UNPROTECTED) -> Router:
    """The folder as an agent leaves it before there is a version."""
    layout = Layout(PurePosixPath(root), "127.0.0.1", free_port(), free_port())
    folder = XdsFolder(layout)
    folder.prepare()
    folder.start_with(bootstrap_document(NAMESPACE, MODEL, layout, Intent(policy=Policy(slow_ms=SLOW_MS)), protection))
    router = Router(layout, folder, protection)
    documents, router.memory = step(router.memory, Intent(), {}, 0.0)
    folder.put(layout.clusters, discovery_response()[0])
    folder.put(layout.routes, discovery_response(documents.routes)[0])
    return router


@contextmanager
def running_envoy(router: Router) -> Iterator["subprocess.Popen[bytes]"]:
    bootstrap = str(router.layout.bootstrap)
    command = [str(envoy.ensure()), "-c", bootstrap, "--disable-hot-restart", "--concurrency", "2", "-l", "warn"]
    command += ["--file-flush-interval-msec", "50"]
    with (
        Path(router.layout.root, "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,
    ):
        try:
            wait_until_healthy(f"http://127.0.0.1:{router.layout.metrics_port}/healthz", process)
            yield process
        finally:
            process.terminate()


@contextmanager
def answering(router: Router) -> Iterator[None]:
    """What of the agent answers Envoy, on a loop of its own: tests come with theirs, and go."""
    with discovering(router.folder) as loop:
        router.loop = loop
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(router.fallback_server.cleanup(), loop).result()
            router.loop = None


def wait_until_healthy(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                assert answer.read() == b"ok"
                return
        except OSError:
            assert process.poll() is None, "Envoy ended"
            time.sleep(0.02)
    raise AssertionError("Envoy did not start")


def _say(routes: Mapping[str, Any], version: str) -> None:
    """A page that says by which routes an answer was given."""
    pages = routes["virtual_hosts"][0]["routes"]
    page = {"match": {"path": VERSION}, "direct_response": {"status": 200, "body": {"inline_string": version}}}
    pages.insert(0, {**pages[0], **page})  # with the exemptions of /healthz


def version_of(path: PurePosixPath) -> object:
    return json.loads(Path(path).read_text())["version_info"]
