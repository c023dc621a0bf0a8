"""`hf://OWNER/REPO[@REVISION]/PATH`: a folder, or a single `.onnx` file, of a repository of Hugging Face's hub.

A branch or a tag is turned into its commit first, and all files are those of that commit. `HF_TOKEN` opens private and
gated repositories, `HF_ENDPOINT` names another hub. A `/` within a revision is written `%2F`.
"""

import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, unquote

import httpx

from ..errors import AccessDenied, ArtifactInvalid, ArtifactNotFound, ArtifactUnreachable
from .digest import MANIFEST, Manifest, read_manifest
from .source import Listing, listed_below
from .web import Web, whole

_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_URI = re.compile(rf"hf://(?P<repository>{_NAME}/{_NAME})(@(?P<revision>[^/@]+))?(/(?P<path>[^?#]*))?")


class HfSource:
    """Files of one commit."""

    def __init__(self, uri: str, client: httpx.Client) -> None:
        found = _URI.fullmatch(uri)
        if not found:
            raise ArtifactInvalid(f"{uri}: expected hf://OWNER/REPO@REVISION/PATH")
        self._uri = uri
        self._repository = found["repository"]
        self._revision = unquote(found["revision"] or "main")
        self._path = unquote(found["path"] or "").strip("/")
        self._web = Web(client, _headers)
        self._commit = ""

    def listing(self) -> Manifest | Listing | None:
        """The manifest beside the files, else what the commit has below the path."""
        sizes = self._sizes()
        if self._path.endswith(".onnx"):
            return None
        prefix = f"{self._path}/" if self._path else ""
        if prefix + MANIFEST in sizes:
            return read_manifest(whole(self.read(MANIFEST), f"{self._uri}/{MANIFEST}"))
        below = {path: size for path, size in sizes.items() if path.startswith(prefix)}
        return listed_below(prefix, below, self._uri)

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file of the commit from `start` on."""
        file = self._path if self._path.endswith(".onnx") else f"{self._path}/{path}".lstrip("/")
        return self._web.read(
            f"{_endpoint()}/{self._repository}/resolve/{self._commit}/{quote(file)}", start, immutable=True
        )

    def _sizes(self) -> dict[str, int]:
        """All files of the revision; from now on `read` reads its commit."""
        url = f"{_endpoint()}/api/models/{self._repository}/revision/{quote(self._revision, safe='')}?blobs=true"
        try:
            told = self._web.json(url)
            self._commit = str(told["sha"])
            return {str(one["rfilename"]): int(one["size"]) for one in told["siblings"]}
        except ArtifactNotFound as error:
            raise ArtifactNotFound(f"{self._uri}: no such repository, or it has no {self._revision!r}") from error
        except AccessDenied as error:
            raise AccessDenied(
                f"{self._uri}: there is no such repository, or HF_TOKEN does not open it ({error})"
            ) from error
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactUnreachable(f"{_endpoint()} does not answer as Hugging Face's hub does") from error


def _headers() -> Mapping[str, str]:
    token = os.environ.get("HF_TOKEN", "")
    return {"authorization": f"Bearer {token}"} if token else {}


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
