"""What there is in the cluster, by ModelDeployment: filled by lists, kept current by kopf's events.

`handlers` hands every event to `Informer.seen`; `__main__` calls `Informer.resync` first and then every few minutes;
`observe` reads. A list replaces what was known, because kopf's own indices keep for ever what was deleted while a watch
was broken (after "410 Gone" it sends what there is, not what is gone). All of it belongs to the main event loop.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from headgate.api import MODEL_LABEL, contract
from headgate.core.phases import PHASES
from headgate.edges.kube import PLURALS, Kube
from headgate.errors import NotSynced
from headgate.observe import Children
from headgate.queue import Key

log = logging.getLogger("headgate.informer")

Object = Mapping[str, Any]

FOLLOWED = ("deployments", "pods", "modelrevisions", "services", contract.DEPLOYMENTS)
"""The resources that are followed, by plural."""
KINDS = {plural: kind for kind, plural in PLURALS.items()}

_IN_BRIEF = frozenset({"services", contract.DEPLOYMENTS})
"""Of these only names and versions are kept."""


_BROKEN_AFTER = 2
_USERS_WAIT = "usersWait"
"""Of a ModelDeployment in brief: whether something is to be done that its users wait for."""


@dataclass
class _Store:
    """The objects of one resource, by namespace and name."""

    plural: str
    objects: dict[Key, Object] = field(default_factory=dict)
    by_model: dict[Key, dict[Key, Object]] = field(default_factory=lambda: defaultdict(dict))
    synced: bool = False
    unconfirmed: set[Key] = field(default_factory=set)
    """Objects that a list has shown to be new, changed or gone, and of which no event has come since."""
    missed_before: set[Key] = field(default_factory=set)
    """Those of the list before: that one of them is gone by now is no further miss."""
    broken: int = 0
    """How many lists in a row have found that the list before them had been right and no event came."""
    touched: set[Key] = field(default_factory=set)
    """Objects of which an event came since the running list was asked for: the event is newer than the list."""

    def put(self, item: Object) -> Key:
        """Remember an object in its newest form; the model that it belongs to."""
        item = _stripped(item, self.plural in _IN_BRIEF)
        ident, model = _ident(item), self.model_of(item)
        if ident in self.objects:
            self.remove(ident)
        self.objects[ident] = self.by_model[model][ident] = item
        return model

    def remove(self, ident: Key) -> Key | None:
        """Forget an object; the model that it belonged to."""
        item = self.objects.pop(ident, None)
        if item is None:
            return None
        model = self.model_of(item)
        del self.by_model[model][ident]
        if not self.by_model[model]:
            del self.by_model[model]
        return model

    def model_of(self, item: Object) -> Key:
        """The ModelDeployment that an object belongs to; itself, if it is one."""
        if self.plural == contract.DEPLOYMENTS:
            return _ident(item)
        meta = item["metadata"]
        return Key(meta.get("namespace") or "", (meta.get("labels") or {}).get(MODEL_LABEL, ""))

    def replace(self, items: Iterable[Object], namespace: str | None) -> set[Key]:
        """Bring all objects of a namespace (None: of all) in line with a list; the models of those that differed."""
        listed = {_ident(item): item for item in items}
        gone = [
            ident
            for ident in self.objects
            if ident not in listed and ident not in self.touched and namespace in (None, ident.namespace)
        ]
        new = [
            item
            for ident, item in listed.items()
            if ident not in self.touched and _version(self.objects.get(ident)) != _version(item)
        ]
        self.unconfirmed.update(set(gone) - self.missed_before, map(_ident, new))
        return {model for ident in gone if (model := self.remove(ident))} | {self.put(item) for item in new}

    def missed(self) -> int:
        """How many changes the list before this one has found of which no event came; at the start of a list."""
        self.missed_before, self.unconfirmed = self.unconfirmed, set()
        self.broken = self.broken + 1 if self.missed_before else 0
        return len(self.missed_before)


class Informer:
    """The children of all ModelDeployments. A `ChildSource`."""

    def __init__(self, on_missed: Callable[[str, int], None] = lambda *_: None) -> None:
        self._on_missed = on_missed
        self._stores = {plural: _Store(plural) for plural in FOLLOWED}
        self._complete = False
        """Whether a whole round of lists has ended, so that the next one shows what the watches missed."""

    @property
    def unsynced(self) -> tuple[str, ...]:
        """The resources of which there was no list yet."""
        return tuple(plural for plural, store in self._stores.items() if not store.synced)

    def children(self, namespace: str, model: str) -> Children:
        """All children of one ModelDeployment. Raises NotSynced before they were listed: unknown is not empty."""
        if self.unsynced:
            raise NotSynced(f"these resources are not listed yet: {', '.join(self.unsynced)}")
        key = Key(namespace, model)
        children = {plural: list(store.by_model.get(key, {}).values()) for plural, store in self._stores.items()}
        return Children(children["deployments"], children["pods"], children["modelrevisions"])

    @property
    def broken(self) -> tuple[str, ...]:
        """The resources whose watch had no event of what two lists in a row have found."""
        return tuple(plural for plural, store in self._stores.items() if store.broken >= _BROKEN_AFTER)

    def users_wait(self, key: Key) -> bool:
        """Whether users of a ModelDeployment wait for what comes next: a new spec is there, or a rollout runs."""
        found = self._stores[contract.DEPLOYMENTS].objects.get(key)
        return bool(found and found[_USERS_WAIT])

    def seen(self, plural: str, event_type: str | None, item: Object) -> bool:
        """An event of a watch, or an object of the list that a watch begins with (type None). Whether it is news."""
        store = self._stores.get(plural)
        if store is None:
            return False
        ident = _ident(item)
        store.touched.add(ident)
        store.unconfirmed.discard(ident)
        present = store.objects.get(ident)
        if event_type == "DELETED":
            if present is None or _uid(present) == _uid(item):  # else another object has its name by now
                store.remove(ident)
            return True
        if _is_older(item, present):
            return False
        store.put(item)
        return present is None or _version(present) != _version(item)

    async def resync(self, kube: Kube, namespaces: Iterable[str | None]) -> frozenset[Key]:
        """List everything once; the models of which something was not known. Raises HeadgateError where it can't."""
        changed = set[Key]()
        everywhere = tuple(namespaces)
        counts, self._complete = self._complete, False
        for plural in FOLLOWED:
            api_version, kind = KINDS[plural]
            store = self._stores[plural]
            if counts and (missed := store.missed()):
                log.warning("the watch of %s missed %d changes that a list has found", plural, missed)
                self._on_missed(plural, missed)
            labels: dict[str, str | None] = {} if plural == contract.DEPLOYMENTS else {MODEL_LABEL: None}
            for namespace in everywhere:
                store.touched.clear()
                changed |= store.replace(await kube.list(api_version, kind, namespace, labels), namespace)
            store.synced = True
        self._complete = True
        return frozenset(changed)

    @property
    def models(self) -> frozenset[Key]:
        """All ModelDeployments."""
        return frozenset(self._stores[contract.DEPLOYMENTS].objects)


