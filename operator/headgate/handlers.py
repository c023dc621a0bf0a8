"""kopf's event handlers: objects go to the informer, keys to the queue. Nothing is decided here.

Only event handlers are used, so kopf writes nothing to any object: no finalizer, no annotation. kopf runs in a thread
of its own (and would call plain functions in further ones), while queue and informer belong to the main event loop: so
every event is delivered to that loop.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Any, cast

import kopf
from kopf._cogs.structs.references import Insights

from headgate.api import GROUP, MODEL_LABEL, contract
from headgate.errors import WatchesBroken, cause_of
from headgate.informer import FOLLOWED, KINDS, Informer
from headgate.queue import Key, Queue

Deliver = Callable[..., Any]
"""Calls a function with arguments in the main event loop, soon and in order: its `call_soon_threadsafe`."""

Changed = Callable[[str, str, str, int | None], None]
"""Called for each change of a child: kind, namespace, name, generation (None: it is gone)."""

_APPLIED = ("deployments", "services")
"""Of what is followed: what the operator applies, and applies again when somebody else has changed it."""
_LABELLED = ("pods", *_APPLIED)
"""Of what is followed: what others make as well, so only objects with the label of a model are asked for."""


def register(
    registry: kopf.OperatorRegistry, queue: Queue, informer: Informer, changed: Changed, deliver: Deliver
) -> None:
    """Add all handlers to `registry`."""

    def take(plural: str, event_type: str | None, item: Any) -> None:
        """One event, in the main event loop."""
        news = informer.seen(plural, event_type, item)
        meta = item["metadata"]
        namespace, name = meta.get("namespace") or "", meta["name"]
        if plural in _APPLIED:
            changed(KINDS[plural][1], namespace, name, None if event_type == "DELETED" else meta.get("generation", 0))
        if event_type is None and (informer.unsynced or not news):
            return  # of the list that a watch begins with: our own list has it as well, and says who comes first
        if plural == contract.DEPLOYMENTS:
            queue.add(Key(namespace, name))
        elif plural != "modelrevisions" and (model := (meta.get("labels") or {}).get(MODEL_LABEL)):
            queue.add(Key(namespace, model))

    async def on_event(event: Any, resource: Any, **_: Any) -> None:
        deliver(take, resource.plural, event["type"], event["object"])

    for plural in FOLLOWED:
        kopf.on.event(*_resource(plural), id=f"{plural}_changed", registry=registry)(on_event)

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


async def watch(registry: kopf.OperatorRegistry, identity: str, namespaces: Collection[str]) -> None:
    """Run kopf until cancelled. Raises WatchesBroken where it ends, or does not watch all of what we need.

    kopf lists the resources once, and skips those that the API server's discovery does not have.
    """
    insights = Insights()
    operator = asyncio.create_task(
        kopf.operator(
            registry=registry,
            settings=kopf_settings(),
            insights=insights,
            standalone=True,
            identity=cast(Any, identity),  # kopf would ask the system for a user's name
            clusterwide=not namespaces,
            namespaces=namespaces,
        )
    )
    scanned = asyncio.create_task(insights.ready_resources.wait())
    try:
        await asyncio.wait({operator, scanned}, return_when=asyncio.FIRST_COMPLETED)
        missing = {*FOLLOWED} - {resource.plural for resource in insights.watched_resources}
        why = f"the API server's discovery does not have {', '.join(sorted(missing))}"
        if not (scanned.done() and missing):
            why = "kopf has ended"
            await operator
    except Exception as error:
        raise WatchesBroken(f"kopf has ended: {cause_of(error)}") from error
    finally:
        scanned.cancel()
        operator.cancel()
        await asyncio.gather(operator, scanned, return_exceptions=True)
    raise WatchesBroken(why)


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
    for plural in _LABELLED:
        settings.watching.label_selectors[_resource(plural)] = MODEL_LABEL
    return settings


def _resource(plural: str) -> tuple[str, str, str]:
    """Group, version and plural."""
    group, _, version = KINDS[plural][0].rpartition("/")
    return group, version, plural
