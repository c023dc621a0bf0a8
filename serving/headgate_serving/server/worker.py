"""The life of a serving process: listen, load, try out, serve; at SIGTERM say not ready, finish, end.

`supervisor.py` calls `serve` in a process of its own. A model or a profile that can't be served ends the process with
its reason in the termination log; everything else that can be missing (profile, baseline) only switches monitoring off,
and says so.
"""

import asyncio
import gc
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import uvloop
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from ..artifact.digest import MANIFEST, RECORD, digest_of, read_manifest
from ..errors import ArtifactError, HeadgateServingError, SettingsInvalid
from ..http.descriptors import SPARED, connections_each
from ..http.http1 import Server
from ..http.http2 import Server as Http2Server
from ..http.listener import Limits
from ..monitor import InputForm, Monitor, MonitorCollector, Profile, monitor_of
from ..monitor.files import baseline_profile, given_profile, profile_in
from ..runtime.confidence import confidence_of
from ..runtime.model import Run
from ..runtime.runner import Runner
from ..runtime.settings import Settings
from ..runtime.telemetry import Telemetry
from ..runtime.tryout import Tried, TryOut
from ..termination import write_termination_log
from . import allocator
from .drain import Front, drain
from .inherited import BACKLOG, HUNG, Inherited
from .rest_app import HEALTH, App, error_answer
from .service import Service, Serving
from .tls import HANDSHAKE_SECONDS, HTTP_1, HTTP_2, MutualTls

logger = logging.getLogger(__name__)

_GIVE_UP = 5.0  # seconds after which a run that was told to stop will not
_OF_HEALTH = 4 << 10  # bytes of a question about health
_SAY_EVERY = 30.0  # seconds after which a start says again what it is at


@dataclass(frozen=True)
class Loaded:
    """Everything that is read from disk at the start."""

    tried: Tried
    digest: str
    profile: Profile | None
    monitor: Monitor | None
    monitoring: str


def serve(settings: Settings, inherited: Inherited) -> int:
    """Serve until told to end; the exit status."""
    allocator.keep_some()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(settings, inherited))
    except HeadgateServingError as error:
        logger.error("%s: %s", error.reason, error)  # noqa: TRY400 - a message, not a trace
        write_termination_log(error.reason, str(error))
        return error.exit_status
    return 0


def load(settings: Settings, tryout: TryOut | None = None) -> Loaded:
    """Model, papers and monitor; ModelInvalid or ProfileInvalid if they can't be right."""
    tried = (tryout or TryOut(settings)).start()
    model = tried.model
    folder = settings.model if settings.model.is_dir() else settings.model.parent
    own = given_profile(settings.profiles[0]) if settings.profiles else profile_in(folder)
    others = [given_profile(path) for path in settings.profiles[1:]]
    if settings.baseline and (baseline := baseline_profile(settings.baseline)):
        others.append(baseline)
    inputs = {spec.name: InputForm.of(spec.assumed, spec.datatype) for spec in model.inputs}
    monitor = monitor_of(own, others, inputs, model.output_names, model.classes)
    said = "on" if own else "off: there is no profile.json in the artifact (headgate profile writes one)"
    return Loaded(tried, _digest(settings.model), own, monitor, said)


async def _live(settings: Settings, inherited: Inherited) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    telemetry = Telemetry(settings.labels)
    telemetry.restarts = inherited.restarts
    registry = CollectorRegistry(auto_describe=False)
    registry.register(telemetry)
    ProcessCollector(registry=registry)
    service = Service(settings.name, settings.version, telemetry)
    limits = Limits(settings.max_body, settings.max_held, connections_each(2 if inherited.listeners.grpc else 1))
    app = App(service, settings.max_body)
    server = Server(app.handle, error_answer, limits, spared=HEALTH)
    server.start()
    tls = MutualTls(settings.tls) if settings.tls else None
    following = asyncio.create_task(tls.follow()) if tls else None
    telemetry.secret_usable = (lambda: tls.usable) if tls else None

    async def listen() -> list[Front]:
        http = await _accept(server, inherited.listeners.http, tls, HTTP_1)
        return [http, *await _grpc(service, limits, inherited, tls)]

    metrics = _serve_metrics(settings, registry)
    health = await _health(app, inherited)
    fronts = (
        None if inherited.restarts else await listen()
    )  # before a restart there was a model: who connects waits for it
    runner: Runner | None = None
    tryout = TryOut(settings)
    watched: list[TryOut | Runner] = [tryout]
    if settings.run_timeout:
        threading.Thread(target=_watch, args=(watched, telemetry, settings.run_timeout), daemon=True).start()
    try:
        loaded = await _loaded(settings, tryout, stop)
        if loaded is None:
            return
        runner = _start(service, registry, loaded, settings)
        watched.append(runner)
        fronts = fronts or await listen()
        os.write(inherited.ready, b"1")
        await stop.wait()
        await drain(service, fronts, settings)
    finally:
        server.close()
        for front in (*(fronts or ()), *health):
            front.close()
        if following:
            following.cancel()
        if runner:
            runner.close()
        metrics.shutdown()
        metrics.server_close()


