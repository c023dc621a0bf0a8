"""Where the documents lie, and how Envoy is told to follow them. Used by all other modules of `config`."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any


@dataclass(frozen=True, slots=True)
class Layout:
    """The shared folder, and the ports of the pod. Envoy follows renames into `root` and into `root/eds`."""

    root: PurePosixPath
    bind: str = "0.0.0.0"
    inference_port: int = 8080
    metrics_port: int = 8003

    @property
    def bootstrap(self) -> PurePosixPath:
        """What Envoy is started with."""
        return self.root / "bootstrap.yaml"

    @property
    def clusters(self) -> PurePosixPath:
        """CDS."""
        return self.root / "cds.json"

    @property
    def routes(self) -> PurePosixPath:
        """RDS."""
        return self.root / "rds.json"

    @property
    def admin_socket(self) -> PurePosixPath:
        """Envoy's admin interface; no port, so that only the pod's own containers reach it."""
        return self.root / "admin.sock"

    def endpoints(self, service: str) -> PurePosixPath:
        """EDS: a file for each revision, and one for its pods as rescuers."""
        return self.root / "eds" / f"{service}.json"


def file_source(path: PurePosixPath) -> dict[str, Any]:
    """A configuration source that follows renames onto `path`."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(path), "watched_directory": {"path": str(path.parent)}},
    }


def duration(milliseconds: int) -> str:
    """As protobuf's JSON writes it: 1500 -> `1.500s`."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d}s"
