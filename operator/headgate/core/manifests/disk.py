"""How much of its node's disk a serving pod may take: what takes more is evicted, rather than fill the disk of others.

The fetcher ends before that, with a reason. Of the limits of a pod's containers Kubernetes takes the larger one of init
containers and the others, so the fetcher's is that of the whole pod.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headgate.api import contract
from headgate.api.quantities import quantity, size_bytes
from headgate.api.revision import RevisionSpec
from headgate.core.manifests.metadata import Manifest

_STORAGE = "ephemeral-storage"
_REQUEST = {_STORAGE: "256Mi"}
"""What a pod has for certain; whoever knows that the model is larger says so in the runtime's resources."""

_MEBIBYTE = 1 << 20
_BASELINE = "128Mi"
"""A profile.json, of which the fetcher takes 64 MiB."""
_PAPERS = 128 * _MEBIBYTE
"""Beside the artifact's bytes: the manifest, and what files take on a disk beyond their size."""
_WRITABLE = "1Gi"
"""What an engine may write to each of its folders, unless its resources say how much."""
_LOGS = 1 << 30


@dataclass(frozen=True)
class Disk:
    """The parts of a pod's manifest that say how much."""

    volumes: Sequence[Manifest]
    """The artifact, the baseline, and the folders that the engine writes to."""
    requests: Mapping[str, str] = field(default_factory=dict)
    """Of the fetcher, and of the runtime unless its resources say otherwise."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Of the fetcher."""
    environment: Sequence[Manifest] = ()
    """Of the fetcher."""


def disk_of(revision: RevisionSpec, writable: Sequence[str]) -> Disk:
    """Of a revision's pods. `writable` are the volumes that its engine writes to."""
    if not revision.runtime.diskLimits:
        return Disk([{"name": name, "emptyDir": {}} for name in ("artifact", "baseline", *writable)])
    size = size_bytes(revision.model.maxSize)
    own = (revision.runtime.resources.get("limits") or {}).get(_STORAGE, _WRITABLE)
    limits = {"artifact": _mebibytes(size + _PAPERS), "baseline": _BASELINE, **dict.fromkeys(writable, own)}
    together = int(sum(map(quantity, limits.values())))
    return Disk(
        [{"name": name, "emptyDir": {"sizeLimit": limit}} for name, limit in limits.items()],
        _REQUEST,
        {_STORAGE: _mebibytes(together + _LOGS)},
        [{"name": contract.MAX_BYTES_VARIABLE, "value": str(size)}],
    )


def _mebibytes(size: int) -> str:
    return f"{math.ceil(size / _MEBIBYTE)}Mi"
