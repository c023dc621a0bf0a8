"""Which place a URI names: `source_for(uri)` → a Source.

Clients of object stores are imported when such a URI is there, and only then.
"""

from pathlib import Path
from urllib.parse import SplitResult, unquote

import httpx

from ..errors import ArtifactInvalid, PathOutside
from .local import LocalSource, unreadable
from .source import Source, bucket_and_key
from .web import HttpSource, parts_of, without_query

SCHEMES = ("file", "pvc", "http", "https", "s3", "gs", "oci", "hf", "models", "runs")


def source_for(uri: str, client: httpx.Client, pvc_root: Path) -> Source:
    """The place that a URI names; ArtifactInvalid for a URI that can't be one."""
    parts = parts_of(uri)
    path = _plain(parts)
    match parts.scheme:
        case "file" | "pvc":
            return _mounted(parts, path, pvc_root)
        case "http" | "https":
            if not parts.hostname:
                raise ArtifactInvalid(f"{without_query(uri)}: no host")
            return HttpSource(uri, client)
        case "s3" | "gs":
            return _in_bucket(uri, client)
        case "oci":
            from .oci import registry_source

            return registry_source(uri, client)
        case "hf" | "models" | "runs":
            return _in_hub(uri, client)
        case _:
            raise ArtifactInvalid(f"{uri}: the scheme has to be one of {', '.join(SCHEMES)}")


def _mounted(parts: SplitResult, path: str, pvc_root: Path) -> Source:
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise ArtifactInvalid(f"{parts.geturl()}: file URIs have three slashes, as in file:///models/fraud")
        return _on_disk(Path(path))
    if not parts.netloc:
        raise ArtifactInvalid(f"{parts.geturl()}: expected pvc://CLAIM/PATH")
    claim = pvc_root / parts.netloc
    return _on_disk(claim / path.lstrip("/"), claim)


def _in_bucket(uri: str, client: httpx.Client) -> Source:
    bucket, key = bucket_and_key(uri)
    if uri.startswith("s3:"):
        from .s3 import S3Source

        return S3Source(bucket, key)
    from .gs import GsSource

    return GsSource(bucket, key, client)


def _in_hub(uri: str, client: httpx.Client) -> Source:
    if uri.startswith("hf:"):
        from .hf import HfSource

        return HfSource(uri, client)
    from .mlflow import MlflowSource

    return MlflowSource(uri, client, lambda place: _in_bucket(place, client))


def _on_disk(root: Path, claim: Path | None = None) -> Source:
    """A folder or a file; a folder with the file `oci-layout` is an OCI layout."""
    from .oci import LAYOUT, Layout, OciSource

    try:
        inside = claim is None or root.resolve().is_relative_to(claim.resolve())
        if inside and (root / LAYOUT).is_file():
            return OciSource(Layout(root), str(root))
    except OSError as error:
        raise unreadable(root, error) from error
    except RuntimeError as error:  # a link to itself
        raise ArtifactInvalid(f"{root}: {error}") from error
    return LocalSource(root, claim)


def _plain(parts: SplitResult) -> str:
    path = unquote(parts.path)
    if ".." in path.split("/") or ".." in parts.netloc or "\0" in path:
        raise PathOutside(f"{parts.geturl()!r} holds '..'; write the path out")
    return path