def _ident(item: Object) -> Key:
    meta = item["metadata"]
    return Key(meta.get("namespace") or "", meta["name"])


def _stripped(item: Object, in_brief: bool) -> Object:
    meta = {name: value for name, value in item["metadata"].items() if name != "managedFields"}
    if not in_brief:
        return {**item, "metadata": meta}
    kept = ("name", "namespace", "uid", "resourceVersion", "labels")
    brief = {name: meta[name] for name in kept if name in meta}
    return {"metadata": brief, _USERS_WAIT: _users_wait(item)}


def _users_wait(item: Object) -> bool:
    status = item.get("status") or {}
    phase = PHASES.get(str(status.get("phase")))
    return phase is None or phase.running or status.get("observedGeneration") != item["metadata"].get("generation")


def _uid(item: Object) -> object:
    return item["metadata"].get("uid")


def _version(item: Object | None) -> object:
    return item and (_uid(item), item["metadata"].get("resourceVersion"))


def _is_older(item: Object, present: Object | None) -> bool:
    """Whether `item` is from before `present`: versions are numbers that grow."""
    if present is None:
        return False
    versions = [str(each["metadata"].get("resourceVersion", "")) for each in (item, present)]
    return all(v.isdecimal() for v in versions) and int(versions[0]) < int(versions[1])
