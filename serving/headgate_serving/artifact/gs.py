"""`gs://BUCKET/PATH`: Google Cloud Storage by its JSON API, with credentials from Google's own library.

Credentials by the usual chain: `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, workload
identity. Without any, requests carry none, as public buckets want it. `STORAGE_EMULATOR_HOST` names another server,
which is asked without credentials.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from ..errors import AccessDenied, ArtifactNotFound, BucketNotFound, HostUnreachable
from .digest import MANIFEST, MAX_FILES, Manifest, read_manifest
from .source import Listing, client_package, listed_below
from .web import CHUNK, Web, check_status, translated, without_query

_SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"


class GsSource:
    """A folder, or a single `.onnx` object."""

    def __init__(self, bucket: str, key: str, client: httpx.Client) -> None:
        self._bucket, self._key = bucket, key
        self._web = Web(client, Credentials().headers)

    def listing(self) -> Manifest | Listing | None:
        """The manifest beside the files, else what is listed below the path."""
        if self._key.endswith(".onnx"):
            return None
        try:
            return read_manifest(self._web.read_small(self._url_of(MANIFEST)))
        except ArtifactNotFound:
            return listed_below(f"{self._key}/", self._listed(), f"gs://{self._bucket}/{self._key}")

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one object from `start` on, if it is still the same one."""
        return self._web.read(self._url_of(path), start)

    def _url_of(self, path: str) -> str:
        key = self._key if self._key.endswith(".onnx") else f"{self._key}/{path}"
        return f"{_server()}/storage/v1/b/{quote(self._bucket)}/o/{quote(key, safe='')}?alt=media"

    def _listed(self) -> dict[str, int]:
        found: dict[str, int] = {}
        asked = {"prefix": f"{self._key}/", "fields": "items(name,size),nextPageToken"}
        while len(found) <= 2 * MAX_FILES:
            try:
                page = self._web.json(f"{_server()}/storage/v1/b/{quote(self._bucket)}/o?{urlencode(asked)}")
            except ArtifactNotFound as error:
                raise BucketNotFound(f"gs://{self._bucket}: there is no such bucket") from error
            found |= {item["name"]: int(item["size"]) for item in page.get("items", [])}
            if "nextPageToken" not in page:
                break
            asked["pageToken"] = page["nextPageToken"]
        return found


def push(bucket: str, key: str, files: Mapping[str, Path], client: httpx.Client) -> None:
    """Upload files in their order to `gs://bucket/key/PATH`, each in one request from the disk."""
    credentials = Credentials()
    for path, file in files.items():
        name = quote(f"{key}/{path}", safe="")
        url = f"{_server()}/upload/storage/v1/b/{quote(bucket)}/o?uploadType=media&name={name}"
        headers = {**credentials.headers(), "content-type": "application/octet-stream"}
        headers["content-length"] = str(file.stat().st_size)
        with translated(without_query(url)), file.open("rb") as opened:
            answer = client.post(url, content=iter(lambda: opened.read(CHUNK), b""), headers=headers)
        if answer.status_code == 404:
            raise BucketNotFound(f"gs://{bucket}: there is no such bucket")
        check_status(f"gs://{bucket}/{key}/{path}", answer)


class Credentials:
    """A token of Google's, fetched when it is first needed and again when it has run out."""

    def __init__(self) -> None:
        self._credentials: Any = None
        self._anonymous = "STORAGE_EMULATOR_HOST" in os.environ

    def headers(self) -> Mapping[str, str]:
        """What goes with a request; AccessDenied if there are credentials but no token for them."""
        if self._anonymous:
            return {}
        auth = client_package("google.auth", "gs")
        from google.auth import exceptions
        from google.auth.transport.requests import Request

        try:
            if self._credentials is None:
                self._credentials, _ = auth.default(scopes=[_SCOPE])
            if not self._credentials.valid:
                self._credentials.refresh(Request())
        except exceptions.DefaultCredentialsError:
            self._anonymous = True
            return {}
        except exceptions.TransportError as error:
            raise HostUnreachable(f"Google's token server can't be reached: {error}", retryable=True) from error
        except exceptions.GoogleAuthError as error:
            raise AccessDenied(f"Google gives no token for these credentials: {error}") from error
        return {"authorization": f"Bearer {self._credentials.token}"}


def _server() -> str:
    emulator = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if emulator:
        return emulator if "://" in emulator else f"http://{emulator}"
    return "https://storage.googleapis.com"
