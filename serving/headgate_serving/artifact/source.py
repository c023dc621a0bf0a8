"""A place that artifacts come from: `listing()` says what there is, `read(path, start)` streams one file of it.

One module for each kind of place has a class with these two; every error is already one of ours.
"""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import ArtifactInvalid, ArtifactNotFound, ClientMissing
from .digest import Manifest, check_together, checked_path


@dataclass(frozen=True)
class Listing:
    """The files of a folder that has no manifest: relative path → size in bytes. Hashed when they have come."""

    sizes: Mapping[str, int]


class Source(Protocol):
    """One artifact at its place."""

    def listing(self) -> Manifest | Listing | None:
        """What the folder holds; None if the artifact is a single file."""

    def read(self, path: str, start: int = 0) -> Iterator[bytes]:
        """Stream one file of the folder from byte `start` on; for a single file `path` is not looked at.

        CannotResume if the bytes from `start` on can't be had, or not of the same file as before.
        """


def bucket_and_key(uri: str) -> tuple[str, str]:
    """`s3://BUCKET/KEY` → bucket and key, without slashes around; keys are taken as they stand there."""
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    if not bucket or not key.strip("/"):
        raise ArtifactInvalid(f"{uri}: expected {scheme}://BUCKET/PATH")
    return bucket, key.strip("/")


def listed_below(prefix: str, found: Mapping[str, int], where: str) -> Listing:
    """What an object store lists below `prefix`, as relative paths; keys that stand for folders are left out."""
    sizes = {key[len(prefix) :]: size for key, size in found.items() if not key.endswith("/")}
    if not sizes:
        raise ArtifactNotFound(f"there is nothing at {where}; is the path right?")
    check_together(sizes, where)
    return Listing({checked_path(path): size for path, size in sorted(sizes.items())})


def client_package(module: str, extra: str) -> Any:
    """Import an optional client; ClientMissing names the extra that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ClientMissing(
            f"{extra}:// needs the package {module.partition('.')[0]!r}, which is not installed here; "
            f"install headgate[{extra}], or use a runtime image that has it"
        ) from error
