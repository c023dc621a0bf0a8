"""How Prometheus is reached: addresses, credentials, certificates, headers. Nothing of it is ever shown but hosts.

Secrets are files, mounted from a Secret, and read again whenever they are needed: who rotates them restarts nothing.
"""

import ssl
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from headgate.errors import MetricsError

TOKEN, USER, PASSWORD = "token", "username", "password"
CERTIFICATE, KEY = "tls.crt", "tls.key"


@dataclass(frozen=True)
class Access:
    """What the settings say."""

    urls: tuple[str, ...]
    """The first one that answers is asked."""
    matchers: Mapping[str, str] = field(default_factory=dict)
    """Labels that every series must have, such as the cluster's, where several are in one view."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers of each request, such as the tenant."""
    credentials: Path | None = None
    """A folder with `token`, or `username` and `password`, and perhaps `tls.crt` and `tls.key`."""
    ca: Path | None = None
    """Certificates to trust instead of the system's."""

    def options(self, timeout: float) -> dict[str, Any]:
        """Of an httpx client that sends all of it. Answers are not compressed: what is counted is what is held."""
        return {
            "timeout": timeout,
            "auth": Credentials(self.credentials),
            "headers": {"accept-encoding": "identity", **self.headers},
            "verify": self.certificates(),
        }

    def certificates(self) -> ssl.SSLContext:
        """The CA to trust and our own certificate, as the files are now. Raises OSError and ssl.SSLError."""
        context = ssl.create_default_context(cafile=self.ca)
        if self.credentials and all((self.credentials / name).exists() for name in (CERTIFICATE, KEY)):
            context.load_cert_chain(self.credentials / CERTIFICATE, self.credentials / KEY)
        return context

    def stamp(self) -> tuple[float, ...]:
        """Changes when a file does that a client reads only once."""
        folder = self.credentials
        paths = [self.ca, *((folder / name for name in (CERTIFICATE, KEY)) if folder else ())]
        return tuple(path.stat().st_mtime for path in paths if path and path.exists())


def host_of(url: str) -> str:
    """What may be shown of an address: neither user and password, nor path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


class Credentials(httpx.Auth):
    """A bearer token, or user and password, from files."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header. Raises MetricsError where a file can't be read."""
        if token := self._read(TOKEN):
            request.headers["authorization"] = f"Bearer {token}"
        elif user := self._read(USER):
            yield from httpx.BasicAuth(user, self._read(PASSWORD)).auth_flow(request)
            return
        yield request

    def _read(self, name: str) -> str:
        if self._folder is None or not (self._folder / name).exists():
            return ""
        try:
            return (self._folder / name).read_text().strip()
        except (OSError, ValueError) as error:
            raise MetricsError(f"the file {name} of prometheus.auth can't be read") from error
