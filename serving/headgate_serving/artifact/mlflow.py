"""`models:/NAME/VERSION`, `models:/MODEL_ID` and `runs:/RUN/PATH`: what an MLflow tracking server knows of.

The server at `MLFLOW_TRACKING_URI` says by its REST API where the files are: behind itself (its artifact proxy), or in
an object store, which is then read as if its URI had been given. `MLFLOW_TRACKING_TOKEN`, or
`MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, are its credentials.
"""

import base64
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

import httpx

from ..errors import ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable
from .digest import MANIFEST, MAX_FILES, Manifest, read_manifest
from .source import Listing, Source, listed_below
from .web import Web, parts_of, whole, without_query

STORES = ("s3", "gs")
"""Where the files may be, besides the server's own proxy."""
_VERSION = re.compile(r"models:/(?P<name>[^/@]+)/(?P<version>[0-9]+)")
_LOGGED_MODEL = re.compile(r"models:/(?P<model>m-[A-Za-z0-9]+)(?P<path>/.*)?")
_RUN = re.compile(r"runs:/(?P<run>[A-Za-z0-9_-]+)(?P<path>/.*)?")
_HOPS = 3


class MlflowSource:
    """The files of a registered version, of a logged model, or of a run."""

    def __init__(self, uri: str, client: httpx.Client, in_store: Callable[[str], Source]) -> None:
        if not any(form.fullmatch(uri) for form in (_VERSION, _LOGGED_MODEL, _RUN)):
            raise ArtifactInvalid(
                f"{uri}: expected models:/NAME/VERSION, models:/MODEL_ID or runs:/RUN/PATH; stages and aliases are "
                "not taken, for they may name another version tomorrow"
            )
        self._uri, self._in_store = uri, in_store
        self._tracking = Tracking(client)
        self._place: Source | None = None

    def listing(self) -> Manifest | Listing | None:
        """What the place lists that the server names."""
        self._place = self._found()
        return self._place.listing()

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file of that place."""
        return (self._place or self._found()).read(path, start)

    def _found(self) -> Source:
        uri = self._uri
        for _ in range(_HOPS):  # a version may name a run, which names a place
            parts = parts_of(uri)
            match parts.scheme:
                case "models" | "runs":
                    uri = self._tracking.whereabouts(uri)
                case "mlflow-artifacts":
                    return Proxied(self._tracking, parts.path.strip("/"), self._uri)
                case scheme if scheme in STORES:
                    return self._in_store(uri)
                case _:
                    break
        raise ArtifactInvalid(
            f"{self._uri} is kept at {without_query(uri)}, which can't be read from here; let MLflow serve its "
            f"artifacts (mlflow server --serve-artifacts), or keep them in {' or '.join(f'{one}://' for one in STORES)}"
        )


class Proxied:
    """A folder, or a single `.onnx` file, behind the artifact proxy of the tracking server."""

    def __init__(self, tracking: "Tracking", path: str, shown: str) -> None:
        self._tracking, self._path, self._shown = tracking, unquote(path), shown

    def listing(self) -> Manifest | Listing | None:
        """The manifest beside the files, else what the proxy lists."""
        if self._path.endswith(".onnx"):
            return None
        found = dict(self._files())
        if MANIFEST in found:
            return read_manifest(whole(self.read(MANIFEST), f"{self._shown}/{MANIFEST}"))
        return listed_below("", found, self._shown)

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file from `start` on, if it is still the same one."""
        file = self._path if self._path.endswith(".onnx") else f"{self._path}/{path}"
        return self._tracking.file(file, start)

    def _files(self) -> Iterator[tuple[str, int]]:
        """Relative path and size of all files, folder by folder."""
        folders, seen = [""], 0
        while folders and seen <= 2 * MAX_FILES:
            folder = folders.pop()
            for name, size in self._tracking.folder(f"{self._path}/{folder}".rstrip("/")):
                seen += 1
                if size is None:
                    folders.append(f"{folder}{name}/")
                else:
                    yield f"{folder}{name}", size


class Tracking:
    """The tracking server's REST API, as far as it is needed here."""

    def __init__(self, client: httpx.Client) -> None:
        self._server = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
        if not self._server.startswith(("http://", "https://")):
            raise ArtifactInvalid(
                "models:/ and runs:/ need MLFLOW_TRACKING_URI, the http(s):// URL of the tracking server, in the "
                "environment"
            )
        self._web = Web(client, _headers)

    def whereabouts(self, uri: str) -> str:
        """The URI of the files of a version, a logged model, or a run."""
        try:
            if version := _VERSION.fullmatch(uri):
                asked = {"name": unquote(version["name"]), "version": version["version"]}
                return str(self._told("model-versions/get-download-uri", asked)["artifact_uri"])
            if model := _LOGGED_MODEL.fullmatch(uri):
                root = self._told(f"logged-models/{model['model']}")["model"]["info"]["artifact_uri"]
                return _below(root, model["path"])
            if run := _RUN.fullmatch(uri):
                root = self._told("runs/get", {"run_id": run["run"]})["run"]["info"]["artifact_uri"]
                return _below(root, run["path"])
        except ArtifactNotFound as error:
            raise ArtifactNotFound(f"{without_query(self._server)} knows no {uri}") from error
        except (KeyError, TypeError) as error:
            raise self._odd() from error
        raise ArtifactInvalid(f"{without_query(self._server)} says that the files are at {uri}, which is no place")

    def folder(self, path: str) -> list[tuple[str, int | None]]:
        """Names and sizes of what is in a folder of the proxy; folders have no size."""
        try:
            told = self._told("artifacts", {"path": path}, "mlflow-artifacts").get("files", [])
            return [(str(one["path"]), None if one.get("is_dir") else int(one["file_size"])) for one in told]
        except ArtifactNotFound:
            return []
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._odd() from error

    def file(self, path: str, start: int) -> Iterator[bytes]:
        """Stream a file of the proxy."""
        return self._web.read(f"{self._server}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}", start)

    def _told(self, what: str, asked: Mapping[str, str] | None = None, of: str = "mlflow") -> Any:
        return self._web.json(f"{self._server}/api/2.0/{of}/{what}?{urlencode(asked or {})}")

    def _odd(self) -> ArtifactUnreachable:
        return ArtifactUnreachable(f"{without_query(self._server)} does not answer as MLflow's tracking server does")


def _below(root: str, path: str | None) -> str:
    return root.rstrip("/") + (path or "").rstrip("/")


def _headers() -> Mapping[str, str]:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return {"authorization": f"Bearer {token}"}
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}
    return {}
