"""`headgate-monitor`: takes samples from the routers' agents, and shows the counters that the runtime would show.

It asks the engine beside it what the model's tensors are, once the engine knows; until then samples are refused. A
profile that belongs to another model ends the process with its reason in the termination log, as it ends the runtime.
"""

import asyncio
import logging
import os
import signal
import sys
from typing import Any

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

from headgate.api import contract
from headgate_serving.errors import HeadgateServingError
from headgate_serving.keeper import restarts
from headgate_serving.listening import listening_socket
from headgate_serving.monitor import MonitorCollector
from headgate_serving.monitor.files import baseline_profile, profile_in
from headgate_serving.sidecar.batch import MOST_BYTES, PATH, unpacked
from headgate_serving.sidecar.settings import Settings, read_settings
from headgate_serving.sidecar.watching import Watched
from headgate_serving.termination import write_termination_log

log = logging.getLogger(__name__)

AGAIN_SECONDS = 1.0
_PATIENCE = aiohttp.ClientTimeout(total=5)


def main() -> int:
    """Until SIGTERM; the exit status."""
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(levelname)s %(message)s")
    try:
        asyncio.run(serve(read_settings(None, os.environ)))
    except HeadgateServingError as error:
        log.error("%s: %s", error.reason, error)  # noqa: TRY400 - a message, not a trace
        write_termination_log(error.reason, str(error))
        return error.exit_status
    return 0


async def serve(settings: Settings) -> None:
    """Take samples until SIGTERM; ProfileInvalid."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    sidecar = Sidecar(settings)
    runner = await sidecar.listen()
    stopped = asyncio.create_task(stop.wait())
    preparing = asyncio.create_task(sidecar.prepare())
    try:
        await asyncio.wait([stopped, preparing], return_when=asyncio.FIRST_COMPLETED)
        if not stopped.done():
            preparing.result()
            await stopped
    finally:
        preparing.cancel()
        await runner.cleanup()


class Sidecar:
    """The server, and what it counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.registry = CollectorRegistry(auto_describe=False)
        ready = Gauge(
            contract.RUNTIME_READY, "1 while samples are counted", tuple(settings.labels), registry=self.registry
        )
        self._ready = ready.labels(*settings.labels.values())
        started = Gauge(
            contract.STARTED,
            "When this process began to count",
            tuple(settings.labels),
            registry=self.registry,
        )
        started.labels(*settings.labels.values()).set_to_current_time()
        anew = Counter(
            "headgate_monitor_restarts",
            "Times that the monitor was started anew after a crash, since its container was started",
            tuple(settings.labels),
            registry=self.registry,
        )
        anew.labels(*settings.labels.values()).inc(restarts())
        self._watched: Watched | None = None
        self._counting = asyncio.Lock()

    async def listen(self) -> web.AppRunner:
        """Start; the caller ends it by `cleanup`."""
        app = web.Application(client_max_size=MOST_BYTES)
        app.add_routes([web.post(PATH, self._take), web.get("/metrics", self._metrics)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        await web.SockSite(runner, listening_socket(self._settings.host, self._settings.port)).start()
        return runner

    async def prepare(self) -> None:
        """Learn what to count, as soon as the engine tells; ProfileInvalid."""
        settings = self._settings
        own, baseline = profile_in(settings.artifact), baseline_profile(settings.baseline)
        url, said = f"{settings.engine}/v2/models/{settings.model}", ""
        async with aiohttp.ClientSession(timeout=_PATIENCE) as session:
            while self._watched is None:
                try:
                    self._watched = Watched.of(await _metadata(session, url), own, [baseline] if baseline else [])
                except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                    if said != (said := f"the engine does not tell about the model at {url}: {error}"):
                        log.warning("%s; asking until it does", said)
                    await asyncio.sleep(AGAIN_SECONDS)
        if self._watched.monitor:
            self.registry.register(MonitorCollector(self._watched.monitor, own, settings.labels))
        self._ready.set(1)
        log.info("monitoring is %s", "on" if own else "off: there is no profile.json in the artifact")

    async def _take(self, request: web.Request) -> web.Response:
        watched, body = self._watched, await request.read()
        if watched is None:
            return web.json_response({"error": "the engine has not said yet what it serves"}, status=503)
        try:
            samples = unpacked(body)
        except ValueError as error:
            return web.json_response({"error": f"no batch of samples: {error}"}, status=400)
        async with self._counting:
            counted = await asyncio.to_thread(watched.count, samples)
        return web.json_response({"counted": counted})

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _metadata(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.get(url) as answer:
        answer.raise_for_status()
        return dict(await answer.json(content_type=None))


if __name__ == "__main__":
    sys.exit(main())
