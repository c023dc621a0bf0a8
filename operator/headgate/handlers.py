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


_SCANS_WITHIN = 120.0
"""Seconds in which kopf has to find its resources."""
_LOOKS_EVERY, _TOO_FEW = 1.0, 2
"""Seconds between two looks at kopf's watches, and in how many of them one has to be missing."""
_ENDS_WITHIN = 8.0
"""Seconds that kopf has to end and say why when one of its watches has; it waits for five itself."""
_TIDIES_WITHIN = 5.0
"""Seconds that it has when it is cancelled."""
_WATCH = "watcher for "
"""How the names of kopf's tasks begin that watch."""
_ENDED = "a watch of kopf's has ended, and kopf has not"


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

    kopf lists the resources once, and skips those that the API server's discovery does not have. When one of its
    watches has failed it ends the others, and waits for ever for one that does not heed that: so nobody waits for kopf.
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
    deaf = asyncio.create_task(_deaf(insights, len(FOLLOWED) * max(1, len(namespaces))))
    try:
        await asyncio.wait({operator, deaf}, return_when=asyncio.FIRST_COMPLETED)
        if deaf.done() and deaf.result() == _ENDED:
            await asyncio.wait({operator}, timeout=_ENDS_WITHIN)  # it knows why
        why = "kopf has ended" if operator.done() else deaf.result()
        if operator.done():
            operator.result()
    except Exception as error:
        raise WatchesBroken(f"kopf has ended: {cause_of(error)}") from error
    finally:
        deaf.cancel()
        operator.cancel()
        await asyncio.wait({operator, deaf}, timeout=_TIDIES_WITHIN)
    raise WatchesBroken(why)


async def _deaf(insights: Insights, watches: int) -> str:
    """Return when kopf does not watch everything, and say why. `watches` is how many there have to be."""
    try:
        async with asyncio.timeout(_SCANS_WITHIN):
            await insights.ready_resources.wait()
    except TimeoutError:
        return f"kopf has not found its resources within {_SCANS_WITHIN:g} s"
    if missing := {*FOLLOWED} - {resource.plural for resource in insights.watched_resources}:
        return f"the API server's discovery does not have {', '.join(sorted(missing))}"
    too_few = 0
    while too_few < _TOO_FEW:
        await asyncio.sleep(_LOOKS_EVERY)
        running = sum(task.get_name().startswith(_WATCH) for task in asyncio.all_tasks())
        too_few = too_few + 1 if running < watches else 0
    return _ENDED


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
