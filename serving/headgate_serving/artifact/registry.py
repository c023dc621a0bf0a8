"""A registry of containers, spoken to by the OCI Distribution API 1.1: blobs and manifests in and out.

`oci.py` says what of it makes an artifact. Credentials from `REGISTRY_AUTH_FILE`, or `config.json` in `DOCKER_CONFIG`
(else `~/.docker`): its `auths`, no credential helpers. Plain HTTP only to loopback addresses and the hosts of
`HEADGATE_PLAIN_REGISTRIES` (`HOST[:PORT],…`).
"""

import base64
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import httpx

from ..errors import AccessDenied, ArtifactInvalid, ArtifactUnreachable
from .digest import FileEntry
from .web import CHUNK, Web, check_status, parts_of, translated, without_query

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_ACCEPT = f"{MANIFEST_TYPE}, application/octet-stream, */*;q=0.1"
_REFERENCE = re.compile(
    r"oci://(?P<host>[A-Za-z0-9.-]+(:[0-9]+)?|\[[0-9a-f:]+\](:[0-9]+)?)/(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[a-f0-9]{64}))?"
)
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


@dataclass(frozen=True)
class Reference:
    """`oci://HOST[:PORT]/REPOSITORY:TAG`, or `…@sha256:…`, or both; then the digest counts."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, uri: str) -> "Reference":
        """ArtifactInvalid if it is none."""
        found = _REFERENCE.fullmatch(uri)
        if not found or not (found["tag"] or found["digest"]):
            raise ArtifactInvalid(f"{uri}: expected oci://HOST/REPOSITORY:TAG or oci://HOST/REPOSITORY@sha256:…")
        return cls(found["host"], found["repository"], found["tag"], found["digest"])


class Registry:
    """One repository of a registry."""

    def __init__(self, reference: Reference, client: httpx.Client, actions: str = "pull") -> None:
        self.reference = reference
        self._client = client
        scheme = "http" if _plain_allowed(reference.host) else "https"
        self._root = f"{scheme}://{_DOCKER_HUB.get(reference.host, reference.host)}/v2/"
        self._base = f"{self._root}{reference.repository}"
        self._scope = f"repository:{reference.repository}:{actions}"
        self._challenge: str | None = None
        self._web = Web(client, self._headers)

    def manifest(self) -> bytes:
        """The manifest that the reference names."""
        return self._web.read_small(f"{self._base}/manifests/{self.reference.digest or self.reference.tag}")

    def blob(self, sha256: str, start: int = 0) -> Iterator[bytes]:
        """Stream a blob from `start` on: it is what its name says, whenever it is asked for."""
        return self._web.read(f"{self._base}/blobs/sha256:{sha256}", start, immutable=True)

    def push_file(self, entry: FileEntry, file: Path) -> None:
        """Upload a file in one request from the disk, unless the registry has it."""
        with file.open("rb") as opened:
            self._push(entry, iter(lambda: opened.read(CHUNK), b""))

    def push_bytes(self, raw: bytes) -> FileEntry:
        """Upload a few bytes, unless the registry has them."""
        entry = FileEntry(hashlib.sha256(raw).hexdigest(), len(raw))
        self._push(entry, iter((raw,)))
        return entry

    def _push(self, entry: FileEntry, content: Iterator[bytes]) -> None:
        if self._send("HEAD", f"{self._base}/blobs/sha256:{entry.sha256}").status_code == 200:
            return
        begun = self._checked(self._send("POST", f"{self._base}/blobs/uploads/"))
        place = _joined(f"{self._base}/blobs/uploads/", begun.headers.get("location", ""))
        url = f"{place}{'&' if parts_of(place).query else '?'}{urlencode({'digest': f'sha256:{entry.sha256}'})}"
        headers = {"content-type": "application/octet-stream", "content-length": str(entry.size)}
        self._checked(self._send("PUT", url, content, headers))

    def push_manifest(self, raw: bytes) -> None:
        """Give the manifest its tag."""
        url = f"{self._base}/manifests/{self.reference.tag}"
        self._checked(self._send("PUT", url, raw, {"content-type": MANIFEST_TYPE}))

    def _send(
        self,
        method: str,
        url: str,
        content: bytes | Iterator[bytes] | None = None,
        more: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        ours = parts_of(url).netloc == parts_of(self._root).netloc
        headers = {**(self._headers() if ours else {}), **(more or {})}
        with translated(without_query(url)):
            return self._client.request(method, url, content=content, headers=headers)

    def _checked(self, answer: httpx.Response) -> httpx.Response:
        check_status(without_query(str(answer.url)), answer)
        return answer

    def _headers(self) -> Mapping[str, str]:
        """A token for each request: they live for a minute or so, a large file takes longer."""
        if self._challenge is None:
            with translated(self._root):
                self._challenge = self._client.get(self._root).headers.get("www-authenticate", "")
        kind, _, rest = self._challenge.partition(" ")
        basic = _credentials(self.reference.host)
        if kind.lower() == "bearer":
            return {"accept": _ACCEPT, "authorization": f"Bearer {self._token(rest, basic)}"}
        return {"accept": _ACCEPT, **({"authorization": f"Basic {basic}"} if basic else {})}

    def _token(self, challenge: str, basic: str | None) -> str:
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = asked.get("realm", "")
        if not realm.startswith("https://") and not _plain_allowed(parts_of(realm).netloc):
            raise ArtifactUnreachable(f"{self._root} wants a token from {without_query(realm)!r}, which is not https")
        query = urlencode({"scope": self._scope, **({"service": asked["service"]} if "service" in asked else {})})
        shown = without_query(realm)
        with translated(shown):
            answer = self._client.get(f"{realm}?{query}", headers={"authorization": f"Basic {basic}"} if basic else {})
        check_status(shown, answer)
        try:
            told = answer.json()
            return str(told.get("token") or told["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise AccessDenied(f"{shown} gave no token for {self._scope}") from error


def _joined(base: str, place: str) -> str:
    try:
        return urljoin(base, place)
    except ValueError as error:
        raise ArtifactUnreachable(f"{base} answered with a place that is none: {error}") from error


def _credentials(host: str) -> str | None:
    """What goes after `Basic`; None if the files have nothing for this host."""
    given = os.environ.get("REGISTRY_AUTH_FILE")
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    file = Path(given) if given else Path(folder) / "config.json"
    try:
        auths: Mapping[str, Any] = json.loads(file.read_bytes()).get("auths", {})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise AccessDenied(f"{file} can't be read as Docker's config.json: {type(error).__name__}") from error
    names = [host, f"https://{host}", f"https://{host}/v1/", f"https://{host}/v2/"]
    if host in _DOCKER_HUB:
        names += ["https://index.docker.io/v1/", "index.docker.io"]
    entry = next((auths[name] for name in names if name in auths), None)
    if not isinstance(entry, dict):
        return None
    if entry.get("auth"):
        return str(entry["auth"])
    if "username" in entry:
        return base64.b64encode(f"{entry['username']}:{entry.get('password', '')}".encode()).decode()
    return None


def _plain_allowed(host: str) -> bool:
    if host in os.environ.get("HEADGATE_PLAIN_REGISTRIES", "").split(","):
        return True
    name = parts_of(f"//{host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
