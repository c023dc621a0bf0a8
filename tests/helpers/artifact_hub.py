"""Two endpoints of Hugging Face's hub, as its documentation has them: none of its servers can be installed.

What a revision holds (`/api/models/REPO/revision/REV?blobs=true`), and a file of a commit (`/REPO/resolve/COMMIT/PATH`)
which large files leave by a redirect to another place.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from artifact_places import listening

TOKEN = "hf_a-secret"


@dataclass
class Hub:
    """One repository, `owner/fraud`: files by commit, commits by revision."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    private: bool = False
    tokens_at_the_store: list[str] = field(default_factory=list)


@contextmanager
def running_hub() -> Iterator[Hub]:
    hub = Hub()
    with listening(_handler(hub)) as hub.url:
        yield hub


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            token = self.headers.get("authorization", "")
            if parts[0] == "store":
                hub.tokens_at_the_store.append(token)
                return self.file(hub.files[parts[1]]["/".join(parts[2:])])
            if hub.private and token != f"Bearer {TOKEN}":
                return self.answer(401)
            match parts:
                case ["api", "models", "owner", "fraud", "revision", name] if name in hub.revisions:
                    commit = hub.revisions[name]
                    siblings = [{"rfilename": path, "size": len(raw)} for path, raw in hub.files[commit].items()]
                    return self.answer(200, json.dumps({"sha": commit, "siblings": siblings}).encode())
                case ["owner", "fraud", "resolve", commit, *path] if "/".join(path) in hub.files.get(commit, {}):
                    raw = hub.files[commit]["/".join(path)]
                    if len(raw) < 1000:
                        return self.file(raw)
                    # Another name of the same host: another origin.
                    store = hub.url.replace("127.0.0.1", "localhost")
                    return self.answer(302, location=f"{store}/store/{self.path.partition('/resolve/')[2]}")
                case _:
                    return self.answer(404)

        def file(self, raw: bytes) -> None:
            start = int(self.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
            if start:
                return self.answer(206, raw[start:], content_range=f"bytes {start}-{len(raw) - 1}/{len(raw)}")
            return self.answer(200, raw)

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            self.send_header("content-length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
