"""Which wishes of the spec Envoy is known to take: where it refuses the newest ones, those are followed instead.

The agent asks for `amended` wishes before each step, and tells what it wrote. The API server and `traffic` let nothing
pass that Envoy is known to refuse; but whatever they miss must not hold up `status.traffic`, for a rollback is in it.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any

from headgate_serving.router.files import ClusterWatcher, XdsFolder
from headgate_serving.router.step import Memory
from headgate_serving.router.traffic import Intent, LastGood, parse_deployment

_READ = ("traffic", "rollout")
"""The parts of the spec that routers read."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What was written for Envoy, and of what it was made."""

    wishes: Intent
    memory: Memory
    spec: Mapping[str, Any] | None
    """None where not all of it is followed."""
    amended: bool
    """Whether the wishes are not those of the newest spec."""
    versions: tuple[str, str] | None
    """Of clusters and routes; None where the routes were not written, as Envoy did not follow its clusters."""


@dataclass
class Acceptance:
    """What has become of what was asked of Envoy."""

    folder: XdsFolder
    envoy: ClusterWatcher
    refuses: Callable[[PurePosixPath], bool] = lambda _: False
    """Whether Envoy does not take a document as it is now."""
    last_good: LastGood = field(default_factory=dict)
    """For `parse_deployment`."""
    settled: bool = True
    """Whether Envoy has taken what it was asked last."""
    _taken: Intent | None = None
    _taken_memory: Memory | None = None
    _refused: Intent | None = None
    _asked: Asked | None = None

    def __post_init__(self) -> None:
        """Go on with what an earlier agent knew."""
        try:
            spec = dict(json.loads(self.folder.text(self.folder.layout.taken) or ""))
        except (TypeError, ValueError):
            return
        self._taken = parse_deployment({"spec": spec}, self.last_good).wishes

    def amended(self, intent: Intent) -> Intent:
        """The newest split, with wishes that Envoy may take: the newest, or else those that it took last."""
        if intent.wishes != self._refused:
            self._refused = None
            return intent
        what = "the spec: Envoy does not take what is made of it, so the one before is followed"
        return replace(self._taken or Intent(), targets=intent.targets, ignored=(*intent.ignored, what))

    def asks(
        self, intent: Intent, memory: Memory, spec: Mapping[str, Any], versions: tuple[str, str] | None = None
    ) -> None:
        """Remember what is written now. `settle` looks what becomes of it."""
        read = None if intent.ignored else {name: spec[name] for name in _READ if name in spec}
        self._asked = Asked(intent.wishes, memory, read, self._refused is not None, versions)
        self.settled = False

    async def settle(self, memory: Memory) -> Memory:
        """Look what Envoy made of what it was asked; the memory for the next step."""
        asked, layout = self._asked, self.folder.layout
        if asked is None:
            return memory
        if asked.versions is not None and await self.envoy.versions() == asked.versions:
            self._taken, self._taken_memory, self._asked, self.settled = asked.wishes, asked.memory, None, True
            if asked.spec is not None:
                self.folder.put(layout.taken, json.dumps(asked.spec, sort_keys=True))
            return memory
        refused = self.refuses(layout.clusters) or self.refuses(layout.routes)
        if refused and not asked.amended and asked.wishes != self._taken and await self.envoy.has_refused():
            self._refused, self._asked = asked.wishes, None
            return replace(memory, clusters=self._as_taken(memory.clusters))
        return memory

    def _as_taken(self, clusters: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """One that lingers as it was refused would have all of them refused."""
        taken = self._taken_memory.clusters if self._taken_memory else {}
        return {name: taken.get(name, cluster) for name, cluster in clusters.items()}
