"""Which policy Envoy is known to take: where it refuses the newest one, the last one that it took is followed instead.

The agent asks for the `amended` intent before each step, and tells what it wrote. The API server and `traffic` let
nothing pass that Envoy is known to refuse; but whatever they miss must not hold up `status.traffic`, for a rollback is
in it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from headgate.api.policy import Policy
from headgate.api.stored import adapter
from headgate_serving.router.envoy.files import ClusterWatcher, XdsFolder
from headgate_serving.router.envoy.step import Memory
from headgate_serving.router.policy.traffic import Intent


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """What was written for Envoy, until it takes or refuses it."""

    policy: Policy
    memory: Memory
    amended: bool
    """Whether the policy is not the newest one."""
    versions: tuple[str, str] | None
    """Of clusters and routes; None where the routes were not written, as Envoy did not follow its clusters."""


@dataclass
class Acceptance:
    """Which policy was written last, and which one Envoy took last."""

    folder: XdsFolder
    envoy: ClusterWatcher
    refuses: Callable[[PurePosixPath], bool] = lambda _: False
    """Whether Envoy does not take a document as it is now."""
    last_good: Policy | None = None
    """The newest policy as far as it could be read, for `parse_deployment`."""
    settled: bool = True
    """Whether Envoy has taken the last update."""
    _taken: Policy | None = None
    _taken_memory: Memory | None = None
    _refused: Policy | None = None
    _pending: PendingUpdate | None = None

    def __post_init__(self) -> None:
        """Start with the policy that Envoy took from an earlier agent."""
        try:
            taken = adapter(Policy).validate_json(self.folder.text(self.folder.layout.taken) or "")
        except ValueError:
            return
        self._taken = self.last_good = taken

    def amended(self, intent: Intent) -> Intent:
        """The newest split, with a policy that Envoy may take: the newest, or else the one that it took last."""
        if intent.targets:
            self.last_good = intent.policy
        if intent.policy != self._refused:
            self._refused = None
            return intent
        what = "status.policy: Envoy does not take what is made of it, so the one before is followed"
        return replace(intent, policy=self._taken or Policy(), ignored=(*intent.ignored, what))

    def record(self, intent: Intent, memory: Memory, versions: tuple[str, str] | None = None) -> None:
        """Remember what is written for Envoy now. `settle` finds out whether Envoy takes it."""
        self._pending = PendingUpdate(intent.policy, memory, self._refused is not None, versions)
        self.settled = False

    async def settle(self, memory: Memory) -> Memory:
        """Find out whether Envoy has taken the pending update; the memory for the next step."""
        pending, layout = self._pending, self.folder.layout
        if pending is None:
            return memory
        if pending.versions is not None and await self.envoy.versions() == pending.versions:
            self._taken, self._taken_memory, self._pending, self.settled = pending.policy, pending.memory, None, True
            self.folder.put(layout.taken, adapter(Policy).dump_json(pending.policy).decode())
            return memory
        refused = self.refuses(layout.clusters) or self.refuses(layout.routes)
        if refused and not pending.amended and pending.policy != self._taken and await self.envoy.has_refused():
            self._refused, self._pending = pending.policy, None
            return replace(memory, clusters=self._as_taken(memory.clusters))
        return memory

    def _as_taken(self, clusters: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """Clusters as Envoy took them: one that lingers in a refused form would get all of them refused."""
        taken = self._taken_memory.clusters if self._taken_memory else {}
        return {name: taken.get(name, cluster) for name, cluster in clusters.items()}
