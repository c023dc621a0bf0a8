"""What the tests of artifacts share: an artifact, an HTTP server and a proxy that misbehave, how a fetch ended."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx

from headgate_serving.artifact import write_manifest

WEIGHTS = bytes(range(256)) * 5000
WHOLE = [".headgate.json", "manifest.json", "model.onnx", "profile.json", "sub/some weights.bin"]


def make_artifact(at: Path, *, profile: bool = True) -> Path:
    (at / "sub").mkdir(parents=True)
    (at / "model.onnx").write_bytes(b"the model")
    (at / "sub" / "some weights.bin").write_bytes(WEIGHTS)
    if profile:
        (at / "profile.json").write_text("{}")
    write_manifest(at)
    return at


def mounted(at: Path, source: Path) -> Path:
    """The files of `source` as a kubelet mounts a ConfigMap, a Secret or a projected volume."""
    data = at / "..2026_11_30_17_00_00.123456789"
    shutil.copytree(source, data)
    (at / "..data").symlink_to(data.name)
    for path in source.iterdir():
        (at / path.name).symlink_to(f"..data/{path.name}")
    return at


@dataclass
class Run:
    """How one run of headgate-fetch ended."""

    code: int
    said: dict[str, str]
    waited: list[float]
    to: Path

    @property
    def files(self) -> list[str]:
        if not self.to.exists():
            return []
        return sorted(p.relative_to(self.to).as_posix() for p in self.to.rglob("*") if p.is_file())


Fetch = Callable[..., Run]


def read_log(log: Path) -> dict[str, str]:
    said: dict[str, str] = json.loads(log.read_text())
    return said


@dataclass
class Place:
    """What the HTTP server does: files, and for a path a list of misbehaviours to go through first."""

    root: Path
    url: str = ""
    ranges: bool = False
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    asked_ranges: list[str] = field(default_factory=list)


@contextmanager
def serving(place: Place) -> Iterator[Place]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path.split("?")[0])
            place.asked.append(path)
            faults = place.faults.get(path, [])
            fault = faults.pop(0) if faults else ""
            file = place.root / path.lstrip("/")
            if fault == "hang up":
                self.close_connection = True
                return
            if fault.isdecimal() or not file.is_file():
                self.send_response(int(fault or 404))
                if fault == "302":
                    self.send_header("location", "/elsewhere.onnx")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            content = file.read_bytes()
            tag = f'"{hash(content)}"'
            start = self.asked_from() if self.headers.get("if-range") == tag or fault == "wrong range" else 0
            self.send_response(206 if start else 200)
            if start:
                self.send_header("content-range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            content = content[start:]
            self.send_header("content-length", str(len(content)))
            if place.ranges:
                self.send_header("etag", tag)
            if fault == "gzip":
                self.send_header("content-encoding", "gzip")
            self.end_headers()
            if fault == "cut":
                content = content[: len(content) // 2]
                self.close_connection = True
            elif fault == "flip":
                content = content[:-1] + b"!"
            self.wfile.write(content)

        def asked_from(self) -> int:
            asked = self.headers.get("range", "") if place.ranges else ""
            if asked:
                place.asked_ranges.append(asked)
            return int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0

        def log_message(self, *_: object) -> None:
            pass

    with listening(Handler) as place.url:
        yield place


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server with that handler; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def process_that_serves(command: list[str | Path], url: str, log: Path, **options: Any) -> Iterator[None]:
    """A server of somebody else's as a process, from when it answers at `url` on."""
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            with suppress(httpx.TransportError):
                httpx.get(url)
                break
            time.sleep(0.2)
        else:
            raise AssertionError(log.read_text())
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass
class Proxy:
    """Hands TCP connections on; `cuts` are bytes of answer after which the next connections break."""

    url: str = ""
    cuts: list[int] = field(default_factory=list)
    broken: int = 0


@contextmanager
def breaking_proxy(url: str) -> Iterator[Proxy]:
    """A proxy in front of the server at `url` that breaks as many connections as it is told to."""
    host, _, port = url.removeprefix("http://").partition(":")
    proxy = Proxy()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket, answers: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                passed += len(piece)
                # Only answers with a body that large are cut: the small ones come through.
                if answers and proxy.cuts and passed > proxy.cuts[0]:
                    piece = piece[: len(piece) - (passed - proxy.cuts.pop(0))]
                    proxy.broken += 1
                    sink.sendall(piece)
                    break
                sink.sendall(piece)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((host, int(port)))
                for pair in ((client, server, False), (server, client, True)):
                    threads.append(threading.Thread(target=pump, args=pair))
                    threads[-1].start()
                sockets.extend((client, server))

    sockets: list[socket.socket] = []
    accepting = threading.Thread(target=accept)
    accepting.start()
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield proxy
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join()
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()
        for one in sockets:
            one.close()
