"""Read over HTTP as one has to: in pieces, from where an interrupted read ended, with an error for every answer.

`Web` is what all places have in common that speak HTTP (`HttpSource` here, and those of gs, oci, hf and mlflow);
`download.py` asks for the rest of a file after an interruption.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

import httpx

from ..errors import AccessDenied, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable, HostUnreachable
from .digest import MANIFEST, Manifest, read_manifest

CHUNK = 1 << 20
MAX_MANIFEST = 16 << 20
_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class CannotResume(Exception):
    """The rest of a file can't be had alone, or it may be that of another file by now: start anew."""


def new_client() -> httpx.Client:
    """The HTTP client of the fetcher; proxies and certificates by the usual environment variables."""
    return httpx.Client(timeout=_TIMEOUT, follow_redirects=True, max_redirects=5)


def no_headers() -> Mapping[str, str]:
    """For places that ask for no credentials."""
    return {}


class Web:
    """GET with this place's credentials. httpx forgets the header `authorization` at a redirect to another host."""

    def __init__(self, client: httpx.Client, headers: Callable[[], Mapping[str, str]] = no_headers) -> None:
        self._client = client
        self._headers = headers
        self._validators: dict[str, str] = {}

    def read(self, url: str, start: int = 0, *, immutable: bool = False) -> Iterator[bytes]:
        """The bytes from `start` on; CannotResume if they may not belong to those that were read before.

        `immutable` promises that they do: the URL holds the content's hash.
        """
        shown = without_query(url)
        headers = {**self._headers(), "accept-encoding": "identity"}
        if start:
            if not immutable and url not in self._validators:
                raise CannotResume
            headers["range"] = f"bytes={start}-"
            if not immutable:
                headers["if-range"] = self._validators[url]
        with translated(shown), self._client.stream("GET", url, headers=headers) as response:
            _check_redirects(shown, response)
            if start:
                _check_rest(start, response, None if immutable else self._validators[url])
            check_status(shown, response)
            if response.headers.get("content-encoding", "identity") != "identity":
                raise ArtifactUnreachable(f"{shown} answered in a content-encoding that was not asked for")
            if not start:
                self._remember(url, response)
            yield from response.iter_raw()  # as it comes: pieces of a fixed size would be lost half-full

    def read_small(self, url: str, limit: int = MAX_MANIFEST) -> bytes:
        """A whole small file; ArtifactInvalid past `limit` bytes."""
        return whole(self.read(url), without_query(url), limit)

    def json(self, url: str) -> Any:
        """The JSON at a URL; ArtifactUnreachable if it is none."""
        try:
            return json.loads(self.read_small(url))
        except ValueError as error:
            raise ArtifactUnreachable(f"{without_query(url)} did not answer in JSON") from error

    def _remember(self, url: str, response: httpx.Response) -> None:
        self._validators.pop(url, None)
        if validator := _validator(response):
            self._validators[url] = validator


class HttpSource:
    """A file, or a folder with a manifest, behind `http(s)://`. No redirect from TLS to plain is followed."""

    def __init__(self, uri: str, client: httpx.Client) -> None:
        self._uri = parts_of(uri)
        self._web = Web(client)

    def listing(self) -> Manifest | None:
        """The manifest beside the files: over HTTP a folder can't be listed, so it has to be there."""
        if self._uri.path.endswith(".onnx"):
            return None
        try:
            return read_manifest(self._web.read_small(self._url_of(MANIFEST)))
        except ArtifactNotFound as error:
            raise ArtifactNotFound(
                f"{error}. A folder over HTTP needs a {MANIFEST} (headgate digest FOLDER --write makes it); "
                "a single model needs a URI that ends in .onnx"
            ) from error

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file from `start` on."""
        return self._web.read(self._url_of(path), start)

    def _url_of(self, path: str) -> str:
        if self._uri.path.endswith(".onnx"):
            return self._uri.geturl()
        return self._uri._replace(path=f"{self._uri.path.rstrip('/')}/{quote(path)}").geturl()


@contextmanager
def translated(shown: str) -> Iterator[None]:
    """Turn httpx's errors into ours; those that may pass are retryable."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise HostUnreachable(f"{shown}: {_detail(error)}", retryable=True) from error
    except httpx.TransportError as error:
        raise ArtifactUnreachable(f"{shown}: {_detail(error)}", retryable=True) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ArtifactUnreachable(f"{shown}: {_detail(error)}") from error


def check_status(shown: str, response: httpx.Response) -> None:
    """The error of an answer that is none of 200, 201, 202 and 206."""
    code = response.status_code
    if code in (404, 410):
        raise ArtifactNotFound(f"{shown} answered {code}")
    if code in (401, 403):
        raise AccessDenied(f"{shown} answered {code}: access denied, the place needs (other) credentials")
    if code not in (200, 201, 202, 206):
        raise ArtifactUnreachable(f"{shown} answered {code}", retryable=code in _TRY_AGAIN)


def whole(pieces: Iterator[bytes], shown: str, limit: int = MAX_MANIFEST) -> bytes:
    """A small file's bytes; ArtifactInvalid past `limit`."""
    raw = bytearray()
    for piece in pieces:
        raw += piece
        if len(raw) > limit:
            raise ArtifactInvalid(f"{shown} is larger than {limit} bytes")
    return bytes(raw)


def parts_of(uri: str) -> SplitResult:
    """A URI's parts; ArtifactInvalid for what has none, such as `http://[x`. Whoever wrote it: a user, or a server."""
    if _NO_TEXT.search(uri):
        raise ArtifactInvalid(f"{without_query(uri)!a} holds a control character, or half of one")
    try:
        parts = urlsplit(uri)
        _ = parts.port  # read when it is asked for
    except ValueError as error:
        raise ArtifactInvalid(f"{without_query(uri)} is no URI: {error}") from error
    return parts


def without_query(url: str) -> str:
    """A URL as it may be shown: a query may hold a signature, the host's part a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        scheme, separator, rest = url.partition("?")[0].partition("//")
        return scheme + separator + rest.rpartition("@")[2]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _check_redirects(shown: str, response: httpx.Response) -> None:
    schemes = [r.url.scheme for r in (*response.history, response)]
    if schemes[0] == "https" and set(schemes) != {"https"}:
        raise ArtifactUnreachable(f"{shown} redirects to plain http; refused")


def _check_rest(start: int, response: httpx.Response, validator: str | None) -> None:
    """CannotResume if it is another part than the one from `start` on, or another file; None: it can't be another."""
    if response.status_code in (200, 412, 416):
        raise CannotResume
    if response.status_code == 206:
        begins = response.headers.get("content-range", "").startswith(f"bytes {start}-")
        if not begins or (validator and _validator(response) not in (None, validator)):
            raise CannotResume


def _validator(response: httpx.Response) -> str | None:
    """What tells this file from a later one at the same place: a strong ETag, else when it was changed."""
    tag: str = response.headers.get("etag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("last-modified")


def _detail(error: Exception) -> str:
    return str(error) or type(error).__name__
