"""The life of a runtime process: listen, load, warm up, serve; at SIGTERM say not ready, finish, end.

`main` is `headgate-serve`. A model or a profile that can't be served ends the process with its reason in the
termination log; everything else that can be missing (profile, baseline) only switches monitoring off, and
says so.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from ..artifact.digest import MANIFEST, PROFILE, RECORD, digest_of, read_manifest
from ..errors import ArtifactError, ExecutionFailed, HeadgateServingError, ProfileInvalid
from ..monitor import InputForm, Monitor, MonitorCollector, Profile, attach, read_profile
from ..termination import write_termination_log
from .app import App
from .model import Model, load_model
from .settings import Settings, read_settings
from .telemetry import Telemetry

logger = logging.getLogger(__name__)

_IDLE_MS = 2 * 3600 * 1000  # longer than a router keeps idle connections, so that it is never us who hangs up
_BACKLOG = 4096  # also granian's limit of open connections; beyond it clients wait to be accepted


@dataclass(frozen=True)
class Loaded:
    """Everything that is read from disk at the start."""

    model: Model
    row_seconds: float
    digest: str
    profile: Profile | None
    monitor: Monitor | None
    monitoring: str


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; 1 if the model can't be served."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("_granian").setLevel(logging.ERROR)
    try:
        settings = read_settings(argv, os.environ)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(settings))
    except HeadgateServingError as error:
        logger.error("%s: %s", error.reason, error)  # noqa: TRY400 - a message, not a trace
        write_termination_log(error.reason, str(error))
        return 1
    return 0


def load(settings: Settings) -> Loaded:
    """Model, papers and monitor; ModelInvalid or ProfileInvalid if they can't be right."""
    model = load_model(settings.model)
    row_seconds = _warmed_up(model)
    folder = settings.model if settings.model.is_dir() else settings.model.parent
    own = _own_profile(settings.profile, folder / PROFILE)
    inputs = {spec.name: InputForm(_columns(spec.shape), spec.datatype.kind == "O") for spec in model.inputs}
    outputs = [spec.name for spec in model.outputs]
    layouts = [attach(own, inputs, outputs)] if own else []
    baseline = _baseline_profile(settings.baseline)
    if baseline:
        layouts.append(attach(baseline, inputs, outputs, own or Profile(0, (), ())))
    said = "on" if own else "off: there is no profile.json in the artifact (headgate profile writes one)"
    return Loaded(model, row_seconds, _digest(settings.model), own, Monitor(layouts) if layouts else None, said)


async def _live(settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    telemetry = Telemetry(settings.labels)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(telemetry)
    ProcessCollector(registry=registry)
    app = App(settings.name, settings.version, settings.max_body, settings.threads, telemetry)
    server = _http_server(app, settings)
    metrics, _ = start_http_server(settings.metrics_port, settings.host, registry)
    serving = asyncio.create_task(server.serve())
    loaded: Loaded | None = None
    try:
        loaded = await loop.run_in_executor(None, load, settings)
        _start(app, telemetry, registry, loaded, settings)
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await _drain(app, telemetry, settings)
    finally:
        server.stop()
        await asyncio.wait({serving}, timeout=5)
        app.close()
        metrics.shutdown()
        metrics.server_close()
        if loaded and loaded.monitor:
            loaded.monitor.close()
    if serving.done():
        serving.result()


def _http_server(app: App, settings: Settings) -> Any:
    return Server(
        app,
        address=settings.host,
        port=settings.http_port,
        interface=Interfaces.RSGI,
        websockets=False,
        backlog=_BACKLOG,
        backpressure=_BACKLOG,
        http1_settings=HTTP1Settings(header_read_timeout=_IDLE_MS),
        log_enabled=False,
    )


def _start(app: App, telemetry: Telemetry, registry: CollectorRegistry, loaded: Loaded, settings: Settings) -> None:
    """From now on ready."""
    telemetry.load_seconds = loaded.model.load_seconds
    telemetry.info = {"name": settings.name, "version": settings.version or "", "digest": loaded.digest}
    if loaded.monitor:
        registry.register(MonitorCollector(loaded.monitor, loaded.profile, settings.labels))
        loaded.monitor.start()
    gc.collect()
    gc.freeze()  # what is there now stays; later collections need not look at it
    app.serve(
        loaded.model,
        loaded.monitor,
        {"digest": loaded.digest, "monitoring": loaded.monitoring},
        loaded.row_seconds,
    )
    logger.info("monitoring is %s", loaded.monitoring)
    logger.info("ready: %s %s at port %d", settings.name, settings.version or "", settings.http_port)


async def _drain(app: App, telemetry: Telemetry, settings: Settings) -> None:
    """Not ready at once; answer what still comes for `drain_delay`, and let what is there finish within `grace`."""
    logger.info("draining")
    app.drain()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.sleep(min(settings.drain_delay, settings.grace))
    while telemetry.in_flight and loop.time() - begun < settings.grace:  # noqa: ASYNC110 - a count, no event per request
        await asyncio.sleep(0.02)
    if telemetry.in_flight:
        logger.warning("%d requests did not finish within %g s", telemetry.in_flight, settings.grace)


def _warmed_up(model: Model) -> float:
    """Seconds that one row takes. A model that does not like zeros may still like its users' inputs."""
    try:
        model.warm_up()
        started = time.perf_counter()
        model.warm_up()
    except ExecutionFailed as error:
        logger.warning("the warm-up with zeros failed: %s", error)
        return 1.0
    return time.perf_counter() - started


def _own_profile(given: Path | None, beside: Path) -> Profile | None:
    if given and not given.is_file():
        raise ProfileInvalid(f"there is no profile at {given}")
    path = given or beside
    try:
        return read_profile(path.read_bytes())
    except FileNotFoundError:
        return None


def _baseline_profile(folder: Path | None) -> Profile | None:
    """The profile to compare with; that it is missing or damaged is no reason not to serve."""
    if folder is None:
        return None
    try:
        return read_profile((folder / PROFILE).read_bytes())
    except (OSError, ProfileInvalid) as error:
        logger.warning("not compared with the baseline: %s", error)
        return None


def _digest(path: Path) -> str:
    """As the fetcher recorded it, else as the manifest says, else from the bytes."""
    try:
        if (path / RECORD).is_file():
            return str(json.loads((path / RECORD).read_bytes())["digest"])
        if (path / MANIFEST).is_file():
            return read_manifest((path / MANIFEST).read_bytes()).digest
        return digest_of(path)
    except (OSError, ValueError, KeyError, ArtifactError) as error:
        logger.warning("the digest is not known: %s", error)
        return ""


def _columns(shape: tuple[int, ...]) -> int | None:
    """How many columns a row of this shape has; None where a dimension is free."""
    columns = 1
    for dim in shape[1:]:
        if dim < 0:
            return None
        columns *= dim
    return columns
