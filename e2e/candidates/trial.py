"""One candidate, rolled out with the default spec under traffic: where it was found, and what users saw meanwhile."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from candidates.kinds import RATE, Bad, Good
from demo.api import Unreadable
from demo.artifacts import CANDIDATES
from stories.clients import Clients
from stories.installation import Headgate
from stories.models import Json, Model, merged
from stories.seen import Seen
from stories.servers import custom, faulty
from stories.waiting import EVERY
from stories.world import Artifact, delete_namespace, new_namespace

LIMIT = 480.0
"""Seconds after which a bad candidate that nothing has found has got through."""
LIMIT_GOOD = 1800.0
SCRAPED = 4.0
"""Seconds until Prometheus has what was counted last."""
MEMORY = {"limits": {"memory": "400Mi"}}
"""Of candidates that take more than the node has."""


@dataclass(frozen=True)
class Result:
    """What became of a candidate."""

    name: str
    found: str
    """The phase in which it ended: that of the rollback, or "promoted"."""
    reason: str
    seconds: float
    """From `kubectl apply` to the decision."""
    asked: int
    """Requests of users for which it was tried."""
    answered: int
    """Those that users got its answer to."""
    failed: int
    """Requests of users, whoever was asked, that failed or had no usable answer."""

    @property
    def phase(self) -> str:
        """In the words of the table of kinds."""
        return {"Pending": "start"}.get(self.found, self.found.lower())


@dataclass
class Scene:
    """A model whose stable version serves clients; candidates come one after the other."""

    model: Model
    clients: Clients
    _number: int = field(default=0)

    @staticmethod
    @contextlib.contextmanager
    def of(headgate: Headgate, stable: str, fault: str = "", rate: float = RATE, burst: str = "") -> Iterator[Scene]:
        """With a namespace of its own, which goes at the end."""
        namespace = new_namespace(headgate.cluster, "candidates")
        try:
            model = Model(headgate.world, namespace, spec=with_fault(headgate, fault), base={})
            model.ask_for(artifact(headgate, stable, "stable"))
            model.until_stable("stable")
            yield Scene(model, Clients.of(model, rate=rate, burst=burst))
        finally:
            delete_namespace(headgate.cluster, namespace)

    def roll_out(self, headgate: Headgate, kind: Bad | Good, spec: Json, limit: float) -> Result:
        """Until it is rolled back or stuck before it has traffic; a good one until it is promoted."""
        self._number += 1
        name, folder = kind.name, kind.artifact
        version = f"{name.replace(' ', '-').replace(',', '').replace('%', 'percent').lower()}-{self._number}"
        before = self.clients.answered()
        began = time.time()
        replace(self.model, spec=merged(self.model.spec, spec)).ask_for(artifact(headgate, folder, version))
        seen, phase, seconds = self._watch(version, began, limit, isinstance(kind, Good))
        time.sleep(SCRAPED)
        after = self.clients.answered()
        revision = seen.revision_of(version)
        return Result(
            name,
            phase,
            _reason(seen),
            round(seconds, 1),
            headgate.attempts(self.model)[revision],
            after["revisions"].get(revision, {}).get("ok", 0),
            after["totals"]["failed"] - before["totals"]["failed"],
        )

    def _watch(self, version: str, began: float, limit: float, is_good: bool) -> tuple[Seen, str, float]:
        """The last look, the phase that it ended in, and the seconds until then."""
        phase = "Pending"
        while True:
            with contextlib.suppress(Unreadable):
                seen = self.model.look()
                if seen.view.rollout_version == version:
                    ended = _end(seen, phase, is_good)
                    if ended or time.time() - began > limit:
                        return seen, ended or f"not within {limit:g} s", time.time() - began
                    phase = seen.phase if seen.phase != "Stable" else phase
            time.sleep(EVERY)


def _end(seen: Seen, phase: str, is_good: bool) -> str:
    """The phase in which the rollout has ended, "promoted", or nothing while it goes on."""
    if seen.phase in ("RollingBack", "RolledBack"):
        return phase
    if seen.phase == "Soaking" and is_good:
        return "promoted"
    stuck = phase == "Pending" and seen.condition("Stalled").status == "True"
    return phase if stuck else ""


def _reason(seen: Seen) -> str:
    stalled = seen.condition("Stalled")
    return stalled.reason if stalled.status == "True" else str(seen.rollout.get("reason", "-"))


def artifact(headgate: Headgate, folder: str, version: str) -> Artifact:
    """One of the demo's versions, or one of its candidates."""
    digests = headgate.world.digests
    return headgate.world.artifact(folder if folder in digests else f"{CANDIDATES}/{folder}", version)


def with_fault(headgate: Headgate, fault: str) -> Json:
    """spec.runtime of a server with a fault; nothing for one without."""
    if not fault:
        return {}
    server = faulty(headgate.world.images["demo"], fault)
    return {"runtime": server | ({"resources": MEMORY} if fault == "oom" else {})}


def bad(headgate: Headgate, scene: Scene, kind: Bad) -> Result:
    """Roll out a bad candidate beside the stable version of a scene, which it leaves as it was."""
    return scene.roll_out(headgate, kind, with_fault(headgate, kind.fault), LIMIT)


def good(headgate: Headgate, kind: Good) -> Result:
    """Roll out a good one, in a scene of its own."""
    with Scene.of(headgate, kind.stable, kind.stable_fault, kind.rate, kind.burst) as scene:
        spec = with_fault(headgate, kind.fault)
        if kind.engine:
            spec = {"runtime": custom(headgate.world.images["serving"])}
        elif kind.stable_fault and not kind.fault:
            spec = {"runtime": {"image": headgate.world.images["demo"], "podTemplate": {"env": []}}}
        return scene.roll_out(headgate, kind, spec, LIMIT_GOOD)
