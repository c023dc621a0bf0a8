"""A small registry that speaks the OCI Distribution API over HTTP: bearer tokens, uploads in one piece, ranges.

It can be made to hold what a real one (`artifact_distribution.py`) would not; the client of `oras` takes it for one.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from artifact_places import listening
from headgate_serving.artifact import write_manifest
from headgate_serving.artifact.push import push
from headgate_serving.artifact.web import new_client

USER, PASSWORD = "someone", "a-secret"
Login = Callable[..., None]


def pushed(folder: Path, uri: str, *, overwrite: bool = False) -> bool:
    with new_client() as client:
        return push(folder, write_manifest(folder), uri, client, overwrite=overwrite)


@dataclass
class FakeRegistry:
    """What it holds, and what it wants to see before it gives a token."""

    host: str = ""
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    wants_login: bool = True
    ranges: list[str] = field(default_factory=list)
    uploads: int = 0


@contextmanager
def running_registry() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    with listening(_handler(registry)) as url:
        registry.host = url.removeprefix("http://")
        yield registry


def _handler(registry: FakeRegistry) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            self.send_header("content-length", headers.pop("length", str(len(body))))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def allowed(self, parts: list[str], action: str) -> bool:
            said = self.headers.get("authorization", "")
            scope = f"repository:{'/'.join(parts)}:"
            if not registry.wants_login or (said.startswith(f"Bearer {scope}") and action in said):
                return True
            realm = f'Bearer realm="http://{registry.host}/token",service="test",scope="{scope}pull,push"'
            self.answer(401, www_authenticate=realm)
            return False

        def token(self) -> None:
            given = self.headers.get("authorization", "").removeprefix("Basic ")
            if given and base64.b64decode(given).decode() == f"{USER}:{PASSWORD}":
                scope = parse_qs(urlsplit(self.path).query).get("scope", [""])[0]
                self.answer(200, f'{{"token": "{scope}"}}'.encode())
            else:
                self.answer(401)

        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            if path == "/token":
                return self.token()
            if path == "/v2/":
                if self.allowed([], "pull"):
                    self.answer(200)
                return None
            *repository, kind, name = path.removeprefix("/v2/").split("/")
            if not self.allowed(repository, "pull"):
                return None
            if kind == "manifests" and name in registry.manifests:
                media_type, raw = registry.manifests[name]
                digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
                return self.answer(200, raw, content_type=media_type, docker_content_digest=digest)
            if kind == "blobs" and name in registry.blobs:
                return self.blob(registry.blobs[name])
            return self.answer(404)

        def blob(self, raw: bytes) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("range", ""))
            if not asked:
                return self.answer(200, raw)
            registry.ranges.append(asked[0])
            start = int(asked[1])
            return self.answer(206, raw[start:], content_range=f"bytes {start}-{len(raw) - 1}/{len(raw)}")

        def do_HEAD(self) -> None:
            self.do_GET()

        def body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("content-length", 0)))

        def do_POST(self) -> None:
            self.body()
            repository = urlsplit(self.path).path.removeprefix("/v2/").split("/")[:-3]
            if self.allowed(repository, "push"):
                self.answer(202, location=f"/v2/{'/'.join(repository)}/blobs/uploads/some-id?state=1")

        def do_PUT(self) -> None:
            raw, parts = self.body(), urlsplit(self.path)
            found = f"sha256:{hashlib.sha256(raw).hexdigest()}"
            *repository, kind, name = parts.path.removeprefix("/v2/").split("/")
            if kind == "uploads":
                if self.allowed(repository[:-1], "push"):
                    good = parse_qs(parts.query)["digest"] == [found]
                    registry.uploads += good
                    registry.blobs |= {found: raw} if good else {}
                    self.answer(201 if good else 400, docker_content_digest=found)
            elif self.allowed(repository, "push"):
                for key in (name, found):
                    registry.manifests[key] = (self.headers["content-type"], raw)
                self.answer(201, docker_content_digest=found)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
