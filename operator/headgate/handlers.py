"""kopf's event handlers: objects go to the informer, keys to the queue. Nothing is decided here.

Only event handlers are used, so kopf writes nothing to any object: no finalizer, no annotation. kopf runs in a thread
of its own (and would call plain functions in further ones), while queue and informer belong to the main event loop: so
every event is delivered to that loop.
"""

from collections.abc import Callable
from typing import Any

import kopf

from headgate.api import GROUP, MODEL_LABEL, VERSION
from headgate.informer import Informer
from headgate.queue import Key, Queue

Deliver = Callable[..., Any]
"""Calls a function with arguments in the main event loop, soon and in order: its `call_soon_threadsafe`."""

Changed = Callable[[str, str, str, int | None], None]
"""Told of each change of a child: kind, namespace, name, generation (None: it is gone)."""

_CHILDREN = (("apps", "v1", "deployments"), ("", "v1", "pods"), ("", "v1", "services"))
_WATCHED = ((GROUP, VERSION, "modeldeployments"), (GROUP, VERSION, "modelrevisions"), *_CHILDREN)
_APPLIED = {"deployments": "Deployment", "services": "Service"}


def register(
    registry: kopf.OperatorRegistry, queue: Queue, informer: Informer, changed: Changed, deliver: Deliver
) -> None:
    """Add all handlers to `registry`."""

    def take(plural: str, event_type: str | None, item: Any) -> None:
        """One event, in the main event loop."""
        informer.seen(plural, event_type, item)
        meta = item["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        if kind := _APPLIED.get(plural):
            changed(kind, namespace, name, None if event_type == "DELETED" else meta.get("generation", 0))
        if plural == "modeldeployments":
            queue.add(Key(namespace, name))
        elif plural != "modelrevisions" and (model := (meta.get("labels") or {}).get(MODEL_LABEL)):
            queue.add(Key(namespace, model))

    async def seen(event: Any, resource: Any, **_: Any) -> None:
        deliver(take, resource.plural, event["type"], event["object"])

    for group, version, plural in _WATCHED:
        kopf.on.event(group, version, plural, id=f"{plural}_changed", registry=registry)(seen)

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


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
    settings.process.ultimate_exiting_timeout = None  # the process goes on when kopf has ended
    settings.persistence.finalizer = f"{GROUP}/unused"
    for group, version, plural in _CHILDREN:
        settings.watching.label_selectors[group, version, plural] = MODEL_LABEL
    return settings
