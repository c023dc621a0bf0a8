"""Writes statuses, and finds out what became of a write whose answer was lost.

An API server, or a proxy before it, may close the connection or answer 500 after it has stored what it was sent. Who
took that for a refusal would never tell of the decision: the next look finds its outcome, and sees nothing new. So what
was to be written is kept until the object is read again. Called by `reconcile`; outlives the time as the leader.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.api import API_VERSION
from headgate.edges.kube import Kube, Object
from headgate.queue import Key

MOST_UNSURE = 4
"""Writes of one ModelDeployment in a row of which it isn't known whether they were stored; only one of them can be."""


@dataclass(frozen=True)
class _Unsure:
    version: str
    status: Object
    then: Callable[[], None]


@dataclass
class StatusWrites:
    """See above."""

    kube: Kube
    _unsure: dict[Key, list[_Unsure]] = field(default_factory=dict)

    async def write(self, key: Key, version: str, status: Object, then: Callable[[], None]) -> None:
        """Write the status of a ModelDeployment that was read in `version`. Raises KubernetesError.

        `then` is called once it is stored: now, or when `found` sees it.
        """
        try:
            await self.kube.apply_status(
                {
                    "apiVersion": API_VERSION,
                    "kind": "ModelDeployment",
                    "metadata": {"name": key.name, "namespace": key.namespace, "resourceVersion": version},
                    "status": status,
                }
            )
        except BaseException:  # even a conflict may be with our own write, when it was sent twice
            unsure = self._unsure.setdefault(key, [])
            unsure.append(_Unsure(version, status, then))
            del unsure[:-MOST_UNSURE]
            raise
        self._unsure.pop(key, None)
        then()

    def found(self, key: Key, raw: Mapping[str, Any]) -> None:
        """A ModelDeployment was read: see whether a write was stored that had no answer."""
        version, status = raw["metadata"]["resourceVersion"], raw.get("status")
        unsure = self._unsure.get(key, [])
        if not unsure or unsure[0].version == version:
            return  # nothing is stored yet
        del self._unsure[key]
        if stored := next((each for each in unsure if _is_stored(status, each.status)), None):
            stored.then()

    def forget(self, key: Key) -> None:
        """The ModelDeployment is gone."""
        self._unsure.pop(key, None)


def _is_stored(found: object, written: Object) -> bool:
    """Whether the status that was found is what was written; others may have fields of their own in it."""
    return isinstance(found, Mapping) and all(found.get(name) == value for name, value in written.items())