async def _loaded(settings: Settings, tryout: TryOut, stop: asyncio.Event) -> Loaded | None:
    """What `load` returns; None if told to end before: its thread may be deep in ONNX Runtime, and ends with us."""
    future: Future[Loaded] = Future()

    def work() -> None:
        try:
            future.set_result(load(settings, tryout))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="start", daemon=True).start()
    loading, told = asyncio.wrap_future(future), asyncio.ensure_future(stop.wait())
    began = time.monotonic()
    while True:
        await asyncio.wait((loading, told), timeout=_SAY_EVERY, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            told.cancel()
            return loading.result()
        if told.done():
            logger.info("told to end while %s", tryout.doing)
            return None
        logger.info("not ready after %.0f s: still %s", time.monotonic() - began, tryout.doing)


def _start(service: Service, registry: CollectorRegistry, loaded: Loaded, settings: Settings) -> Runner:
    """From now on ready."""
    telemetry = service.telemetry
    model, tried = loaded.tried.model, loaded.tried
    telemetry.load_seconds = model.load_seconds
    telemetry.info = {
        "name": settings.name,
        "version": settings.version or "",
        "digest": loaded.digest,
        "device": model.device,
    }
    if loaded.monitor:
        registry.register(MonitorCollector(loaded.monitor, loaded.profile, settings.labels))
    about = {
        "digest": loaded.digest,
        "monitoring": loaded.monitoring,
        "device": model.device,
        "batching": model.batching,
    }

    def tell(batching: str) -> None:
        about["batching"] = batching
        logger.info("batching is %s", batching)

    runner = Runner(
        model,
        loaded.monitor,
        telemetry,
        threads=tried.threads,
        max_batch=settings.max_batch,
        max_delay=settings.max_delay,
        max_queue=settings.max_queue,
        row_seconds=tried.row_seconds,
        confidence=confidence_of(model, settings.min_confidence),
        unproven=tried.unproven,
        tell=tell,
    )
    gc.collect()
    gc.freeze()  # what is there now stays; later collections need not look at it
    service.serve(Serving(model, runner, about))
    logger.info("monitoring is %s; batching is %s", loaded.monitoring, model.batching)
    logger.info("ready: %s %s at port %d", settings.name, settings.version or "", settings.http_port)
    return runner


def _watch(watched: Sequence[TryOut | Runner], telemetry: Telemetry, seconds: float) -> None:
    """Stop runs that take too long, users' and our own; where that doesn't help, only another process does."""
    while True:
        time.sleep(min(0.25, seconds / 4))
        for run in _overdue(watched, seconds):
            if not run.terminated:
                logger.warning("a run of the model has taken %g s: stopping it", seconds)
                telemetry.runs_stopped += 1
                run.terminate()
        if _overdue(watched, seconds + _GIVE_UP):
            logger.error("a run of the model does not stop; this process gives up")
            logging.shutdown()
            os._exit(HUNG)


def _overdue(watched: Sequence[TryOut | Runner], seconds: float) -> list[Run]:
    return [run for one in tuple(watched) for run in one.overdue(seconds)]


def _serve_metrics(settings: Settings, registry: CollectorRegistry) -> WSGIServer:
    try:
        server, _ = start_http_server(settings.metrics_port, settings.host, registry)
    except OSError as error:
        at = f"{settings.host}:{settings.metrics_port}"
        raise SettingsInvalid(f"--metrics-port: can't listen at {at}: {error.strerror or error}") from error
    return server


async def _accept(
    server: Server | Http2Server, sock: socket.socket, tls: MutualTls | None = None, protocol: str = HTTP_1
) -> Front:
    """Let the server take who connects, over TLS if there is any."""
    accepting = await asyncio.get_running_loop().create_server(
        server,
        sock=sock,
        backlog=BACKLOG,
        ssl=tls.context(protocol) if tls else None,
        ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
    )
    return Front(sock, accepting, server, secured=tls is not None)


async def _health(app: App, inherited: Inherited) -> list[Front]:
    """What says in plain HTTP how the process is, for who has no certificate to show; to the very end."""
    if inherited.listeners.health is None:
        return []
    server = Server(app.handle_health, error_answer, Limits(body=_OF_HEALTH, held=_OF_HEALTH, connections=SPARED))
    server.start()
    return [await _accept(server, inherited.listeners.health)]


async def _grpc(service: Service, limits: Limits, inherited: Inherited, tls: MutualTls | None) -> list[Front]:
    """The other protocol's front; its messages are not imported where it is switched off."""
    sock = inherited.listeners.grpc
    if sock is None:
        return []
    from .grpc_app import Grpc

    calls = Grpc(service, limits.body)
    server = Http2Server(calls.opened, calls.too_large, limits)
    server.start()
    return [await _accept(server, sock, tls, HTTP_2)]


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
