"""observe -> decide -> act, for one ModelDeployment. Called by the queue's workers.

The status is written first: it holds the traffic, so a rollback is on its way before anything else can fail, and an
advance is on record before any pod changes. It is written with the resourceVersion that was read; if anybody wrote
in between, nothing was decided and the key comes back. Each further step is one idempotent request.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from pydantic import ValidationError

from headgate.api import API_VERSION, COMPONENT_LABEL
from headgate.api.revision import RevisionStatus
from headgate.api.stored import as_manifest
from headgate.background import BackgroundReadings
from headgate.core import phases, unreadable
from headgate.core.dataplane import ChildName
from headgate.core.decide import decide
from headgate.core.manifests.metadata import Manifest
from headgate.core.manifests.resource import revision_manifest
from headgate.core.model import Event, Observation, Plan, Problem, RevisionView
from headgate.core.preflight import preflight_manifests
from headgate.core.provenance import together
from headgate.core.revision_pods import runtime_children, runtime_manifests
from headgate.core.revisions import revision_name
from headgate.edges.events import About, Events
from headgate.edges.kube import Kube
from headgate.edges.telemetry import Telemetry
from headgate.errors import (
    HeadgateError,
    KubernetesError,
    NameTaken,
    NotFound,
    NotLeading,
    RecordsUnknown,
    TooSlow,
    Unreadable,
    cause_of,
)
from headgate.observe import Children, ChildSource, Observer, revision_kept_on, revision_view
from headgate.ownership import Ident, OwnedChildren, Standing, blocked, ident_of, is_owned, own
from headgate.queue import Key
from headgate.status_writes import StatusWrites

LONGEST_RECONCILIATION = 60.0
"""Seconds for one reconciliation, however many of its requests hang."""

REAPPLY_EVERY = 300.0
"""Seconds after which children are applied again even if nothing seems to have changed."""


REFUSED_AFTER = 10.0
"""Seconds after which a refusal is no passing trouble of the API server, and is reported."""

RECORD_SECONDS = 2.0
"""For asking for a ModelRevision that the cache lacks."""

UNCHANGEABLE = frozenset({"Job"})
"""Kinds of children whose pods are made once, as the spec was then."""

_ABSENT = ""
"""Content of a child that must not be there."""


@dataclass(frozen=True)
class _Applied:
    content: str
    at: float
    generation: int


@dataclass
class Reconciler:
    """Everything that a reconciliation needs. Keeps nothing that a restart may not lose."""

    kube: Kube
    children: ChildSource
    observer: Observer
    background: BackgroundReadings
    telemetry: Telemetry
    events: Events
    statuses: StatusWrites
    leading: Callable[[], bool]
    clock: Callable[[], float] = time.time
    _applied: dict[Ident, "_Applied"] = field(default_factory=dict)
    _recorded: dict[tuple[str, str], RevisionStatus] = field(default_factory=dict)
    _refused: dict[Key, tuple[float, Problem]] = field(default_factory=dict)
    """Since when something that belongs to a model is refused or unreadable, and what to report."""

    def __post_init__(self) -> None:
        self._owned = OwnedChildren(self.kube)

    async def reconcile(self, key: Key) -> float | None:
        """Reconcile one ModelDeployment. Returns the seconds until the next time. Raises HeadgateError."""
        try:
            async with asyncio.timeout(LONGEST_RECONCILIATION):
                return await self._reconcile(key)
        except TimeoutError as error:
            raise TooSlow(
                f"the reconciliation was given up after {LONGEST_RECONCILIATION:g} s: requests hang"
            ) from error

    async def _reconcile(self, key: Key) -> float | None:
        try:
            raw = await self.kube.get(API_VERSION, "ModelDeployment", key.namespace, key.name)
        except NotFound:
            self._forget(key)
            return None
        self.statuses.found(key, raw)
        if raw["metadata"].get("deletionTimestamp"):
            return None
        with self.telemetry.decision_seconds.time():
            children = own(self.children.children(key.namespace, key.name), raw["metadata"]["uid"])
            observation, unknown = await self._observe(key, raw, children)
            plan = decide(observation, self.clock())
            await self._decided(observation, plan, raw)
            self.background.refresh(key, observation.spec, plan.status, children.pods)
            self.telemetry.show(key.namespace, key.name, plan.status)
            await self._carry_out_and_remember(key, observation, plan, unknown)
        self.telemetry.reconciled_at.set(self.clock())
        return plan.requeue_after

    async def _observe(self, key: Key, raw: Manifest, children: Children) -> tuple[Observation, dict[str, str]]:
        """What there is, and the ModelRevisions in use that could not be asked for, or be read: name -> why."""
        try:
            o = await self.observer.observe(raw, children)
        except ValidationError as error:
            await self._report_unreadable(key, raw, _what_is_wrong(error))
            raise Unreadable(f"{_what_is_wrong(error)}; nothing is changed") from error
        revisions, unknown = await self._with_lost_records(o, children)
        readings = self.background.newest(key, o.status)
        refused = self._refusal(key)
        o = replace(o, revisions=revisions, drift=readings.drift, released=readings.released, refused=refused)
        o = replace(o, foreign=together(o.foreign, readings.foreign))
        self.telemetry.count_foreign(key.namespace, key.name, o.foreign)
        return self._with_own_records(o), unknown

    async def _report_unreadable(self, key: Key, raw: Manifest, wrong: str) -> None:
        """A condition and an event say what is wrong, once; the rest of the status stays as it stands."""
        meta = raw["metadata"]
        message = f"Nothing is changed before this is mended: {wrong}"
        status = unreadable.with_condition(raw.get("status"), message, meta.get("generation", 0), self.clock())
        if status is not None:
            self._must_lead()
            about = About(*key, meta["uid"], meta["resourceVersion"])
            told = partial(self.events.post, about, Event("Warning", unreadable.REASON, message))
            await self.statuses.write(key, about.version, status, told)
        self.telemetry.show_conditions(key.namespace, key.name, (status or raw["status"])["conditions"])

    async def _with_lost_records(
        self, o: Observation, children: Children
    ) -> tuple[dict[str, RevisionView], dict[str, str]]:
        """All ModelRevisions that are in use: one that the cache lacks is asked for, for absent there is not absent.

        One that is really gone (somebody deleted it) is made again as its Deployment says that it was. One that can't
        be asked for, or be read, is left alone this time: no rollback waits for it.
        """
        views, unknown = dict(o.revisions), dict[str, str]()
        missing = sorted((o.status.needed | {revision_name(o.name, o.spec)}) - set(views))
        answers = await asyncio.gather(*(self._record(o, name) for name in missing), return_exceptions=True)
        for name, answer in zip(missing, answers, strict=True):
            if isinstance(answer, RevisionView):
                views[name] = answer
            elif isinstance(answer, NotFound):
                kept = (revision_kept_on(each) for each in children.deployments)
                views |= {view.name: view for view in kept if view and view.name == name}
            elif isinstance(answer, ValidationError):
                unknown[name] = _what_is_wrong(answer)
            elif isinstance(answer, KubernetesError | TimeoutError):
                unknown[name] = cause_of(answer)
            else:
                raise answer
        return views, unknown

    async def _record(self, o: Observation, name: str) -> RevisionView:
        async with asyncio.timeout(RECORD_SECONDS):
            raw = await self.kube.get(API_VERSION, "ModelRevision", o.namespace, name)
        if not is_owned(raw, o.uid):
            raise NameTaken("it is there, and its first owner is not this ModelDeployment")
        return revision_view(raw)

    def _with_own_records(self, o: Observation) -> Observation:
        """The cache of ModelRevisions may lag behind what we wrote; a decision is recorded once, as it was taken."""
        views = dict(o.revisions)
        for name, view in o.revisions.items():
            written = self._recorded.get((o.namespace, name))
            lags = written and (
                written.decided > view.status.decided
                or (written.baseline is not None and view.status.baseline is None)
                or (written.preflight is not None and view.status.preflight is None)
            )
            if written and lags:
                views[name] = replace(view, status=written)
            else:
                self._recorded.pop((o.namespace, name), None)
        return replace(o, revisions=views)

    def child_changed(self, kind: str, namespace: str, name: str, generation: int | None) -> None:
        """Somebody else changed or removed (generation None) a child: it is applied again the next time."""
        ident = Ident(kind, namespace, name)
        applied = self._applied.get(ident)
        if applied and generation != applied.generation:
            del self._applied[ident]
        if generation is None:
            self._owned.forget(ident)

    async def _decided(self, o: Observation, plan: Plan, raw: Manifest) -> None:
        """Write the status, if it differs; what changed is told when that is stored."""
        if plan.status == o.status:
            return
        self._must_lead()
        about = About(o.namespace, o.name, o.uid, raw["metadata"]["resourceVersion"])
        told = partial(self._tell, about, o, plan)
        await self.statuses.write(Key(o.namespace, o.name), about.version, as_manifest(plan.status), told)

    def _tell(self, about: About, o: Observation, plan: Plan) -> None:
        for event in plan.events:
            self.events.post(about, event)
        for entry in plan.status.history:
            if entry not in o.status.history and entry.decision == "RolledBack":
                self.telemetry.rollbacks.labels(o.namespace, o.name, entry.reason).inc()

    async def _carry_out_and_remember(self, key: Key, o: Observation, plan: Plan, unknown: Mapping[str, str]) -> None:
        """Carry out, and remember what was refused or could not be read: conditions report it, if it lasts."""
        try:
            await self._carry_out(o, plan, unknown)
        except (KubernetesError, RecordsUnknown) as error:
            since, _ = self._refused.get(key, (self.clock(), None))
            self._refused[key] = (since, _refusal_of(error))
            error.again = plan.requeue_after  # a rollout that runs is judged all the same
            raise
        self._refused.pop(key, None)

    def _refusal(self, key: Key) -> Problem | None:
        since, problem = self._refused.get(key, (self.clock(), None))
        return problem if self.clock() - since > REFUSED_AFTER else None

    async def _carry_out(self, o: Observation, plan: Plan, unknown: Mapping[str, str]) -> None:
        """Everything else. What is refused stops nothing but itself, and is raised at the end."""
        errors = list[HeadgateError]()

        async def attempt(step: Awaitable[None]) -> bool:
            try:
                await step
            except KubernetesError as error:
                errors.append(error)
                return False
            return True

        for view in plan.revisions.values():
            if view.name not in unknown:
                await attempt(self._bring_revision(o, view))
        manifests = self._children(o, plan, unknown)
        due = [manifest for manifest in manifests if self._is_due(manifest)]
        standing = await self._owned.standing(due)
        unprotected = set[str]()
        for manifest in due:
            component = manifest["metadata"]["labels"][COMPONENT_LABEL]
            if component in unprotected:
                continue
            applied = await attempt(self._apply(manifest, standing))
            if not applied and self.observer.plane.protects(o, manifest):
                unprotected.add(component)
        await attempt(self._remove_unwanted(o, self._unwanted(o, plan, manifests)))
        for revision in sorted(set(o.workloads) - set(plan.replicas)):
            await attempt(self._remove_revision(o, revision))
        for revision in plan.forget:
            self._must_lead()
            await attempt(self._owned.delete(ChildName(API_VERSION, "ModelRevision", revision), o.namespace, o.uid))
        if unknown:
            which = "; ".join(f"{name} ({why})" for name, why in sorted(unknown.items()))
            errors.append(RecordsUnknown(f"these ModelRevisions can't be read: {which}"))
        if errors:
            raise next((error for error in errors if isinstance(error, NameTaken)), errors[0])

    async def _bring_revision(self, o: Observation, view: RevisionView) -> None:
        before = o.revisions.get(view.name)
        if before and not before.recorded:
            before = None
        if before is None:
            manifest = revision_manifest(o, view)
            await self._apply(manifest, await self._owned.standing([manifest]))
        if before is None or before.status != view.status:
            self._must_lead()
            meta = {"name": view.name, "namespace": o.namespace}
            await self.kube.apply_status(
                {
                    "apiVersion": API_VERSION,
                    "kind": "ModelRevision",
                    "metadata": meta,
                    "status": as_manifest(view.status),
                }
            )
            self._recorded[o.namespace, view.name] = view.status

    def _children(self, o: Observation, plan: Plan, unknown: Mapping[str, str]) -> list[Manifest]:
        serving = [
            m
            for name, replicas in plan.replicas.items()
            if name in plan.revisions and name not in unknown
            for m in runtime_manifests(o, plan.revisions[name], replicas)
        ]
        return [
            *self.observer.plane.manifests(replace(o, status=plan.status, revisions=plan.revisions)),
            *serving,
            *(preflight_manifests(o, plan.status, plan.revisions) if phases.is_looked_at(plan.status) else ()),
        ]

    def _is_due(self, manifest: Manifest) -> bool:
        """Whether something else was applied before, or the same a long time ago."""
        known = self._applied.get(ident_of(manifest))
        return not known or known.content != _digest(manifest) or self.clock() - known.at >= REAPPLY_EVERY

    async def _apply(self, manifest: Manifest, standing: Mapping[Ident, Standing]) -> None:
        """Apply a child, unless it is not ours, or would be built on what is not ours."""
        ident = ident_of(manifest)
        uid = standing[ident]
        if isinstance(uid, KubernetesError):
            raise uid
        if ident.name in blocked(standing):
            return
        if uid and ident.kind in UNCHANGEABLE:
            self._applied[ident] = _Applied(_digest(manifest), self.clock(), 0)
            return
        self._must_lead()
        applied = await self._owned.apply(manifest, uid)
        self._applied[ident] = _Applied(_digest(manifest), self.clock(), applied["metadata"].get("generation", 0))

    def _unwanted(self, o: Observation, plan: Plan, manifests: Sequence[Manifest]) -> list[ChildName]:
        """What an earlier spec asked for and this one doesn't, of the revisions that have manifests."""
        wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
        serving = [name for name in plan.replicas if ("Deployment", name) in wanted]
        unwanted = [child for name in serving for child in runtime_children(name) if child[1:] not in wanted]
        return [*unwanted, *self.observer.plane.unwanted(o)]

    async def _remove_unwanted(self, o: Observation, children: Sequence[ChildName]) -> None:
        """Delete those that were not deleted a short time ago."""
        for child in children:
            ident = Ident(child.kind, o.namespace, child.name)
            applied = self._applied.get(ident)
            if applied and applied.content == _ABSENT and self.clock() - applied.at < REAPPLY_EVERY:
                continue
            self._must_lead()
            await self._owned.delete(child, o.namespace, o.uid)
            self._applied[ident] = _Applied(_ABSENT, self.clock(), 0)

    async def _remove_revision(self, o: Observation, revision: str) -> None:
        """Delete everything of a revision that nobody needs, up to the first failure."""
        self._must_lead()
        for child in runtime_children(revision):
            await self._owned.delete(child, o.namespace, o.uid)
            self._applied.pop(Ident(child.kind, o.namespace, revision), None)

    def _must_lead(self) -> None:
        if not self.leading():
            raise NotLeading("the lease is not ours any more")

    def _forget(self, key: Key) -> None:
        self.statuses.forget(key)
        self.telemetry.forget(key.namespace, key.name)
        self.background.forget(key)
        self._refused.pop(key, None)
        self._owned.forget_all(partial(_is_child, key))
        for ident in [ident for ident in self._applied if _is_child(key, ident)]:
            del self._applied[ident]
        for record in [
            record for record in self._recorded if record[0] == key.namespace and _is_of(record[1], key.name)
        ]:
            del self._recorded[record]


def _what_is_wrong(error: ValidationError) -> str:
    """Which field of what, and why, of the first thing that is wrong."""
    first = error.errors()[0]
    where = ".".join(map(str, (error.title.removeprefix("Revision").lower(), *first["loc"])))
    return f"{where}: {first['msg']}"


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _refusal_of(error: HeadgateError) -> Problem:
    if isinstance(error, NameTaken):
        advice = "Nothing of it is changed. Rename or delete it, or give the ModelDeployment another name"
        return Problem(error.reason, f"A name that it needs is taken: {cause_of(error)}. {advice}.")
    if isinstance(error, RecordsUnknown):
        return Problem(error.reason, f"Their pods stay as they are: {cause_of(error)}")
    return Problem("ChildRefused", f"The API server does not take what belongs to it: {cause_of(error)}")


def _is_child(key: Key, ident: Ident) -> bool:
    return ident.namespace == key.namespace and _is_of(ident.name, key.name)


def _is_of(child: str, model: str) -> bool:
    """Whether a child has one of the names that a model's children have."""
    return re.fullmatch(rf"{re.escape(model)}(-router|-[0-9a-f]{{8}}(-[0-9a-f]{{5}})?)?", child) is not None
