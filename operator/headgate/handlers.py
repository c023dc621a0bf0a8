"""kopf as informer: events become keys in the queue, objects become entries of indices. Nothing is decided here.

Only event and index handlers are used, so kopf writes nothing to any object: no finalizer, no annotation.
"""

from collections.abc import Callable
from typing import Any

import kopf

from headgate.api import GROUP, MODEL_LABEL, VERSION
from headgate.errors import HeadgateError
from headgate.observe import Children
from headgate.queue import Key, Queue

Changed = Callable[[str, str, str, int | None], None]
"""Told of each change of a child: kind, namespace, name, generation (None: it is gone)."""

_WATCHED_CHILDREN = (("apps", "v1", "deployments"), ("", "v1", "pods"), ("", "v1", "services"))
_INDEXED = {"deployments": ("apps", "v1"), "pods": ("", "v1"), "modelrevisions": (GROUP, VERSION)}
_KINDS = {"deployments": "Deployment", "services": "Service"}


class NotSynced(HeadgateError):
    """What there is in the cluster is not known yet."""

    reason = "NotSynced"


class Informer:
    """What kopf has seen, by ModelDeployment. A `ChildSource`."""

    def __init__(self) -> None:
        self._indices: dict[str, Any] = {}

    def children(self, namespace: str, model: str) -> Children:
        """All children of one ModelDeployment. Raises NotSynced before kopf has told: unknown is not empty."""
        if not self._indices:
            raise NotSynced("kopf has not listed the children yet")
        found = {name: list(index.get((namespace, model), ())) for name, index in self._indices.items()}
        return Children(found.get("deployments", []), found.get("pods", []), found.get("modelrevisions", []))

    def bind(self, **indices: Any) -> None:
        """kopf hands its indices to handlers; they stay the same objects."""
        self._indices = indices


def register(registry: kopf.OperatorRegistry, queue: Queue, informer: Informer, changed: Changed) -> None:
    """Add all handlers to `registry`."""
    _register_login(registry)
    _register_indices(registry)

    @kopf.on.event(GROUP, VERSION, "modeldeployments", registry=registry)
    def modeldeployment_changed(namespace: str | None, name: str, **kwargs: Any) -> None:
        informer.bind(**{plural: kwargs[plural] for plural in _INDEXED})
        queue.add(Key(namespace or "", name))

    def child_changed(namespace: str | None, event: Any, resource: Any, labels: Any, **_: Any) -> None:
        meta = event["object"]["metadata"]
        if kind := _KINDS.get(resource.plural):
            gone = event["type"] == "DELETED"
            changed(kind, namespace or "", meta["name"], None if gone else meta.get("generation", 0))
        if model := labels.get(MODEL_LABEL):
            queue.add(Key(namespace or "", model))

    for group, version, plural in _WATCHED_CHILDREN:
        kopf.on.event(group, version, plural, id=f"{plural}_changed", registry=registry)(child_changed)


def _register_login(registry: kopf.OperatorRegistry) -> None:
    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _register_indices(registry: kopf.OperatorRegistry) -> None:
    def by_model(namespace: str | None, body: Any, labels: Any, **_: Any) -> dict[tuple[str, str], dict[str, Any]]:
        return {(namespace or "", labels.get(MODEL_LABEL, "")): dict(body)}

    for plural, (group, version) in _INDEXED.items():
        kopf.index(group, version, plural, id=plural, registry=registry)(by_model)


def kopf_settings() -> kopf.OperatorSettings:
    """kopf's settings: an informer that recovers from silent streams, and writes nothing."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 30
    settings.watching.chunk_size = 500
    settings.networking.request_timeout = 30
    settings.persistence.finalizer = f"{GROUP}/unused"
    for group, version, plural in _WATCHED_CHILDREN:
        settings.watching.label_selectors[group, version, plural] = MODEL_LABEL
    return settings
