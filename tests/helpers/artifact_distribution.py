"""The registry of the distribution project (that of Docker's hub) as a process, with a login and files on the disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from artifact_places import process_that_serves
from artifact_registry import USER
from ports import free_ports
from tools.setup import tools

_PASSWORD = "$2b$04$B1QA4CKXqXAv2bmN9z0SuexcSW/9k2xJQA0BnqStMSHma4Nqf11Me"  # bcrypt of artifact_registry.PASSWORD


@contextmanager
def running_distribution(folder: Path) -> Iterator[str]:
    """`HOST:PORT` of it; its blobs are below `folder`."""
    (port,) = free_ports(1)
    host = f"127.0.0.1:{port}"
    (folder / "users").write_text(f"{USER}:{_PASSWORD}\n")
    (folder / "config.yaml").write_text(
        f"version: 0.1\n"
        f"log: {{level: warn}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/files}}}}\n"
        f"http: {{addr: '{host}'}}\n"
        f"auth: {{htpasswd: {{realm: test, path: {folder}/users}}}}\n"
    )
    command: list[str | Path] = [tools.ensure("registry") / "registry", "serve", folder / "config.yaml"]
    environ = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with process_that_serves(command, f"http://{host}/v2/", folder / "log", env=environ):
        yield host
